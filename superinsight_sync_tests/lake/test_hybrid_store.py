"""The hybrid store: small tables in memory, large ones in the durable store, one copy to read."""

import gc
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.database import DatabaseStore
from superinsight_sync.lake.hybrid import HybridStore
from superinsight_sync.lake.memory import MemoryStore
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import CommitResult, TableRef
from superinsight_sync_tests.lake.saved_rows import (
    REF,
    amounts,
    commit,
    content,
    landed,
    new_ref,
    orders,
    reads,
    tables,
)
from superinsight_sync_tests.servers.postgres import PostgresServer

TWO = orders([1, 2], ["1.00", "2.00"], "two")


@pytest.fixture(scope="module")
def durable(postgres_server: PostgresServer) -> Store:
    return DatabaseStore(postgres_server.create_database())


@pytest.fixture
def ref() -> TableRef:
    return new_ref()


def hybrid(durable: Store, threshold_bytes: int) -> HybridStore:
    return HybridStore(MemoryStore(10**7), durable, threshold_bytes)


@given(rows=tables(), batch_rows=st.integers(1, 5), share=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_hybrid_returns_what_was_saved(rows: pa.Table, batch_rows: int, share: float, durable: Store) -> None:
    saved = landed(rows, "one")
    store = hybrid(durable, int(saved.nbytes * share))
    durable.drop(REF)
    store.replace(REF, reads(saved, batch_rows), commit("one"))
    found = store.scan(REF).read_all()
    assert found.schema.names == saved.schema.names
    assert content(found, system=True) == content(saved, system=True)
    assert store.memory.exists(REF) != durable.exists(REF)


@given(
    count=st.integers(1, 40),
    batch_rows=st.integers(1, 50),
    beyond=st.sampled_from([-1000, -1, 0, 1, 1000]),
)
def test_hybrid_chooses_by_size_at_the_threshold_and_on_both_sides_of_it(
    count: int, batch_rows: int, beyond: int
) -> None:
    rows = pa.table({"x": pa.array(range(count)), "t": pa.array(["é" * (i % 5) for i in range(count)])})
    size_bytes = sum(b.nbytes for b in rows.to_batches(max_chunksize=batch_rows))
    durable = MemoryStore(10**9)
    store = hybrid(durable, size_bytes + beyond)
    store.replace(REF, reads(rows, batch_rows), commit("one"))
    fits = beyond >= 0
    assert (store.memory.exists(REF), durable.exists(REF)) == (fits, not fits)
    assert store.scan(REF).read_all() == rows


@pytest.mark.parametrize(("before", "after"), [("small", "large"), ("large", "small")])
def test_a_rewrite_that_changes_side_leaves_no_stale_copy(
    before: str, after: str, durable: Store, ref: TableRef
) -> None:
    large = orders(list(range(100)), ["9.00"] * 100, "large")
    store = hybrid(durable, TWO.nbytes)
    versions = {"small": TWO, "large": large}
    for load_id in (before, after):
        store.replace(ref, reads(versions[load_id], 10), commit(load_id, cursor=load_id))
    point = store.checkpoint(ref)
    assert content(store.scan(ref).read_all()) == content(versions[after])
    assert point is not None and point.cursor == after
    assert (store.memory.exists(ref), durable.exists(ref)) == (after == "small", after == "large")
    assert ref in list(store.tables())
    next_run = hybrid(durable, TWO.nbytes)
    assert next_run.exists(ref) == (after == "large")


def test_a_table_that_grows_over_the_threshold_moves_with_its_checkpoints(
    durable: Store, ref: TableRef
) -> None:
    store = hybrid(durable, TWO.nbytes * 2)
    store.append(ref, reads(TWO), commit("a", cursor=1))
    store.append(ref, reads(orders([3], ["3.00"], "b")), commit("b"))
    assert store.memory.exists(ref) and not durable.exists(ref)
    more = orders([2, 4], ["9.00", "4.00"], "c")
    done = store.merge(ref, reads(more), commit("c", cursor=4), keys=["id"])
    assert (done.rows_inserted, done.rows_updated) == (1, 1)
    assert not store.memory.exists(ref) and durable.exists(ref)
    point = store.checkpoint(ref)
    assert point is not None and point.cursor == 4
    assert amounts(store.scan(ref).read_all()) == [(1, "1.00"), (2, "9.00"), (3, "3.00"), (4, "4.00")]
    assert store.merge(ref, reads(more), commit("c"), keys=["id"]).repeated
    store.append(ref, reads(orders([5], ["5.00"], "d")), commit("d"))
    assert not store.memory.exists(ref) and store.count(ref) == 5 and store.loads_since(ref, 0) is None


def test_partitions_are_replaced_on_either_side(durable: Store, ref: TableRef) -> None:
    store = hybrid(durable, 1000)
    for day, count in (("d1", 1), ("d2", 1), ("d2", 50), ("d1", 2)):
        rows = orders(list(range(count)), ["1.00"] * count, f"{day}-{count}", partition=day)
        store.replace(ref, reads(rows), commit(f"{day}-{count}"), partitions=[day])
    assert store.count(ref, partitions=["d1"]) == 2 and store.count(ref, partitions=["d2"]) == 50
    assert durable.exists(ref) and not store.memory.exists(ref)


def test_a_failed_move_leaves_the_table_in_memory_alone(durable: Store, ref: TableRef) -> None:
    store = hybrid(durable, TWO.nbytes)
    store.replace(
        ref, reads(orders([1], ["1.00"], "a", partition="d1")), commit("a", cursor=1), partitions=["d1"]
    )
    stray = orders([1] * 50, ["1.00"] * 50, "b", partition="d9")
    with pytest.raises(DataError, match="belong to none"):
        store.replace(ref, reads(stray), commit("b"), partitions=["d1"])
    assert not durable.exists(ref) and amounts(store.scan(ref).read_all()) == [(1, "1.00")]
    wrong = landed(pa.table({"id": ["x"] * 100}), "c")
    with pytest.raises(ConfigError, match="column 'id'"):
        store.append(ref, reads(wrong), commit("c"))
    assert not durable.exists(ref) and store.count(ref) == 1


def test_choosing_holds_no_more_than_the_threshold_and_one_batch() -> None:
    batch_bytes = 8 * 10_000
    held: list[int] = []
    before = pa.total_allocated_bytes()

    class Sink(MemoryStore):
        """Drains a read and keeps nothing."""

        def replace(self, table, read, commit, *, partitions=None) -> CommitResult:  # type: ignore[no-untyped-def]
            rows = 0
            for batch in read():
                rows += batch.num_rows
                held.append(pa.total_allocated_bytes() - before)
            return CommitResult(1, rows, 0)

    def read() -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            for _ in range(200):
                held.append(pa.total_allocated_bytes() - before)
                yield pa.RecordBatch.from_arrays([pa.nulls(10_000, pa.int64()).fill_null(1)], ["x"])

        return pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())

    store = HybridStore(MemoryStore(10**9), Sink(10**9), 10 * batch_bytes)
    assert store.replace(REF, read, commit("one")).rows == 2_000_000
    assert len(held) > 200 and max(held) < 14 * batch_bytes
    gc.collect()
    assert pa.total_allocated_bytes() - before < 2 * batch_bytes


def test_a_durable_store_that_lost_a_race_reads_anew(ref: TableRef) -> None:
    opened: list[int] = []

    class Racing(MemoryStore):
        """Loses the first commit."""

        def replace(self, table, read, commit, *, partitions=None) -> CommitResult:  # type: ignore[no-untyped-def]
            next(iter(read()))
            return super().replace(table, read, commit, partitions=partitions)

    def read() -> pa.RecordBatchReader:
        opened.append(1)
        return TWO.to_reader(max_chunksize=1)

    store = HybridStore(MemoryStore(10**7), Racing(10**7), 1)
    store.replace(ref, read, commit("one"))
    assert len(opened) == 2 and content(store.scan(ref).read_all()) == content(TWO)


def test_rows_that_grow_in_memory_go_to_the_durable_store_and_not_over_the_limit(
    durable: Store, ref: TableRef
) -> None:
    narrow = pa.table({"x": pa.array(range(1000), pa.uint32())})
    store = HybridStore(MemoryStore(6000), durable, 6000)
    store.replace(ref, reads(narrow), commit("a"))
    assert durable.exists(ref) and store.scan(ref).read_all()["x"].to_pylist() == list(range(1000))
    other = ref.at("raw")
    store = HybridStore(MemoryStore(9000), durable, 9000)
    store.replace(other, reads(narrow), commit("b"))
    store.append(other, reads(pa.table({"y": ["😀"] * 10})), commit("c"))
    assert durable.exists(other) and not store.memory.exists(other) and store.count(other) == 1010


def test_dropping_and_what_is_not_there(durable: Store, ref: TableRef) -> None:
    store = hybrid(durable, 10**6)
    assert not store.exists(ref) and store.count(ref) == 0 and store.version(ref) is None
    with pytest.raises(ConfigError):
        store.scan(ref)
    store.append(ref, reads(orders([], [], "empty")), commit("empty", cursor=1))
    assert store.memory.exists(ref) and store.count(ref) == 0
    store.drop(ref)
    assert not store.exists(ref)

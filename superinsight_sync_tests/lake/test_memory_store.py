"""The memory store: exact rows, a hard limit, and nothing left behind."""

import gc
import weakref
from datetime import timedelta
from threading import Thread

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.memory import MemoryStore, release_run
from superinsight_sync.model.tables import LOAD_ID, Checkpoint
from superinsight_sync_tests.lake.saved_rows import (
    AT,
    EVERYTHING,
    REF,
    amounts,
    commit,
    content,
    landed,
    orders,
    reads,
    tables,
)

LIMIT_BYTES = 10**7
BIG = landed(pa.table({"x": pa.array(range(20_000))}), "big")
EACH = pa.array(range(20_000))


def store_with(*ids: int, load_id: str = "first") -> MemoryStore:
    store = MemoryStore(LIMIT_BYTES)
    store.append(REF, reads(orders(list(ids), ["1.00"] * len(ids), load_id)), commit(load_id, cursor=1))
    return store


@given(rows=tables(), batch_rows=st.integers(1, 5))
def test_memory_returns_what_was_saved(rows: pa.Table, batch_rows: int) -> None:
    store = MemoryStore(LIMIT_BYTES)
    saved = landed(rows, "one")
    store.replace(REF, reads(saved, batch_rows), commit("one"))
    found = store.scan(REF).read_all()
    assert found.schema == saved.schema
    assert content(found, system=True) == content(saved, system=True)
    assert content(store.dataset(REF).to_table(), system=True) == content(saved, system=True)
    store.append(REF, reads(landed(rows, "two")), commit("two"))
    assert content(store.scan(REF, load_ids=["two"]).read_all()) == content(rows)
    assert store.count(REF) == 2 * rows.num_rows


@given(rows=tables())
def test_memory_leaves_nothing_behind(rows: pa.Table) -> None:
    run_id, before = "run-left", pa.total_allocated_bytes()
    store = MemoryStore.for_run(run_id, LIMIT_BYTES)
    for number in range(3):
        store.append(REF, lambda: reads(BIG.take(EACH), 1000)(), commit(f"load-{number}"))
        store.append(REF.at("raw"), reads(landed(rows, "s")), commit(f"small-{number}"))
    assert pa.total_allocated_bytes() > before + 1_000_000
    alive = weakref.ref(store)
    release_run(run_id)
    assert not store.exists(REF)
    del store
    assert alive() is None
    assert pa.total_allocated_bytes() <= before
    assert run_id not in MemoryStore._runs


def test_a_run_has_one_store_and_runs_see_nothing_of_each_other() -> None:
    try:
        mine = MemoryStore.for_run("a", LIMIT_BYTES)
        assert mine is MemoryStore.for_run("a", LIMIT_BYTES)
        mine.append(REF, reads(orders([1], ["1.00"], "l")), commit("l"))
        assert MemoryStore.for_run("a", LIMIT_BYTES * 2).count(REF) == 1
        assert not MemoryStore.for_run("b", LIMIT_BYTES).exists(REF)
    finally:
        release_run("a")
        release_run("b")


def test_a_write_over_the_limit_is_refused_and_leaves_the_earlier_state() -> None:
    rows = orders([1, 2], ["1.00", "2.00"], "first")
    store = MemoryStore(rows.nbytes)
    store.replace(REF, reads(rows), commit("first", cursor=2))
    for write in (store.append, store.replace):
        with pytest.raises(ConfigError, match=rf"{rows.nbytes:,} bytes.*hybrid"):
            write(REF, reads(pa.concat_tables([rows, rows])), commit("second", cursor=9))
    with pytest.raises(ConfigError, match="max_memory"):
        store.append(REF, reads(orders([3], ["3.00"], "third")), commit("third"))
    assert amounts(store.scan(REF).read_all()) == [(1, "1.00"), (2, "2.00")]
    point = store.checkpoint(REF)
    assert point is not None and point.cursor == 2 and store.version(REF) == 1


def test_a_slice_of_a_large_batch_does_not_keep_the_large_batch() -> None:
    before = pa.total_allocated_bytes()
    store = MemoryStore(LIMIT_BYTES)
    store.append(
        REF, lambda: pa.table({"x": pa.array(range(1_000_000))}).slice(5, 3).to_reader(), commit("one")
    )
    gc.collect()
    assert store.scan(REF).read_all()["x"].to_pylist() == [5, 6, 7]
    assert pa.total_allocated_bytes() - before < 100_000


def test_the_same_load_twice_lands_once() -> None:
    store = store_with(1)
    again = store.append(REF, reads(orders([1], ["1.00"], "first")), commit("first"))
    assert again.repeated and again.version == 1 and store.count(REF) == 1


def test_merge_matches_null_keys_and_takes_the_last_row_of_a_key() -> None:
    store = MemoryStore(LIMIT_BYTES)
    first = orders([None, 1, 2], ["0.00", "1.00", "2.00"], "a")
    store.merge(REF, reads(first), commit("a"), keys=["id"])
    second = orders([None, 2, 3, 3, 1], ["9.00", "2.00", "3.00", "4.00", "5.00"], "b")
    done = store.merge(REF, reads(second, 2), commit("b"), keys=["id"])
    found = store.scan(REF).read_all()
    assert amounts(found) == [(None, "9.00"), (1, "5.00"), (2, "2.00"), (3, "4.00")]
    assert (done.rows_inserted, done.rows_updated) == (1, 2)
    assert dict(zip(found["id"].to_pylist(), found[LOAD_ID].to_pylist(), strict=True))[2] == "a"
    with pytest.raises(ConfigError, match="number"):
        store.merge(REF, reads(first), commit("c"), keys=["number"])


@given(
    old=st.lists(
        st.tuples(st.none() | st.integers(0, 5), st.integers(0, 2)), max_size=8, unique_by=lambda p: p[0]
    ),
    new=st.lists(st.tuples(st.none() | st.integers(0, 5), st.integers(0, 2)), max_size=8),
)
def test_memory_merge_equals_a_dictionary_update(
    old: list[tuple[int, int]], new: list[tuple[int, int]]
) -> None:
    store = MemoryStore(LIMIT_BYTES)
    for load_id, pairs in (("a", old), ("b", new)):
        rows = orders([k for k, _ in pairs], [f"{v}.00" for _, v in pairs], load_id)
        store.merge(REF, reads(rows, 3), commit(load_id), keys=["id"])
    expected = {**dict(old), **dict(new)}
    found = amounts(store.scan(REF).read_all())
    assert dict(found) == {k: f"{v}.00" for k, v in expected.items()} and len(found) == len(expected)


def test_partitions_are_replaced_alone_and_strangers_are_refused() -> None:
    store = MemoryStore(LIMIT_BYTES)
    for day in ("d1", "d2"):
        store.replace(REF, reads(orders([1], ["1.00"], day, partition=day)), commit(day), partitions=[day])
    done = store.replace(
        REF, reads(orders([7], ["7.00"], "x", partition="d2")), commit("x"), partitions=["d2"]
    )
    assert done.rows_deleted == 1 and amounts(store.scan(REF, partitions=["d1"]).read_all()) == [(1, "1.00")]
    with pytest.raises(DataError, match="1 rows belong to none"):
        store.replace(REF, reads(orders([1], ["1.00"], "y", partition="d1")), commit("y"), partitions=["d2"])
    store.replace(REF, reads(orders([], [], "z")), commit("z"), partitions=["d2"])
    assert store.count(REF, partitions=["d2"]) == 0 and store.count(REF) == 1


def test_new_columns_are_added_and_other_types_refused() -> None:
    store = store_with(1)
    wider = landed(pa.table({"id": pa.array([2]), "note": ["😀"]}), "second")
    store.append(REF, reads(wider), commit("second"))
    assert store.scan(REF, columns=["id", "note"]).read_all().to_pylist() == [
        {"id": 1, "note": None},
        {"id": 2, "note": "😀"},
    ]
    with pytest.raises(ConfigError, match="column 'id' was int64 and is now string"):
        store.append(REF, reads(landed(pa.table({"id": ["x"]}), "third")), commit("third"))


def test_an_empty_read_commits_the_checkpoint() -> None:
    store = store_with(1)
    store.append(REF, reads(orders([], [], "second")), commit("second", cursor=5))
    point = store.checkpoint(REF)
    assert point is not None and point.cursor == 5 and store.version(REF) == 2
    store.set_checkpoint(REF, Checkpoint("hand", AT, cursor=3))
    assert store.checkpoints(REF)[""].cursor == 3
    store.set_checkpoint(REF, None)
    assert store.checkpoint(REF) is None
    assert store.loads_since(REF, 1) == ["second"]


def test_rollback_restores_the_state_before_a_load_that_added_rows() -> None:
    store = store_with(1)
    store.append(REF, reads(orders([2], ["2.00"], "second")), commit("second", cursor=2))
    with pytest.raises(ConfigError, match="later: second"):
        store.rollback(REF, "first")
    assert store.rollback(REF, "second") == 3
    point = store.checkpoint(REF)
    assert amounts(store.scan(REF).read_all()) == [(1, "1.00")] and point is not None and point.cursor == 1
    assert store.loads_since(REF, 1) is None
    with pytest.raises(ConfigError, match="'second' is not part"):
        store.rollback(REF, "second")
    store.replace(REF, reads(orders([3], ["3.00"], "third")), commit("third"))
    with pytest.raises(ConfigError, match="no earlier version"):
        store.rollback(REF, "third")
    assert [v.operation for v in store.history(REF)] == ["replace", "rollback", "append", "append"]


def test_expired_rows_go_and_maintenance_keeps_the_rest() -> None:
    store = store_with(1)
    store.append(REF, reads(orders([2], ["2.00"], "b", at=AT + timedelta(days=2))), commit("b"))
    assert store.expire(REF, older_than=AT + timedelta(days=1)) == 1
    store.maintain(REF, retention=timedelta(days=1))
    assert amounts(store.scan(REF).read_all()) == [(2, "2.00")]
    store.drop(REF)
    store.drop(REF)
    assert not store.exists(REF) and store.count(REF) == 0 and store.version(REF) is None


def test_what_is_not_there_is_refused_with_a_way_out() -> None:
    store = store_with(1)
    with pytest.raises(ConfigError, match="same run"):
        store.scan(REF.at("raw"))
    with pytest.raises(ConfigError, match="version 7 is not kept"):
        store.scan(REF, version=7)
    with pytest.raises(ConfigError, match=r"no columns \['nope'\]"):
        store.scan(REF, columns=["nope"])


def test_writers_side_by_side_lose_nothing() -> None:
    store = MemoryStore(LIMIT_BYTES)

    def write(number: int) -> None:
        for i in range(10):
            load_id = f"{number}-{i}"
            store.append(REF, reads(orders([number * 10 + i], ["1.00"], load_id)), commit(load_id))

    threads = [Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        sorted(store.scan(REF).read_all()["id"].to_pylist()) == list(range(40)) and store.version(REF) == 40
    )


def test_every_type_survives() -> None:
    store = MemoryStore(LIMIT_BYTES)
    store.append(REF, reads(landed(EVERYTHING, "all")), commit("all"))
    assert content(store.scan(REF).read_all()) == content(EVERYTHING)

"""Files written by ourselves: bounded by bytes, named by one commit, and rightly described to readers."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake import data_files
from superinsight_sync.lake.delta import DeltaStore
from superinsight_sync.lake.opening import open_store
from superinsight_sync.lake.store import ReadBatches
from superinsight_sync.model.tables import PARTITION, SEQ, TableRef
from superinsight_sync_tests.lake.rows import breaking, commit, content, names, new_table, orders, reads

TEXTS = st.text(st.characters(codec="utf-8"), max_size=70)
BOUNDED: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.string(), TEXTS),
    (pa.date32(), st.dates()),
    (pa.timestamp("us"), st.datetimes()),
    (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(folder: Path) -> DeltaStore:
    return open_store(str(folder))


def files_of(folder: Path, table: TableRef) -> set[str]:
    return {path.name for path in (folder / table.path).rglob("*.parquet") if "_delta_log" not in path.parts}


def named(folder: Path, table: TableRef) -> set[str]:
    return {uri.rpartition("/")[2] for uri in DeltaTable(str(folder / table.path)).file_uris()}


@st.composite
def columns(draw: st.DrawFn) -> pa.Table:
    count = draw(st.integers(1, 6))
    made = {}
    for number, (kind, values) in enumerate(BOUNDED):
        made[f"c{number}"] = pa.array(
            draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind
        )
    return pa.table(made)


@given(rows=columns())
@settings(max_examples=100)
def test_a_reader_that_skips_files_by_their_bounds_misses_no_row(store: DeltaStore, rows: pa.Table) -> None:
    table = new_table()
    for start in range(0, rows.num_rows, 2):
        store.append(table, reads(rows.slice(start, 2), f"l{start}", by=None), commit(f"l{start}"))
    held = store.dataset(table)
    for name in rows.column_names:
        for value in set(rows[name].to_pylist()):
            wanted = (
                pc.field(name).is_null()
                if value is None
                else pc.field(name) == pa.scalar(value, rows[name].type)
            )
            found = held.to_table(columns=[name], filter=wanted)[name].to_pylist()
            assert found == [v for v in rows[name].to_pylist() if v == value], (name, value)


def test_the_log_holds_bounds_as_delta_writes_them(store: DeltaStore, folder: Path) -> None:
    table = new_table()
    rows = pa.table(
        {
            "n": pa.array([3, None, 1], pa.int16()),
            "at": pa.array([datetime(2026, 1, 1, 0, 0, 0, 1500, UTC)] * 3, pa.timestamp("us", "UTC")),
            "wall": pa.array([datetime(2026, 1, 1, 0, 0, 0, 1500)] * 3, pa.timestamp("us")),
            "day": pa.array([date(2026, 1, 1)] * 3),
            "far": pa.array([10**7, 0, 0], pa.int32()).cast(pa.date32()),
            "nested": pa.array([{"x": 1}] * 3),
            "long": ["x" * 65, "a", "b"],
            "real": [1.0, float("nan"), 2.0],
            "last.one": ["b", "ä", "a"],
        }
    )
    store.append(table, reads(rows, "l1", by=None), commit("l1"))
    log = (folder / table.path / "_delta_log" / f"{1:020d}.json").read_text().splitlines()
    said = json.loads(next(json.loads(line)["add"]["stats"] for line in log if '"add"' in line))
    ours = [name for name in said["minValues"] if name.startswith("_sis_")]
    least, greatest = (
        {k: v for k, v in said[b].items() if k not in ours} for b in ("minValues", "maxValues")
    )
    assert said["numRecords"] == 3 and said["nullCount"]["n"] == 1
    assert least == {"n": 1, "at": "2026-01-01T00:00:00.001Z", "wall": "2026-01-01 00:00:00.001",
                     "day": "2026-01-01", "last.one": "a"}  # fmt: skip
    assert greatest == {"n": 3, "at": "2026-01-01T00:00:00.002Z", "wall": "2026-01-01 00:00:00.002",
                        "day": "2026-01-01", "last.one": "ä"}  # fmt: skip


def test_a_table_can_say_which_bounds_it_wants(store: DeltaStore) -> None:
    table = pa.table({SEQ: [1], "other": [2]})
    from superinsight_sync.lake.file_statistics import file_statistics

    sink = pa.BufferOutputStream()
    said: list[Any] = []
    with pa.parquet.ParquetWriter(sink, table.schema, metadata_collector=said) as writer:
        writer.write_table(table)
    assert list(file_statistics(said[0], table.schema, [SEQ])["minValues"]) == [SEQ]


def test_long_cells_are_held_a_row_group_at_a_time(store: DeltaStore, folder: Path) -> None:
    held: list[int] = []
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(40):
            held.append(pa.total_allocated_bytes())
            texts = [f"{number:08d}" * 12_500] * 50
            yield pa.record_batch({"id": [number] * 50, "text": texts}, schema=schema)

    table = new_table()
    before = pa.total_allocated_bytes()
    store.append(table, lambda: pa.RecordBatchReader.from_batches(schema, batches()), commit("l1"))
    assert max(held) - before < 100 << 20, "of 200 MB; a row group is 64 MB"
    assert store.count(table) == 2_000


@given(days=st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=8), open_files=st.integers(1, 3))
@settings(max_examples=100)
def test_interleaved_partitions_land_each_row_once_in_its_own(
    store: DeltaStore, days: list[list[int]], open_files: int
) -> None:
    rows = [(n, "x", day) for n, day in enumerate(d for part in days for d in part)]
    table = new_table()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_files, "_MOST_OPEN", open_files)
        patch.setattr(data_files, "_HELD_BYTES", 200)
        patch.setattr(data_files, "_GROUP_ROWS", 3)
        store.replace(table, reads(orders(*rows), "l1"), commit("l1"))
    assert sorted(content(store, table)) == sorted(content_of(rows))
    for day in {day for _, _, day in rows}:
        key = f"2026-03-{day:02d}"
        assert {n for n, _ in names(store, table, partitions=[key])} == {n for n, _, d in rows if d == day}


def content_of(rows: list[tuple[int, str, int]]) -> list[tuple[Any, ...]]:
    return [(n, name, datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day - 1)) for n, name, day in rows]


def counted(read: ReadBatches, asked: list[int]) -> ReadBatches:
    def again() -> pa.RecordBatchReader:
        asked.append(1)
        return read()

    return again


def disturbed(read: ReadBatches, disturb: Any) -> ReadBatches:
    """A read during which, once, somebody else commits."""
    left = [disturb]

    def other() -> pa.RecordBatchReader:
        reader = read()

        def batches() -> Iterator[pa.RecordBatch]:
            yield from reader
            if left:
                left.pop()()

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    return other


def test_a_lost_race_costs_a_commit_and_no_second_read(store: DeltaStore, folder: Path) -> None:
    table, asked = new_table(), list[int]()
    store.replace(table, reads(orders((1, "old", 1), (2, "old", 2)), "l1"), commit("l1"))

    def theirs() -> None:
        store.replace(table, reads(orders((2, "theirs", 2)), "l2"), commit("l2"), partitions=["2026-03-02"])

    ours = disturbed(reads(orders((1, "ours", 1)), "l3"), theirs)
    store.replace(table, counted(ours, asked), commit("l3"), partitions=["2026-03-01"])
    assert names(store, table) == [(1, "ours"), (2, "theirs")] and len(asked) == 1


def test_of_two_writers_of_an_empty_partition_the_later_one_stays(store: DeltaStore) -> None:
    table = new_table()
    store.replace(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))

    def theirs() -> None:
        store.replace(table, reads(orders((2, "theirs", 2)), "l2"), commit("l2"), partitions=["2026-03-02"])

    ours = disturbed(reads(orders((2, "ours", 2)), "l3"), theirs)
    store.replace(table, ours, commit("l3"), partitions=["2026-03-02"])
    assert names(store, table) == [(1, "x"), (2, "ours")]


def test_a_race_that_changes_the_columns_reads_again_and_leaves_no_file(
    store: DeltaStore, folder: Path
) -> None:
    table, asked = new_table(), list[int]()
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))
    wider = orders((2, "y", 1)).append_column("note", pa.array([2.5]))

    def theirs() -> None:
        store.append(table, reads(wider, "l2"), commit("l2"))

    ours = disturbed(
        reads(orders((3, "z", 1)).append_column("note", pa.array([7], pa.int32())), "l3"), theirs
    )
    store.append(table, counted(ours, asked), commit("l3"))
    assert sorted(r["note"] for r in store.scan(table).read_all().to_pylist() if r["note"]) == [2.5, 7.0]
    assert files_of(folder, table) == named(folder, table)


def test_a_read_that_breaks_leaves_no_file(store: DeltaStore, folder: Path) -> None:
    table = new_table()
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))
    many = reads(orders(*((n, "y", 1 + n % 9) for n in range(50))), "l2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_files, "_GROUP_ROWS", 2)
        with pytest.raises(DataError):
            store.append(table, breaking(many, DataError("torn"), after=20), commit("l2"))
    assert files_of(folder, table) == named(folder, table) and store.count(table) == 1


def test_a_table_takes_another_partitioning(store: DeltaStore) -> None:
    table = new_table()
    store.replace(table, reads(orders((1, "a", 1), (2, "b", 2)), "l1", by=None), commit("l1"))
    with pytest.raises(ConfigError, match="_sis_partition"):
        store.replace(table, reads(orders((3, "c", 2)), "l2"), commit("l2"), partitions=["2026-03-02"])
    store.append(table, reads(orders((3, "c", 2), (4, "d", 1)), "l2"), commit("l2"))
    store.replace(table, reads(orders((5, "e", 2)), "l2b"), commit("l2b"), partitions=["2026-03-02"])
    assert names(store, table) == [(1, "a"), (2, "b"), (4, "d"), (5, "e")], "what has no partition is in none"
    store.replace(table, reads(orders((4, "d", 3)), "l3"), commit("l3"))
    store.replace(table, reads(orders((5, "e", 3)), "l4"), commit("l4"), partitions=["2026-03-03"])
    assert names(store, table) == [(5, "e")]
    store.replace(table, reads(orders((6, "f", 3)), "l5", by=None), commit("l5"))
    assert names(store, table) == [(6, "f")] and PARTITION not in store.schema(table).names


def test_a_rollback_takes_the_new_columns_back(store: DeltaStore) -> None:
    table = new_table()
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))
    wider = orders((2, "y", 1)).append_column("at", pa.array([datetime(2026, 1, 1)], pa.timestamp("us")))
    store.append(table, reads(wider, "l2"), commit("l2"))
    assert store.loads_since(table, 1) == ["l2"] and store.history(table)[0].rows == 1
    store.rollback(table, "l2")
    assert names(store, table) == [(1, "x")] and "at" not in store.schema(table).names

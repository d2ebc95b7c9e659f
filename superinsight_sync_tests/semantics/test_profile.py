"""A profile's memory is bounded whatever the shape of the table, and its counts are exact or marked."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from superinsight_sync.lake.bounded import bounded_batches
from superinsight_sync.semantics.profile import ColumnProfile, profile
from superinsight_sync.semantics.sketch import SIZE, Sketch

PEAK = """
import sys
from pathlib import Path
import pyarrow.dataset as ds
from superinsight_sync.semantics.profile import profile
found = profile(ds.dataset(sys.argv[1], format="parquet"), memory_limit_bytes=int(sys.argv[2]) << 20)
assert found.rows == int(sys.argv[3]), found.rows
# Not ru_maxrss, which a child has from its parent.
sys.stdout.write(str(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10))
"""


def peak_mb(path: Path, limit_mb: int, rows: int) -> int:
    command = [sys.executable, "-c", PEAK, str(path), str(limit_mb), str(rows)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def column(values: object, kind: pa.DataType | None = None) -> ColumnProfile:
    return profile(ds.dataset(pa.table({"x": pa.array(values, kind)}))).columns[0]


def test_a_table_of_many_columns_takes_no_more_memory_than_the_setting(tmp_path: Path) -> None:
    texts = [f"value {i}" for i in range(200)]
    wide = pa.table({f"c{n}": texts if n % 2 else range(n, n + 200) for n in range(500)})
    pq.write_table(wide, tmp_path / "wide.parquet")
    assert peak_mb(tmp_path / "wide.parquet", 128, 200) < 128 + 300


def test_long_cells_in_one_row_group_pass_under_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    cell = "long text " * 20_000
    rows = [f"{n} {cell}" for n in range(2_000)]
    pq.write_table(
        pa.table({"id": range(2_000), "t": rows}),
        path,
        compression="lz4",
        write_batch_size=16,
        use_dictionary=False,
    )
    assert pq.read_metadata(path).num_row_groups == 1
    assert peak_mb(path, 64, 2_000) < 64 + 300


@pytest.mark.parametrize("count", [1, 3, 50, SIZE - 1, SIZE])
def test_small_sets_are_counted_exactly(count: int) -> None:
    found = column([f"v{i % count}" for i in range(max(3 * count, 20))])
    assert (found.distinct, found.distinct_exact) == (count, True)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()])
def test_large_sets_are_estimates_marked_as_such_and_never_above_the_rows(kind: pa.DataType) -> None:
    values = np.random.default_rng(3).integers(0, 20_000, 40_000)
    found = column(pa.array(values).cast(kind))
    real = len(set(values))
    assert not found.distinct_exact
    assert SIZE < found.distinct <= 40_000
    assert abs(found.distinct - real) < 0.15 * real
    rows = profile(
        ds.dataset(pa.table({"x": range(SIZE + 1, 3 * SIZE), "n": [1.5 * i for i in range(2 * SIZE - 1)]}))
    )
    assert [c.distinct <= c.rows for c in rows.columns] == [True, True]
    assert (rows.columns[0].distinct, rows.columns[0].unique) == (2 * SIZE - 1, True)


def test_the_order_and_the_parts_of_values_do_not_matter_to_a_sketch() -> None:
    keys = np.random.default_rng(5).integers(0, 2**63, 3_000).tolist()
    one, parts = Sketch(), Sketch()
    one.add((key, 2, None) for key in keys)
    for start in range(0, 3_000, 700):
        parts.add((key, 1, None) for key in keys[::-1][start : start + 700])
    for start in range(0, 3_000, 1_100):
        parts.add((key, 1, None) for key in keys[start : start + 1_100])
    assert (one.keys, one.rows, one.whole) == (parts.keys, parts.rows, parts.whole)
    assert Sketch.of(one.state()) == one


def test_files_that_are_older_than_a_column_read_as_null(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32())}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [3], "b": [{"x": "y"}]}), tmp_path / "2.parquet")
    schema = pa.schema([("a", pa.int64()), ("b", pa.struct([("x", pa.string())]))])
    data = ds.dataset(tmp_path, format="parquet", schema=schema)
    found = pa.Table.from_batches(
        bounded_batches(data, ["b", "a"], batch_bytes=1), data.schema.remove(0).append(schema[0])
    )
    assert found.to_pylist() == [{"b": None, "a": 1}, {"b": None, "a": 2}, {"b": {"x": "y"}, "a": 3}]
    assert [(c.rows, c.nulls) for c in profile(data).columns] == [(3, 0), (3, 2)]


def test_dates_beyond_every_calendar_do_not_stop_a_profile() -> None:
    found = column([0, 1, 2, 3, 4, 2_000_000_000], pa.date32())
    assert (found.rows, found.distinct) == (6, 6)

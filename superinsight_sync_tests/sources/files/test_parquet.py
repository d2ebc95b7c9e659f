"""Parquet."""

import re
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync_tests.sources.files.folder import read, rows, source, stream

UTC_US = pa.timestamp("us", tz="UTC")


def write(folder: Path, name: str, table: pa.Table, **options: int) -> None:
    pq.write_table(table, folder / name, **options)


KEPT = [
    (pa.array([1, None], pa.int8()), pa.int8()),
    (pa.array(["a", None], pa.large_string()), pa.string()),
    (pa.array(["a", None]).dictionary_encode(), pa.string()),
    (pa.array([2**64 - 1, None], pa.uint64()), pa.decimal128(20, 0)),
    (pa.array([Decimal("1.5"), None], pa.decimal128(30, 10)), pa.decimal128(30, 10)),
    (pa.array([16 * 10**11, None], pa.timestamp("ms", tz="Asia/Shanghai")), UTC_US),
    (pa.array([1_000, None], pa.timestamp("ns")), pa.timestamp("us")),
    (pa.array([b"12", None], pa.binary(2)), pa.binary()),
    (pa.array([[1], None], pa.large_list(pa.int32())), pa.list_(pa.int32())),
    (pa.array([{"a": ["x"]}, None]), pa.struct([("a", pa.list_(pa.string()))])),
    (pa.nulls(2), pa.string()),
]


@pytest.mark.parametrize(("array", "landed"), KEPT)
def test_values_survive_in_a_type_that_tables_keep(
    tmp_path: Path, array: pa.Array, landed: pa.DataType
) -> None:
    write(tmp_path, "a.parquet", pa.table({"v": array}))
    table = read(tmp_path, "a.parquet")
    assert table.schema.field("v").type == landed
    if landed != UTC_US:
        assert table["v"].to_pylist() == [Decimal(v) if landed == pa.decimal128(20, 0) and v else v
                                          for v in array.to_pylist()]  # fmt: skip
    else:
        assert table["v"][0].as_py() == datetime.fromtimestamp(16 * 10**8, UTC)


def test_text_that_is_not_utf_8_stops_the_read_and_can_be_read_as_bytes(tmp_path: Path) -> None:
    text = pa.array([b"ok", b"very-\xff-personal", None]).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), text)
    for name, values in (("flat", text), ("deep", lists)):
        write(tmp_path, f"{name}.parquet", pa.table({"v": values}))
        orc.write_table(pa.table({"v": values}), tmp_path / f"{name}.orc")
        for path in (f"{name}.parquet", f"{name}.orc"):
            with pytest.raises(DataError, match=f"{path}.*'v' holds text that is not UTF-8") as caught:
                read(tmp_path, path)
            assert "personal" not in str(caught.value)
    for path in ("flat.parquet", "flat.orc"):
        table = read(tmp_path, path, format={"columns": {"v": "binary"}})
        assert table["v"].to_pylist() == [b"ok", b"very-\xff-personal", None]


def test_times_of_day_are_texts(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", pa.table({"v": pa.array([time(1, 2, 3, 4)], pa.time64("us"))}))
    assert rows(tmp_path, "a.parquet") == [{"v": "01:02:03.000004"}]


def test_nanoseconds_are_refused_not_cut(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", pa.table({"v": pa.array([1_001], pa.timestamp("ns"))}))
    with pytest.raises(DataError, match=r"column 'v' holds.*timestamp\[ns\].*columns: {v: string}"):
        read(tmp_path, "a.parquet")
    table = read(tmp_path, "a.parquet", format={"columns": {"v": "string"}})
    assert table["v"].to_pylist() == ["1970-01-01 00:00:00.000001001"]


def test_a_type_that_no_table_keeps_must_be_declared(tmp_path: Path) -> None:
    many = pa.array([Decimal(5)], pa.decimal256(50, 0))
    write(tmp_path, "a.parquet", pa.table({"v": many}))
    with pytest.raises(ConfigError, match=r"column 'v' is decimal256\(50, 0\), which no table keeps"):
        read(tmp_path, "a.parquet")
    assert rows(tmp_path, "a.parquet", format={"columns": {"v": "decimal(38,0)"}}) == [{"v": Decimal(5)}]


def test_schemas_are_joined_by_name_where_nothing_is_lost(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", pa.table({"x": pa.array([1], pa.int16()), "y": ["a"]}))
    write(tmp_path, "b.parquet", pa.table({"z": [True], "x": pa.array([2**40])}))
    write(tmp_path, "c.parquet", pa.table({"x": pa.nulls(1)}))
    table = read(tmp_path, "*.parquet")
    assert table.schema == pa.schema([("x", pa.int64()), ("y", pa.string()), ("z", pa.bool_())])
    assert table["x"].to_pylist() == [1, 2**40, None]
    decimals = [
        pa.array([Decimal("1.5")], pa.decimal128(10, 1)),
        pa.array([Decimal("0.25")], pa.decimal128(4, 3)),
    ]
    for name, column in zip("de", decimals, strict=True):
        write(tmp_path, f"{name}.parquet", pa.table({"v": column}))
    assert read(tmp_path, "[de].parquet")["v"].type == pa.decimal128(12, 3)


def test_types_that_do_not_join_name_both_files(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", pa.table({"x": [1]}))
    write(tmp_path, "b.parquet", pa.table({"x": ["1"]}))
    message = r"file 'b\.parquet'.*column 'x' is string, but int64 in 'a\.parquet'"
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, "*.parquet")
    assert read(tmp_path, "*.parquet", format={"columns": {"x": "string"}})["x"].to_pylist() == ["1", "1"]


def test_row_groups_are_streamed(tmp_path: Path) -> None:
    numbers = pa.table({"x": pa.array(range(300_000))})
    write(tmp_path, "a.parquet", numbers, row_group_size=10_000)
    write(tmp_path, "b.parquet", numbers.slice(0, 5), row_group_size=2)
    files, spec = source(tmp_path), stream("*.parquet")
    with files.read(ReadRequest(spec, batch_rows=7_000)) as reader:
        batches = list(reader)
    assert {b.num_rows for b in batches[:-1]} == {7_000}
    assert pa.Table.from_batches(batches)["x"].to_pylist() == [*range(300_000), *range(5)]
    assert files.describe(spec).row_estimate == files.count(ReadRequest(spec)) == 300_005
    assert files.count(ReadRequest(spec, limit=7)) == 7


def test_a_damaged_file_is_told_by_name(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", pa.table({"x": list(range(100_000))}))
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"file 'a\.parquet': it is damaged"):
        read(tmp_path, "a.parquet")
    (tmp_path / "a.parquet").write_bytes(whole[:1000] + b"\xff" * 50_000 + whole[51_000:])
    with pytest.raises(DataError, match=r"file 'a\.parquet': it is damaged"):
        read(tmp_path, "a.parquet")


FAR = [datetime(9999, 12, 31, 23, 59, 59), datetime(1, 1, 1), datetime(2024, 1, 1, 0, 0, 0, 5), None]


def test_old_times_are_exact_in_every_year(tmp_path: Path) -> None:
    """Of the type INT96, flat and deep, as they are and as text."""
    times = pa.array(FAR, pa.timestamp("us"))
    deep = pa.array([[v] for v in FAR], pa.list_(pa.timestamp("us")))
    table = pa.table({"id": range(4), "v": times, "deep": deep})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True, row_group_size=3)
    found = read(tmp_path, "a.parquet")
    assert found.column("v").to_pylist() == FAR and found.column("deep").to_pylist() == [[v] for v in FAR]
    text = read(tmp_path, "a.parquet", format={"columns": {"v": "string"}})["v"].to_pylist()
    assert text == [v and f"{v.year:04d}{v.isoformat(' ', 'microseconds')[4:]}" for v in FAR]


def test_old_times_finer_than_a_microsecond_are_not_cut(tmp_path: Path) -> None:
    fine = pa.array([1_704_067_200_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"v": fine}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    with pytest.raises(DataError, match="columns: {v: string}"):
        read(tmp_path, "a.parquet")
    as_text = read(tmp_path, "a.parquet", format={"columns": {"v": "string"}})
    assert as_text["v"].to_pylist() == ["2024-01-01 00:00:00.123456789"]
    deep = pa.array([[1_704_067_200_123_456_789]], pa.list_(pa.timestamp("ns")))
    pq.write_table(pa.table({"v": deep}), tmp_path / "b.parquet", use_deprecated_int96_timestamps=True)
    with pytest.raises(DataError, match="finer than a microsecond"):
        read(tmp_path, "b.parquet")


REFUSED: list[tuple[pa.Array, str | None]] = [
    (pa.array([1_001], pa.timestamp("ns")), "1970-01-01 00:00:00.000001001"),
    (pa.array([1_001], pa.timestamp("ns", "UTC")), "1970-01-01 00:00:00.000001001Z"),
    (pa.array([Decimal("1.50")], pa.decimal256(50, 2)), "1.50"),
    (pa.array([10**17], pa.timestamp("ms")), None),
    (pa.array([1], pa.duration("ns")), None),
    (pa.array([[1_001]], pa.list_(pa.timestamp("ns"))), None),
    (pa.array([{"a": 1_001}], pa.struct([("a", pa.timestamp("ns"))])), None),
    (pa.array([b"\xff"]).view(pa.string()), "binary"),
    (pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([b"\xff"]).view(pa.string())), None),
]


@pytest.mark.parametrize(("values", "wanted"), REFUSED)
def test_no_hint_leads_to_a_wrong_value_or_back_to_itself(
    tmp_path: Path, values: pa.Array, wanted: str | None
) -> None:
    """Each hint that names a type is followed: it gives the value's exact text or bytes."""
    write(tmp_path, "a.parquet", pa.table({"v": values}))
    seen: list[dict[str, str]] = []
    declared: dict[str, str] = {}
    while True:
        try:
            found = rows(tmp_path, "a.parquet", format={"columns": declared})[0]["v"]
        except (DataError, ConfigError) as error:
            named = re.search(r"columns: \{v: (\w+)\}", error.hint)
            if named is None:
                assert wanted is None
                return
            declared = {"v": named[1]}
            assert declared not in seen
            seen.append(declared)
            continue
        assert found == (b"\xff" if wanted == "binary" else wanted)
        return


@pytest.mark.parametrize("repeats", [False, True])
def test_batches_of_long_cells_are_bounded_by_bytes(tmp_path: Path, repeats: bool) -> None:
    """Also of values that the file holds once."""
    cells = [str(n % 7 if repeats else n).rjust(20_000, "x") for n in range(5_000)]
    table = pa.table({"id": pa.array(range(5_000), pa.int64()), "v": cells})
    write(tmp_path, "long.parquet", table, row_group_size=4_000)
    most = found = 0
    with source(tmp_path).read(ReadRequest(stream(path="long.parquet"))) as batches:
        for batch in batches:
            most, found = max(most, batch.nbytes), found + batch.num_rows
            assert batch["v"][-1].as_py() == cells[found - 1]
    assert found == 5_000
    assert most <= 48 << 20

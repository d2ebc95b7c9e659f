"""Every format gives back exactly the values it was given."""

import base64
import csv
import io
import json
import math
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.export.protocol import FORMATS

INNER = pa.struct([("a", pa.string()), ("b", pa.decimal128(10, 2)), ("at", pa.timestamp("us", "UTC"))])
SCHEMA = pa.schema(
    [
        ("flag", pa.bool_()),
        ("big", pa.int64()),
        ("unsigned", pa.uint64()),
        ("real", pa.float64()),
        ("short_real", pa.float32()),
        ("money", pa.decimal128(38, 9)),
        ("huge", pa.decimal128(38, 0)),
        ('na"me, ünï\n😀', pa.string()),
        ("blob", pa.binary()),
        ("day", pa.date32()),
        ("clock", pa.time64("us")),
        ("at", pa.timestamp("us", "UTC")),
        ("at_berlin", pa.timestamp("us", "Europe/Berlin")),
        ("naive", pa.timestamp("us")),
        ("list", pa.list_(pa.int64())),
        ("structs", pa.list_(INNER)),
        ("struct", INNER),
        ("map", pa.map_(pa.string(), pa.float64())),
        ("nothing", pa.null()),
    ]
)


def decimals(places: int, digits: int = 38) -> st.SearchStrategy[Decimal]:
    limit = 10**digits - 1
    return st.integers(-limit, limit).map(lambda n: Decimal(f"{n}E-{places}"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AT = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda d: d.replace(tzinfo=UTC))
NAIVE = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
STRUCT = st.fixed_dictionaries(
    {"a": st.none() | TEXT, "b": st.none() | decimals(2, 10), "at": st.none() | AT}
)
SHORT = st.floats(width=32)
VALUES: list[st.SearchStrategy[Any]] = [
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.floats(),
    SHORT,
    decimals(9),
    decimals(0),
    TEXT,
    st.binary(max_size=12),
    st.dates(),
    st.times(),
    AT,
    AT,
    NAIVE,
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
    st.lists(st.none() | STRUCT, max_size=3),
    STRUCT,
    st.dictionaries(TEXT, st.none() | st.floats(), max_size=3).map(lambda d: list(d.items())),
    st.none(),
]
ROWS = st.lists(st.tuples(*(st.none() | v for v in VALUES)), max_size=6)


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(SCHEMA)]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def written(name: str, table: pa.Table, rows_per_batch: int = 4) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        reader = table.to_reader(max_chunksize=rows_per_batch)
        assert FORMATS.load(name)(FORMATS.config(name)()).write(reader, path) == table.num_rows
        return path.read_bytes()


def as_json(value: Any, kind: pa.DataType) -> Any:
    """What the documentation says a value is written as, made by plain Python."""
    if value is None:
        return None
    if pa.types.is_floating(kind):
        return value if math.isfinite(value) else None
    if pa.types.is_decimal(kind):
        return f"{value:f}"
    if pa.types.is_timestamp(kind):
        in_utc = value.astimezone(UTC) if kind.tz else value
        return in_utc.isoformat(timespec="microseconds")
    if pa.types.is_time(kind) or pa.types.is_date(kind):
        return value.isoformat()
    if pa.types.is_binary(kind):
        return base64.b64encode(value).decode()
    if pa.types.is_list(kind):
        return [as_json(v, kind.value_type) for v in value]
    if pa.types.is_map(kind):
        return [{"key": as_json(k, kind.key_type), "value": as_json(v, kind.item_type)} for k, v in value]
    if pa.types.is_struct(kind):
        return {f.name: as_json(value[f.name], f.type) for f in kind}
    return value


def same(read: Any, expected: Any, kind: pa.DataType) -> bool:
    if pa.types.is_float32(kind) and read is not None and expected is not None:
        return struct.pack("f", read) == struct.pack("f", expected)
    if pa.types.is_time(kind) and read is not None and expected is not None:
        return time.fromisoformat(read) == time.fromisoformat(expected)
    if pa.types.is_decimal(kind) and read is not None and expected is not None:
        return Decimal(read) == Decimal(expected) and ("." in read) == ("." in expected)
    return bool(read == expected) and type(read) is type(expected)


def check_objects(read: list[dict[str, Any]], table: pa.Table) -> None:
    assert len(read) == table.num_rows
    for line, row in zip(read, table.to_pylist(), strict=True):
        assert list(line) == SCHEMA.names
        for field in SCHEMA:
            assert same(line[field.name], as_json(row[field.name], field.type), field.type), field.name


@given(ROWS)
def test_jsonl_gives_back_every_value(rows: list[tuple[Any, ...]]) -> None:
    table = table_of(rows)
    text = written("jsonl", table).decode()
    check_objects([json.loads(line, parse_constant=pytest.fail) for line in text.split("\n")[:-1]], table)


@given(ROWS)
def test_json_gives_back_every_value(rows: list[tuple[Any, ...]]) -> None:
    table = table_of(rows)
    check_objects(json.loads(written("json", table), parse_constant=pytest.fail), table)


@given(ROWS)
def test_parquet_gives_back_every_value_and_type(rows: list[tuple[Any, ...]]) -> None:
    table = table_of(rows)
    read = pq.read_table(io.BytesIO(written("parquet", table)))
    assert read.schema.equals(SCHEMA)
    assert repr(read.to_pylist()) == repr(table.to_pylist())


def cells(text: str) -> Iterator[list[str | None]]:
    """A strict reader of RFC 4180 that tells an empty cell (None) from a quoted empty one."""
    row: list[str | None] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            value, at = "", at + 1
            while text[at] != '"' or text[at + 1] == '"':
                value, at = value + text[at], at + (2 if text[at] == '"' else 1)
            row.append(value)
            at += 1
        else:
            end = at
            while text[end] not in ",\n":
                assert text[end] not in '"\r'
                end += 1
            row.append(text[at:end] or None)
            at = end
        if text[at] == "\n":
            yield row
            row = []
        else:
            assert text[at] == ","
            if text[at + 1] == "\n":
                yield [*row, None]
                row, at = [], at + 1
        at += 1


@given(ROWS)
def test_csv_gives_back_every_value_and_tells_null_from_empty(rows: list[tuple[Any, ...]]) -> None:
    table = table_of(rows)
    header, *lines = cells(written("csv", table).decode())
    assert header == SCHEMA.names
    assert len(lines) == table.num_rows
    for line, row in zip(lines, table.to_pylist(), strict=True):
        for cell, field in zip(line, SCHEMA, strict=True):
            value = row[field.name]
            if value is None:
                assert cell is None
            elif pa.types.is_nested(field.type):
                assert json.loads(cell or "") == as_json(value, field.type)
            elif pa.types.is_floating(field.type):
                assert repr(float(cell or "")) == repr(value) or same(float(cell or ""), value, field.type)
            elif pa.types.is_boolean(field.type):
                assert cell == str(value).lower()
            else:
                expected = as_json(value, field.type)
                assert same(cell, str(expected), field.type), field.name


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "parquet"])
def test_bytes_do_not_depend_on_how_the_rows_arrive(name: str) -> None:
    rows = 140_000
    table = pa.table({"n": range(rows), "s": [f"text {i % 77}" for i in range(rows)]})
    assert len({written(name, table, size) for size in (rows, 65_536, 1_000, 33_333)}) == 1


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "parquet"])
def test_no_rows_make_a_readable_file(name: str) -> None:
    data = written(name, table_of([]))
    empty = {
        "json": lambda: json.loads(data),
        "jsonl": lambda: data.split(),
        "csv": lambda: list(cells(data.decode()))[1:],
    }
    assert (pq.read_table(io.BytesIO(data)).to_pylist() if name == "parquet" else empty[name]()) == []


def test_csv_is_read_back_by_pandas_and_duckdb(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2**62, None]),
            "s": ['a "quoted", line\nbreak\r', "", None],
            "d": pa.array([Decimal("1.10"), None, Decimal("-0.05")], pa.decimal128(12, 2)),
            "at": pa.array(
                [
                    datetime(2026, 1, 1, tzinfo=UTC),
                    None,
                    datetime(1999, 1, 1, tzinfo=timezone(timedelta(hours=5))),
                ],
                pa.timestamp("us", "UTC"),
            ),
            "day": [date(2026, 2, 3), None, date(1, 1, 1)],
            "ok": [True, None, False],
        }
    )
    path = tmp_path / "t.csv"
    path.write_bytes(written("csv", table))
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[])
    assert frame["s"].tolist()[:2] == ['a "quoted", line\nbreak\r', ""]
    with path.open(newline="") as file:
        assert list(csv.reader(file))[1][1] == 'a "quoted", line\nbreak\r'
    types = "{'id':'BIGINT','s':'VARCHAR','d':'DECIMAL(12,2)','at':'TIMESTAMPTZ','day':'DATE','ok':'BOOLEAN'}"
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    connection.execute(
        "CREATE TABLE t AS SELECT * FROM read_csv(?, columns="
        + types
        + ", allow_quoted_nulls=false, strict_mode=true)",
        [str(path)],
    )
    read = connection.sql("SELECT * FROM t").to_arrow_table()
    assert read.to_pylist() == table.to_pylist()


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "parquet"])
def test_a_type_that_cannot_be_held_is_refused_by_column(name: str) -> None:
    table = pa.table({"ok": [1], "span": pa.array([timedelta(1)], pa.duration("us"))})
    with pytest.raises(ConfigError, match=r"'span'.*duration"):
        written(name, table)

"""What a read says of itself is what its source says: rows, columns, bytes, NULLs, least and greatest."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.types import arrow_type
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.read_stats import Extremes
from superinsight_sync.pipeline.sizes import size_bits
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.mariadb import MariadbServer
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import shop_source
from superinsight_sync_tests.sources.reading import stream

Row = tuple[Any, ...]
TEXT = "text"
BITS = {"int64": 64, "int32": 32, "float64": 64, "decimal(12,2)": 128, "date": 32, "timestamp": 64,
        "timestamp_ntz": 64, "bool": 1, "time": 64}  # fmt: skip
"""Type as read → bits of a value, as Arrow's columnar format fixes them. Text: 32 and eight per byte of UTF-8."""
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-(2**63), 2**63 - 1),
    "money": st.decimals(-(10**9), 10**9, places=2),
    "ratio": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    "day": st.dates(date(1000, 1, 1), date(9999, 12, 31)),
    "instant": st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 1), timezones=st.just(UTC)),
    "moment": st.times().map(lambda at: at.replace(microsecond=0)),
    "truth": st.booleans(),
    "word": st.text(
        st.one_of(
            st.sampled_from("aß漢😀🚀 ,\"'\\\n"), st.characters(codec="utf-8", exclude_characters="\0")
        ),
        max_size=9,
    ),
}
ROWS = st.lists(st.tuples(*(st.one_of(st.none(), s) for s in VALUES.values())), max_size=12)


@dataclass(frozen=True)
class Customer:
    """A system with one table of `id` and `VALUES`.

    Attributes:
        fill: makes the rows those of the table, and says what to read.
        asked: NULLs, least, greatest of each column, as the system itself counts them; None if it cannot.
        types: how a column that is no text is read; those of `BITS`.
        own: columns the kind adds, and the bytes of one value of each.
    """

    connection: dict[str, Any]
    fill: Callable[[list[Row]], dict[str, Any]]
    types: dict[str, str]
    asked: Callable[[], Row] | None = None
    own: Callable[[dict[str, Any]], dict[str, int]] = lambda place: {}


TYPED = {"whole": "int64", "money": "decimal(12,2)", "ratio": "float64", "day": "date", "instant": "timestamp",
         "moment": TEXT, "truth": "bool", "word": TEXT}  # fmt: skip


def create(types: dict[str, str], table: str = "counted") -> str:
    return f"CREATE TABLE {table} (id bigint PRIMARY KEY, {', '.join(f'{n} {t}' for n, t in types.items())})"


def question(ends: dict[str, tuple[str, str]]) -> str:
    """The statement whose answer is `Customer.asked`."""
    parts = []
    for name in VALUES:
        least, greatest = (form.format(name) for form in ends.get(name, ("min({})", "max({})")))
        parts.append(f"count(*) - count({name}), {least}, {greatest}")
    return f"SELECT {', '.join(parts)} FROM counted"


def sql(run: Callable[..., Any], mark: str, ends: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """`fill` and `asked` of a system that speaks SQL, in a connection that stays open."""
    marks = f"({', '.join([mark] * (len(VALUES) + 1))})"

    def fill(rows: list[Row]) -> dict[str, Any]:
        run("DELETE FROM counted")
        if rows:
            values = tuple(v for number, row in enumerate(rows) for v in (number, *row))
            run(f"INSERT INTO counted VALUES {', '.join([marks] * len(rows))}", values)
        return {"table": "counted"}

    def asked() -> Row:
        (row,) = run(question(ends))
        return tuple(row)

    return {"fill": fill, "asked": asked}


def postgres(request: pytest.FixtureRequest) -> Iterator[Customer]:
    server: PostgresServer = request.getfixturevalue("postgres_server")
    dsn = server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATISTICS_DSN", dsn)
        db.execute("SET timezone = 'UTC'")
        kinds = (
            "bigint",
            "numeric(12,2)",
            "double precision",
            "date",
            "timestamptz",
            "time",
            "boolean",
            "text",
        )
        db.execute(create(dict(zip(VALUES, kinds, strict=True))))  # type: ignore[arg-type]

        def run(statement: str, values: Any = None) -> list[Row]:
            done = db.execute(statement, values)  # type: ignore[arg-type]
            return done.fetchall() if done.description else []

        ends = {"truth": ("bool_and({})", "bool_or({})")}
        yield Customer(
            {"kind": "postgres", "dsn": "{{ env.STATISTICS_DSN }}"}, types=TYPED, **sql(run, "%s", ends)
        )


def mysql(request: pytest.FixtureRequest) -> Iterator[Customer]:
    server: MariadbServer = request.getfixturevalue("mariadb_server")
    dsn = server.create_database()
    with server.connect(dsn.rsplit("/", 1)[1]) as db, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATISTICS_MY_DSN", dsn)
        kinds = ("bigint", "decimal(12,2)", "double", "date", "datetime(6)", "time", "bit(1)", "longtext")

        def run(statement: str, values: Any = None) -> Any:
            with db.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()

        run(create(dict(zip(VALUES, kinds, strict=True))))
        yield Customer(
            {"kind": "mysql", "dsn": "{{ env.STATISTICS_MY_DSN }}"},
            types=TYPED | {"instant": "timestamp_ntz"},
            **sql(run, "%s", {"truth": ("min({}) + 0", "max({}) + 0")}),
        )


def in_duckdb(request: pytest.FixtureRequest) -> Iterator[Customer]:
    """Asked before we read: DuckDB gives a file to one way of opening at a time, and opening is what takes long."""
    path = request.getfixturevalue("tmp_path_factory").mktemp("statistics") / "c.duckdb"
    kinds = ("BIGINT", "DECIMAL(12,2)", "DOUBLE", "DATE", "TIMESTAMPTZ", "TIME", "BOOLEAN", "VARCHAR")
    row = f"({', '.join('?' * (len(VALUES) + 1))})"
    answers: list[Row] = []

    def fill(rows: list[Row]) -> dict[str, Any]:
        with duckdb.connect(str(path), config={"threads": 1}) as db:
            db.execute(create(dict(zip(VALUES, kinds, strict=True))).replace("TABLE", "OR REPLACE TABLE"))
            if rows:
                values = [v for n, r in enumerate(rows) for v in (n, *r)]
                db.execute(f"INSERT INTO counted VALUES {', '.join([row] * len(rows))}", values)
            answers[:] = db.execute("SET timezone = 'UTC'").execute(question({})).fetchall()
        return {"table": "counted"}

    yield Customer(
        {"kind": "duckdb", "path": str(path)}, fill, TYPED | {"moment": "time"}, lambda: answers[0]
    )


def sqlite(request: pytest.FixtureRequest) -> Iterator[Customer]:
    path = request.getfixturevalue("tmp_path_factory").mktemp("statistics") / "c.db"
    kinds = ("INTEGER", "TEXT", "REAL", "TEXT", "TEXT", "TEXT", "BOOLEAN", "TEXT")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute(create(dict(zip(VALUES, kinds, strict=True))))

        def run(statement: str, values: Row = ()) -> list[Row]:
            return db.execute(statement, [_as_text(v) for v in values]).fetchall()

        as_text = dict.fromkeys(("money", "day", "instant"), TEXT)
        yield Customer({"kind": "sqlite", "path": str(path)}, types=TYPED | as_text, **sql(run, "?", {}))


def _as_text(value: Any) -> Any:
    """What has no type of its own in SQLite and text formats, as it is written there."""
    return (
        value.isoformat()
        if isinstance(value, date | time)
        else str(value)
        if isinstance(value, Decimal)
        else value
    )


def files(form: str, types: dict[str, str], write: Callable[[Path, list[Row]], None]) -> Any:
    """A customer that writes a new file for each example."""

    def customer(request: pytest.FixtureRequest) -> Iterator[Customer]:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("statistics")
        numbers = count()
        declared = {"id": "int64", **types}

        def fill(rows: list[Row]) -> dict[str, Any]:
            name = f"{next(numbers)}.{form}"
            write(folder / name, [(n, *r) for n, r in enumerate(rows)])
            return {"path": name} if form == "parquet" else {"path": name, "format": {"columns": declared}}

        yield Customer(
            {"kind": "files", "path": str(folder)},
            fill,
            types,
            own=lambda place: {"_sis_file": 4 + len(place["path"])},
        )

    return customer


NAMES = ("id", *VALUES)


def write_csv(path: Path, rows: list[Row]) -> None:
    def cell(value: Any) -> str:
        if isinstance(value, str):
            return '"' + value.replace('"', '""') + '"'
        return (
            "" if value is None else str(value).lower() if isinstance(value, bool) else str(_as_text(value))
        )

    lines = [",".join(NAMES), *(",".join(map(cell, row)) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")


def write_jsonl(path: Path, rows: list[Row]) -> None:
    made = [dict(zip(NAMES, map(_as_text, row), strict=True)) for row in rows]
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in made), encoding="utf-8")


def write_parquet(path: Path, rows: list[Row]) -> None:
    schema = pa.schema({"id": pa.int64(), **{n: arrow_type(t) for n, t in TYPED.items()}})
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    values = [map(_as_text, c) if n == "moment" else c for n, c in zip(NAMES, columns, strict=True)]
    table = pa.table([pa.array(c, t) for c, t in zip(values, schema.types, strict=True)], schema=schema)
    pq.write_table(table, path, row_group_size=5)


CUSTOMERS = {
    "postgres": postgres,
    "mysql": mysql,
    "duckdb": in_duckdb,
    "sqlite": sqlite,
    "csv": files("csv", TYPED, write_csv),
    "jsonl": files("jsonl", TYPED, write_jsonl),
    "parquet": files("parquet", TYPED, write_parquet),
}


@pytest.fixture(scope="module", params=CUSTOMERS)
def customer(request: pytest.FixtureRequest) -> Iterator[Customer]:
    yield from CUSTOMERS[request.param](request)


@pytest.fixture(scope="module")
def source(customer: Customer, tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("project")
    return open_source(customer.connection, load_settings({"SIS_PROJECT_DIR": str(folder)}))


@given(rows=ROWS, batch_rows=st.sampled_from([1, 3, 65_536]))
def test_the_statistics_of_a_read_are_those_of_the_source(
    customer: Customer, source: Source, rows: list[Row], batch_rows: int
) -> None:
    place = customer.fill(rows)
    with Reading(source, ReadRequest(stream(**place), batch_rows=batch_rows), load_id="one") as reading:
        for _ in reading():
            pass
    stats, own = reading.stats(seconds=0), customer.own(place)
    asked = customer.asked() if customer.asked else None
    assert (stats.rows, stats.columns) == (len(rows), 1 + len(VALUES) + len(own))
    bits = (64 + 8 * sum(own.values())) * len(rows)
    for index, name in enumerate(VALUES):
        values, kind = [r[index] for r in rows], customer.types[name]
        known = [v for v in values if v is not None]
        expected: Row = (len(values) - len(known), None, None)
        if kind == TEXT:
            bits += 32 * len(values) + 8 * sum(len(str(_as_text(v)).encode()) for v in known)
        else:
            bits += BITS[kind] * len(values)
            expected = (expected[0], min(known, default=None), max(known, default=None))
            if asked:
                assert _same(asked[3 * index : 3 * index + 3], expected), name
        assert _same((stats.nulls.get(name, 0), stats.least.get(name), stats.greatest.get(name)), expected), (
            name
        )
    assert stats.size_bytes == -(-bits // 8)


def _same(one: Row, other: Row) -> bool:
    def naive(value: Any) -> Any:
        aware = isinstance(value, datetime) and value.tzinfo
        return value.astimezone(UTC).replace(tzinfo=None) if aware else value

    return [*map(naive, one)] == [*map(naive, other)]


def test_a_pull_tells_the_statistics_of_its_read(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, refine=[])
    stats = pull_stream(engine, source, source.streams[0]).stats
    with closing(sqlite3.connect(shop)) as db:
        rows = db.execute("SELECT * FROM orders").fetchall()
    texts = sum(4 + len(text.encode()) for row in rows for text in row[1:])
    assert (stats.rows, stats.columns, stats.size_bytes) == (500, 5, 8 * 500 + texts)
    assert (stats.least, stats.greatest) == ({"order_id": 1}, {"order_id": 500})


SIZES: list[tuple[pa.Array, int]] = [
    (pa.nulls(5), 0),
    (pa.array([True, None, False]), 3),
    (pa.array([1, None], pa.int16()), 2 * 16),
    (pa.array([Decimal("1.5")], pa.decimal128(9, 2)), 128),
    (pa.array([b"abcd", None], pa.binary(4)), 2 * 32),
    (pa.array(["aß", None, "😀"]), 3 * 32 + 8 * (1 + 2 + 4)),
    (pa.array(["ab"], pa.large_string()), 64 + 16),
    (pa.array([[1, 2], None, []], pa.list_(pa.int32())), 3 * 32 + 2 * 32),
    (pa.array([["ab"]], pa.large_list(pa.string())), 64 + 32 + 16),
    (pa.array([{"a": 1, "b": "xy"}, {"a": None, "b": None}]), 2 * (64 + 32) + 16),
]


@pytest.mark.parametrize(("values", "bits"), SIZES, ids=lambda v: str(getattr(v, "type", v)))
def test_equal_values_are_equally_big_however_they_are_cut(values: pa.Array, bits: int) -> None:
    assert size_bits(values) == bits
    twice = pa.concat_arrays([values, values])
    assert size_bits(twice.slice(len(values))) == bits
    assert sum(size_bits(twice.slice(n, 1)) for n in range(len(twice))) == 2 * bits


def test_extremes_leave_out_nan_and_text() -> None:
    found = Extremes()
    nan = float("nan")
    found.add(
        pa.record_batch({"f": [nan, 1.5, nan], "t": ["a", "b", None], "d": [Decimal("1.10"), None, None]})
    )
    found.add(pa.record_batch({"f": [nan, nan], "t": ["a", "b"], "d": pa.nulls(2, pa.decimal128(3, 2))}))
    assert (found.least, found.greatest) == (
        {"f": 1.5, "d": Decimal("1.10")},
        {"f": 1.5, "d": Decimal("1.10")},
    )

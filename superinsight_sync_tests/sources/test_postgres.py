"""PostgreSQL: every type arrives exactly, as text, or not at all."""

import json
import math
import os
import struct
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.sources.reading import column, read, read_all, stream

Db = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> str:
    made = postgres_server.create_database()
    os.environ["TEST_PG_TYPES"] = made
    return made


@pytest.fixture
def db(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def source(dsn: str, project: Settings) -> Source:
    return open_source({"kind": "postgres", "dsn": "{{ env.TEST_PG_TYPES }}"}, project)


@pytest.fixture
def lenient(dsn: str, project: Settings) -> Source:
    return open_source(
        {"kind": "postgres", "dsn": "{{ env.TEST_PG_TYPES }}", "special_values": "null"}, project
    )


TORTURE = {
    "numeric(30,15)": ("1.123456789012345", pa.decimal128(30, 15), Decimal("1.123456789012345")),
    "numeric(38,0)": ("9" * 38, pa.decimal128(38, 0), Decimal("9" * 38)),
    "numeric(39,1)": ("9" * 38 + ".5", pa.string(), "9" * 38 + ".5"),
    "numeric": ("123456789012345678901234567890.123456789", pa.string(), "123456789012345678901234567890.123456789"),
    "numeric(5,-2)": ("1234567", pa.string(), "1234600"),
    "numeric(2,5)": ("0.00012", pa.string(), "0.00012"),
    "int2": ("-32768", pa.int16(), -32768),
    "int8": ("-9223372036854775808", pa.int64(), -(2**63)),
    "float4": ("1.1", pa.float32(), struct.unpack("f", struct.pack("f", 1.1))[0]),
    "float8": ("-Infinity", pa.float64(), -math.inf),
    "bool": ("t", pa.bool_(), True),
    "text": ("größe 😀", pa.string(), "größe 😀"),
    "char(5)": ("ab", pa.string(), "ab   "),
    "bytea": ("\\x00ff", pa.binary(), b"\x00\xff"),
    "date": ("0001-01-01", pa.date32(), date(1, 1, 1)),
    "timestamp": ("9999-12-31 23:59:59.999999", pa.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59, 999999)),
    "timestamptz": ("2026-03-29 02:30:00.000001+05:30", pa.timestamp("us", "UTC"),
                    datetime(2026, 3, 28, 21, 0, 0, 1, UTC)),
    "time": ("24:00:00", pa.string(), "24:00:00"),
    "timetz": ("12:00:00+02", pa.string(), "12:00:00+02"),
    "interval": ("1 year -2 days 03:04:05.000006", pa.string(), "P1Y-2DT3H4M5.000006S"),
    "uuid": ("00000000-0000-0000-0000-00000000000a", pa.string(), "00000000-0000-0000-0000-00000000000a"),
    "json": ('{"b": 1, "a":  1.50}', pa.string(), '{"b": 1, "a":  1.50}'),
    "jsonb": ('{"a": 1.50}', pa.string(), '{"a": 1.50}'),
    "inet": ("::1/64", pa.string(), "::1/64"),
    "macaddr": ("08:00:2b:01:02:03", pa.string(), "08:00:2b:01:02:03"),
    "int4range": ("[1,5)", pa.string(), "[1,5)"),
    "int4multirange": ("{[1,3),[5,7)}", pa.string(), "{[1,3),[5,7)}"),
    "point": ("(0.1,2)", pa.string(), "(0.1,2)"),
    "bit(3)": ("101", pa.string(), "101"),
    "varbit": ("1", pa.string(), "1"),
    "money": ("$1,234.50", pa.string(), "$1,234.50"),
    "tsvector": ("'a':1", pa.string(), "'a':1"),
    "oid": ("4294967295", pa.string(), "4294967295"),
    "mood": ("so-so", pa.string(), "so-so"),
    "cents": ("1.20", pa.decimal128(8, 2), Decimal("1.20")),
    "int4[]": ("{1,NULL,3}", pa.list_(pa.int32()), [1, None, 3]),
    "text[]": ('{a,"b,c",NULL,"NULL",""}', pa.list_(pa.string()), ["a", "b,c", None, "NULL", ""]),
    "float8[]": ("{NaN,0.1}", pa.list_(pa.float64()), None),
    "bool[]": ("{t,f}", pa.list_(pa.bool_()), [True, False]),
    "int4[][]": ("{{1,2},{3,4}}", pa.string(), [[1, 2], [3, 4]]),
    "numeric(4,2)[]": ("{1.50,NULL}", pa.string(), None),
    "timestamptz[]": ("{2026-01-01 00:00:00+00}", pa.string(), ["2026-01-01T00:00:00+00:00"]),
    "pair": ("(1,x)", pa.string(), {"a": 1, "b": "x"}),
}  # fmt: skip


def test_each_type_arrives_exactly_after_rows_of_nulls(db: Db, source: Source) -> None:
    db.execute("CREATE TYPE mood AS ENUM ('so-so', 'fine')")
    db.execute("CREATE DOMAIN base_cents AS numeric(8,2)")
    db.execute("CREATE DOMAIN cents AS base_cents CHECK (VALUE > 0)")
    db.execute("CREATE TYPE pair AS (a int, b text)")
    names = [f"c{n}" for n in range(len(TORTURE))]
    db.execute(
        f"CREATE TABLE torture (id int, {', '.join(f'{n} {t}' for n, t in zip(names, TORTURE, strict=True))})"
    )
    db.execute("INSERT INTO torture (id) SELECT generate_series(1, 70000)")
    marks = ", ".join(f"%s::{t}" for t in TORTURE)
    db.execute(f"INSERT INTO torture VALUES (0, {marks})", [text for text, _, _ in TORTURE.values()])
    table = read_all(source, table="torture")
    assert table.num_rows == 70_001
    last = table.filter(pa.compute.equal(table.column("id"), 0))
    for name, (declared, (_, arrow, value)) in zip(names, TORTURE.items(), strict=True):
        assert table.schema.field(name).type == arrow, declared
        assert table.column(name).null_count == 70_000, declared
        found = column(last, name)[0]
        if value is None:
            assert found is not None
        elif arrow == pa.string() and not isinstance(value, str):
            assert json.loads(found) == value, declared
        else:
            assert found == value, declared


def test_an_array_of_two_dimensions_in_a_list_column_stops_the_read(db: Db, source: Source) -> None:
    db.execute("CREATE TABLE dims (id int, a int[], b text[])")
    db.execute("INSERT INTO dims VALUES (1, '{1,2}', '{}'), (2, NULL, NULL)")
    assert column(read_all(source, table="dims"), "a") == [[1, 2], None]
    db.execute("INSERT INTO dims VALUES (3, '{{1,2},{3,4}}', NULL)")
    with pytest.raises(DataError, match="to_jsonb"):
        read_all(source, table="dims")
    query = "SELECT id, to_jsonb(a) AS a FROM dims"
    assert [a and json.loads(a) for a in column(read_all(source, query=query), "a")] == [
        [1, 2],
        None,
        [[1, 2], [3, 4]],
    ]


SPECIAL = {"numeric(10,2)": "NaN", "date": "infinity", "timestamp": "-infinity", "timestamptz": "infinity"}


@pytest.mark.parametrize("declared", SPECIAL)
def test_values_beyond_arrow_stop_the_read_or_are_counted(
    db: Db, source: Source, lenient: Source, declared: str
) -> None:
    name = f"special_{abs(hash(declared))}"
    db.execute(f"CREATE TABLE {name} (v {declared})")
    plain = "1.50" if "numeric" in declared else "2026-01-02"
    db.execute(f"INSERT INTO {name} VALUES (NULL), ('{plain}'), ('{SPECIAL[declared]}')")
    with pytest.raises(DataError, match=r"'v'.*special_values"):
        read_all(source, table=name)
    request = ReadRequest(stream(table=name))
    assert [v is None for v in column(read(lenient, request), "v")] == [True, False, True]
    assert request.replaced == {"v": 1}


@pytest.mark.parametrize("at", ["294276-12-31 23:59:59", "294247-02-01", "4713-01-01 BC"])
def test_the_ends_of_time_are_never_another_time(db: Db, source: Source, at: str) -> None:
    db.execute("DROP TABLE IF EXISTS ends; CREATE TABLE ends (v timestamp)")
    db.execute("INSERT INTO ends VALUES (%s::timestamp)", (at,))
    expected = db.execute("SELECT extract(epoch FROM v) * 1000000 FROM ends").fetchone()
    try:
        table = read_all(source, table="ends")
    except DataError:
        return
    assert table.column("v").cast(pa.int64()).to_pylist() == list(expected or ())


def test_dates_beyond_every_table_are_special_values(db: Db, source: Source, lenient: Source) -> None:
    db.execute("CREATE TABLE far_dates (id int, v date)")
    db.execute("INSERT INTO far_dates VALUES (1, '12024-05-01'), (2, '0044-03-15 BC')")
    text = read_all(source, table="far_dates").column("v").cast(pa.string()).to_pylist()
    assert text == ["12024-05-01", "-0043-03-15"]
    db.execute("INSERT INTO far_dates VALUES (3, '5874897-12-31')")
    with pytest.raises(DataError, match=r"'v'.*special_values"):
        read_all(source, table="far_dates")
    request = ReadRequest(stream(table="far_dates"))
    assert read(lenient, request).column("v").null_count == 1 and request.replaced == {"v": 1}


def test_comments_keys_and_estimates_are_described(db: Db, source: Source) -> None:
    db.execute("CREATE TABLE parent (a int, b int, PRIMARY KEY (b, a))")
    db.execute(
        "CREATE TABLE child (id int PRIMARY KEY, x int, y int NOT NULL, FOREIGN KEY (x, y) REFERENCES parent (b, a))"
    )
    db.execute("COMMENT ON TABLE child IS 'of a parent'; COMMENT ON COLUMN child.x IS 'its b'")
    db.execute("INSERT INTO parent VALUES (1, 1); ANALYZE parent")
    shape = source.describe(stream(table="child"))
    assert shape.comment == "of a parent"
    assert shape.primary_key == ("id",)
    assert shape.foreign_keys == ((("x", "y"), "parent", ("b", "a")),)
    assert [(c.name, c.nullable, c.comment) for c in shape.columns] == [
        ("id", False, ""),
        ("x", True, "its b"),
        ("y", False, ""),
    ]
    assert source.describe(stream(table="parent")).row_estimate == 1
    assert source.describe(stream(table="parent")).primary_key == ("b", "a")


def test_strange_names_are_read(db: Db, source: Source) -> None:
    table, name = 'we"ird.tab le; DROP', 'co"l; -- %s {} é😀'
    quoted = psycopg.sql.Identifier(table)
    db.execute(
        psycopg.sql.SQL('CREATE TABLE {} ({} int, "select" int)').format(quoted, psycopg.sql.Identifier(name))
    )
    db.execute(psycopg.sql.SQL("INSERT INTO {} VALUES (1, 2)").format(quoted))
    found = next(f for f in source.discover() if f.name.startswith("we_ird"))
    assert column(read_all(source, table=found.value), name) == [1]
    assert found.name == "we_ird_tab_le_drop"


def test_an_hour_of_a_date_column_holds_its_midnight(db: Db, source: Source) -> None:
    db.execute("CREATE TABLE days (d date); INSERT INTO days VALUES ('2026-01-01'), ('2026-01-02')")
    declared = stream(table="days", sync={"mode": "incremental", "cursor": "d"})
    start = datetime(2026, 1, 2, tzinfo=UTC)
    for hour, rows in ((0, 1), (1, 0), (23, 0)):
        at = start + timedelta(hours=hour)
        request = ReadRequest(declared, window=Window(at, at + timedelta(hours=1)))
        assert read(source, request).num_rows == rows == source.count(request)
    assert read(source, ReadRequest(declared, after=date(2026, 1, 2))).num_rows == 1


def test_cursors_of_other_types_start_where_they_should(db: Db, source: Source) -> None:
    db.execute(
        "CREATE TABLE versions (n int8, d numeric(12,3), t text); INSERT INTO versions SELECT i, i, 'v' || i FROM generate_series(1, 9) i"
    )
    for name, by, after in (("n", "version", 7), ("d", "version", Decimal("7.000")), ("t", "version", "v7")):
        declared = stream(table="versions", sync={"mode": "incremental", "cursor": name, "by": by})
        assert column(read(source, ReadRequest(declared, after=after)), "n") == [7, 8, 9]
    text = stream(table="versions", sync={"mode": "incremental", "cursor": "t", "by": "version"})
    assert read(source, ReadRequest(text, after="v9'; DROP TABLE versions; --")).num_rows == 0


def test_partitions_need_a_time(db: Db, source: Source) -> None:
    db.execute("CREATE TABLE untimed (t text)")
    partition = {"by": "day", "start": "2026-01-01"}
    with pytest.raises(ConfigError, match="'t' is text"):
        source.describe(
            stream(table="untimed", sync={"mode": "incremental", "cursor": "t"}, partition=partition)
        )


def test_a_read_sees_one_snapshot(db: Db, source: Source) -> None:
    db.execute(
        "CREATE TABLE moving (id int, v text); INSERT INTO moving SELECT i, repeat('x', 300) FROM generate_series(1, 200000) i"
    )
    with source.read(ReadRequest(stream(table="moving"), batch_rows=1000)) as batches:
        batches.read_next_batch()
        db.execute("DELETE FROM moving")
        assert batches.read_all().num_rows == 199_000


def test_nothing_can_be_written(db: Db, source: Source) -> None:
    db.execute("CREATE TABLE target (a int); CREATE SEQUENCE numbers")
    db.execute(
        "CREATE FUNCTION sneaky() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO target VALUES (1); RETURN 1; END $$"
    )
    db.execute("CREATE VIEW innocent AS SELECT sneaky() AS a, nextval('numbers') AS b")
    for call in (lambda s: read(source, ReadRequest(s)), lambda s: source.count(ReadRequest(s))):
        try:
            call(stream(table="innocent"))
        except ConfigError as error:
            assert "read-only transaction" in str(error)
    with pytest.raises(ConfigError, match="read-only transaction"):
        read(source, ReadRequest(stream(table="innocent")))
    assert db.execute("SELECT count(*) FROM target").fetchone() == (0,)
    assert db.execute("SELECT is_called FROM numbers").fetchone() == (False,)


def test_an_account_that_can_only_read_gives_no_warning(
    db: Db, dsn: str, source: Source, project: Settings
) -> None:
    db.execute(
        "CREATE TABLE readable (a int); CREATE ROLE onlooker LOGIN; GRANT SELECT ON readable TO onlooker;"
        " GRANT pg_read_all_stats TO onlooker; CREATE TABLE hidden (a int)"
    )
    assert "can write" in source.probe().warnings[0]
    os.environ["TEST_PG_ONLOOKER"] = dsn.replace("postgres@", "onlooker@")
    onlooker = open_source({"kind": "postgres", "dsn": "{{ env.TEST_PG_ONLOOKER }}"}, project)
    assert onlooker.probe().warnings == ()
    assert [f.value for f in onlooker.discover()] == ["public.readable"]
    for right in ("INSERT (a)", "UPDATE (a)", "DELETE", "TRUNCATE"):
        db.execute(f"GRANT {right} ON readable TO onlooker")
        assert "can write" in onlooker.probe().warnings[0], right
        db.execute(f"REVOKE {right} ON readable FROM onlooker")
    assert onlooker.probe().warnings == ()
    with pytest.raises(AccessError):
        read(onlooker, ReadRequest(stream(table="hidden")))


def test_a_statement_that_takes_too_long_is_stopped(db: Db, dsn: str, project: Settings) -> None:
    hasty = open_source(
        {"kind": "postgres", "dsn": "{{ env.TEST_PG_TYPES }}", "statement_timeout": "100ms"}, project
    )
    query = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r WHERE n < 0"
    with pytest.raises(TransientError, match="statement timeout"):
        read(hasty, ReadRequest(stream(query=query)))


def test_errors_hold_no_value(db: Db, source: Source) -> None:
    db.execute("CREATE TABLE cast_me (v text); INSERT INTO cast_me VALUES ('very-personal')")
    with pytest.raises(SisError) as caught:
        read(source, ReadRequest(stream(query="SELECT v::int AS v FROM cast_me")))
    assert isinstance(caught.value, DataError)
    assert "very-personal" not in str(caught.value)


@pytest.mark.parametrize(
    "dsn_text",
    ["pa55word", "postgresql://u:pa55word@h:99x/d", "host=h password", "postgresql://%zz:pa55word@h/d"],
)
def test_a_dsn_that_cannot_be_read_is_not_told(
    project: Settings, dsn_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PG_BAD", dsn_text)
    with pytest.raises(SisError) as caught:
        open_source(
            {"kind": "postgres", "dsn": "{{ env.TEST_PG_BAD }}", "connect_timeout": "1s"}, project
        ).probe()
    assert "pa55word" not in str(caught.value)


def test_a_server_that_dies_while_reading_is_a_transient_error(db: Db, source: Source, dsn: str) -> None:
    db.execute(
        "CREATE TABLE big (v text); INSERT INTO big SELECT repeat(md5(i::text), 20) FROM generate_series(1, 200000) i"
    )

    def read_and_kill() -> None:
        with source.read(ReadRequest(stream(table="big"), batch_rows=100)) as batches:
            batches.read_next_batch()
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%big%' AND pid <> pg_backend_pid()"
            )
            batches.read_all()

    with pytest.raises(TransientError):
        read_and_kill()


_FINITE = st.floats(allow_nan=False)
_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
VALUES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "a": ("int8", st.integers(-(2**63), 2**63 - 1)),
    "b": ("float8", _FINITE),
    "c": ("float4", st.floats(width=32, allow_nan=False)),
    "d": ("numeric(38,10)", st.decimals(-(10**27), 10**27, places=10)),
    "e": ("text", _TEXT),
    "f": ("bytea", st.binary()),
    "g": ("date", st.dates()),
    "h": ("timestamp", st.datetimes()),
    "i": ("timestamptz", st.datetimes(timezones=st.just(UTC))),
    "j": ("bool", st.booleans()),
    "k": ("int4[]", st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)))),
    "l": ("text[]", st.lists(st.one_of(st.none(), _TEXT))),
    "m": ("uuid", st.uuids()),
    "n": ("numeric", st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**50), max_value=10**50, places=20)),
}  # fmt: skip
_ROWS = st.lists(st.tuples(*(st.one_of(st.none(), values) for _, values in VALUES.values())), max_size=5)


@given(rows=_ROWS)
def test_any_value_of_a_supported_type_survives_source_to_arrow(
    dsn: str, source: Source, rows: list[tuple[Any, ...]]
) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(
            f"CREATE TABLE IF NOT EXISTS any_value (row int, {', '.join(f'{n} {t}' for n, (t, _) in VALUES.items())})"
        )
        db.execute("TRUNCATE any_value")
        casts = ", ".join(f"%s::{t}" for t, _ in VALUES.values())
        for number, row in enumerate(rows):
            db.execute(f"INSERT INTO any_value VALUES (%s, {casts})", (number, *row))
    table = read_all(source, table="any_value").sort_by("row")
    for name, values in zip(VALUES, zip(*rows, strict=True), strict=False):
        found = column(table, name)
        if name == "n":
            found = [None if v is None else Decimal(v) for v in found]
        if name == "m":
            found = [None if v is None else uuid.UUID(v) for v in found]
        assert found == list(values), name

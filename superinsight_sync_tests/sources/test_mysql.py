"""MariaDB: every type arrives exactly, as text, or not at all. (No MySQL server can be had for tests.)"""

import os
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.mariadb import PASSWORD, MariadbServer, running_mariadb
from superinsight_sync_tests.sources.reading import column, read, read_all, stream
from superinsight_sync_tests.waiting import until


class Db:
    """The customer's side, in UTC, without strictness, so that it holds what such databases hold."""

    def __init__(self, server: MariadbServer, name: str) -> None:
        self._connection = server.connect(name)
        self.run("SET time_zone = '+00:00', sql_mode = ''")

    def run(self, sql: str, *values: Any) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()


@pytest.fixture(scope="module")
def dsn(mariadb_server: MariadbServer) -> str:
    made = mariadb_server.create_database()
    os.environ["TEST_MY_TYPES"] = made
    return made


@pytest.fixture(scope="module")
def db(mariadb_server: MariadbServer, dsn: str) -> Db:
    return Db(mariadb_server, dsn.rsplit("/", 1)[1])


@pytest.fixture(scope="module")
def source(dsn: str, project: Settings) -> Source:
    return open_source({"kind": "mysql", "dsn": "{{ env.TEST_MY_TYPES }}"}, project)


@pytest.fixture(scope="module")
def lenient(dsn: str, project: Settings) -> Source:
    return open_source({"kind": "mysql", "dsn": "{{ env.TEST_MY_TYPES }}", "special_values": "null"}, project)


TORTURE: list[tuple[str, str, pa.DataType, Any]] = [
    ("decimal(30,15)", "1.123456789012345", pa.decimal128(30, 15), Decimal("1.123456789012345")),
    ("decimal(38,0)", "-" + "9" * 38, pa.decimal128(38, 0), Decimal("-" + "9" * 38)),
    ("decimal(65,30)", "9" * 35 + "." + "1" * 30, pa.string(), "9" * 35 + "." + "1" * 30),
    ("decimal(10,2) unsigned", "99999999.99", pa.decimal128(10, 2), Decimal("99999999.99")),
    ("tinyint(1)", "5", pa.int8(), 5),
    ("tinyint unsigned", "255", pa.uint8(), 255),
    ("smallint", "-32768", pa.int16(), -32768),
    ("mediumint unsigned", "16777215", pa.uint32(), 16777215),
    ("mediumint", "-8388608", pa.int32(), -8388608),
    ("int unsigned", "4294967295", pa.uint32(), 4294967295),
    ("bigint", str(-(2**63)), pa.int64(), -(2**63)),
    ("bigint unsigned", str(2**64 - 1), pa.uint64(), 2**64 - 1),
    ("int zerofill", "7", pa.uint32(), 7),
    ("float", "1.1", pa.float32(), struct.unpack("f", struct.pack("f", 1.1))[0]),
    ("double", "0.1", pa.float64(), 0.1),
    ("bit(1)", "b'1'", pa.bool_(), True),
    ("bit(10)", "1023", pa.uint64(), 1023),
    ("bit(64)", str(2**64 - 1), pa.uint64(), 2**64 - 1),
    ("date", "1000-01-01", pa.date32(), date(1000, 1, 1)),
    ("datetime", "9999-12-31 23:59:59", pa.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59)),
    ("datetime(1)", "2026-01-01 00:00:00.5", pa.timestamp("us"), datetime(2026, 1, 1, 0, 0, 0, 500000)),
    ("datetime(6)", "2026-01-01 00:00:00.000001", pa.timestamp("us"), datetime(2026, 1, 1, 0, 0, 0, 1)),
    ("timestamp(6) null", "2038-01-19 03:14:07.999999", pa.timestamp("us", "UTC"),
     datetime(2038, 1, 19, 3, 14, 7, 999999, UTC)),
    ("timestamp null", "1970-01-01 00:00:01", pa.timestamp("us", "UTC"), datetime(1970, 1, 1, 0, 0, 1, 0, UTC)),
    ("time", "-838:59:59", pa.string(), "-838:59:59"),
    ("time(6)", "00:00:00.000001", pa.string(), "00:00:00.000001"),
    ("year", "2155", pa.int16(), 2155),
    ("char(5)", "ab", pa.string(), "ab"),
    ("varchar(50) charset latin1", "größe", pa.string(), "größe"),
    ("varchar(50)", "größe 😀", pa.string(), "größe 😀"),
    ("longtext", "x" * 300_000, pa.string(), "x" * 300_000),
    ("varchar(5)", "", pa.string(), ""),
    ("binary(4)", "x'0102'", pa.binary(), b"\x01\x02\x00\x00"),
    ("varbinary(9)", "x'00ff'", pa.binary(), b"\x00\xff"),
    ("longblob", "x'00ff00'", pa.binary(), b"\x00\xff\x00"),
    ("enum('so-so','fine')", "fine", pa.string(), "fine"),
    ("set('x','y')", "x,y", pa.string(), "x,y"),
    ("json", '{"b": 1, "a":  1.50}', pa.string(), '{"b": 1, "a":  1.50}'),
    ("uuid", "00000000-0000-0000-0000-00000000000a", pa.string(), "00000000-0000-0000-0000-00000000000a"),
    ("inet6", "::1", pa.string(), "::1"),
    ("point", "ST_GeomFromText('POINT(0.1 2)', 4326)", pa.binary(),
     struct.pack("<IBIdd", 4326, 1, 1, 0.1, 2.0)),
]  # fmt: skip


def as_sql(text: str) -> str:
    raw = text.startswith(("x'", "b'", "ST_")) or text.lstrip("-").isdigit()
    return text if raw else "'" + text.replace("'", "''") + "'"


def test_each_type_arrives_exactly_after_rows_of_nulls(db: Db, source: Source) -> None:
    names = [f"c{n}" for n in range(len(TORTURE))]
    db.run(
        f"CREATE TABLE torture (id int, {', '.join(f'{n} {t}' for n, (t, *_) in zip(names, TORTURE, strict=True))})"
    )
    db.run("INSERT INTO torture (id) SELECT seq FROM seq_1_to_70000")
    db.run(f"INSERT INTO torture VALUES (0, {', '.join(as_sql(text) for _, text, *_ in TORTURE)})")
    table = read_all(source, table="torture")
    assert table.num_rows == 70_001
    last = table.filter(pc.equal(table.column("id"), 0))
    for name, (declared, _, arrow, value) in zip(names, TORTURE, strict=True):
        assert table.schema.field(name).type == arrow, declared
        assert table.column(name).null_count == 70_000, declared
        assert column(last, name)[0] == value, declared


ZEROS = {
    "date": ["0000-00-00", "2024-00-10", "2024-02-00"],
    "datetime": ["0000-00-00 00:00:00", "2024-00-00 10:00:00"],
    "datetime(6)": ["0000-00-00 00:00:00"],
    "timestamp(6) null": ["0000-00-00 00:00:00"],
}


@pytest.mark.parametrize("declared", ZEROS)
def test_zero_dates_stop_the_read_or_are_counted(
    db: Db, source: Source, lenient: Source, declared: str
) -> None:
    db.run("DROP TABLE IF EXISTS zeros")
    db.run(f"CREATE TABLE zeros (id int, v {declared})")
    db.run("INSERT INTO zeros VALUES (0, NULL), (1, '2024-02-03')")
    for value in ZEROS[declared]:
        db.run("INSERT INTO zeros VALUES (2, %s)", value)
    with pytest.raises(DataError, match=r"'v'.*special_values"):
        read_all(source, table="zeros")
    request = ReadRequest(stream(table="zeros"))
    found = column(read(lenient, request), "v")
    assert found[0] is None
    assert found[1] is not None
    assert found[2:] == [None] * len(ZEROS[declared])
    assert request.replaced == {"v": len(ZEROS[declared])}


@pytest.fixture(scope="module")
def own_server() -> Iterator[MariadbServer]:
    """A server whose settings may be changed."""
    with running_mariadb() as server:
        yield server


@pytest.mark.parametrize("zone", ["+00:00", "+05:30", "-11:00"])
def test_a_timestamp_is_an_instant_whatever_the_server_s_time_zone(
    own_server: MariadbServer, project: Settings, zone: str
) -> None:
    at = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    os.environ["TEST_MY_ZONE"] = own_server.create_database()
    db = Db(own_server, os.environ["TEST_MY_ZONE"].rsplit("/", 1)[1])
    source = open_source({"kind": "mysql", "dsn": "{{ env.TEST_MY_ZONE }}"}, project)
    db.run("CREATE OR REPLACE TABLE instants (ts timestamp(6) NOT NULL)")
    db.run("INSERT INTO instants VALUES (%s)", at.replace(tzinfo=None))
    db.run("SET GLOBAL time_zone = %s", zone)
    declared = stream(table="instants", sync={"mode": "incremental", "cursor": "ts"})
    assert column(read(source, ReadRequest(declared)), "ts") == [at]
    for hours, rows in ((0, 1), (-1, 0), (1, 0)):
        start = at + timedelta(hours=hours)
        request = ReadRequest(declared, window=Window(start, start + timedelta(hours=1)))
        assert read(source, request).num_rows == rows == source.count(request)


def test_an_hour_of_a_date_column_holds_its_midnight(db: Db, source: Source) -> None:
    db.run("CREATE TABLE days (d date)")
    db.run("INSERT INTO days VALUES ('2026-01-01'), ('2026-01-02')")
    declared = stream(table="days", sync={"mode": "incremental", "cursor": "d"})
    for hour, rows in ((0, 1), (1, 0), (23, 0)):
        at = datetime(2026, 1, 2, hour, tzinfo=UTC)
        request = ReadRequest(declared, window=Window(at, at + timedelta(hours=1)))
        assert read(source, request).num_rows == rows == source.count(request)


def test_cursors_of_other_types_start_where_they_should(db: Db, source: Source) -> None:
    db.run("CREATE TABLE versions (n bigint, d decimal(12,3), t varchar(20))")
    db.run("INSERT INTO versions SELECT seq, seq, concat('v', seq) FROM seq_1_to_9")
    for name, after in (("n", 7), ("d", Decimal("7.000")), ("t", "v7")):
        declared = stream(table="versions", sync={"mode": "incremental", "cursor": name, "by": "version"})
        assert column(read(source, ReadRequest(declared, after=after)), "n") == [7, 8, 9]
    declared = stream(table="versions", sync={"mode": "incremental", "cursor": "t", "by": "version"})
    assert read(source, ReadRequest(declared, after="v9\\'; DROP TABLE versions; -- é😀")).num_rows == 0


def test_comments_keys_and_estimates_are_described(db: Db, source: Source) -> None:
    db.run("CREATE TABLE parent (a int, b int, PRIMARY KEY (b, a))")
    db.run("CREATE TABLE child (id int PRIMARY KEY, x int COMMENT 'its b', y int NOT NULL,"
           " FOREIGN KEY (x, y) REFERENCES parent (b, a)) COMMENT 'of a parent'")  # fmt: skip
    shape = source.describe(stream(table="child"))
    assert shape.comment == "of a parent"
    assert shape.primary_key == ("id",)
    ((own, target, theirs),) = shape.foreign_keys
    assert (own, target.split(".")[1], theirs) == (("x", "y"), "parent", ("b", "a"))
    assert [(c.name, c.nullable, c.comment, c.source_type) for c in shape.columns] == [
        ("id", False, "", "int(11)"), ("x", True, "its b", "int(11)"), ("y", False, "", "int(11)"),
    ]  # fmt: skip
    assert shape.row_estimate == 0


def test_strange_names_and_hidden_columns_are_read(db: Db, source: Source) -> None:
    table, name = 'we"ird.tab`le; DROP', "co`l; -- %s {} é"
    quoted = ["`" + n.replace("`", "``") + "`" for n in (table, name)]
    db.run(f"CREATE TABLE {quoted[0]} ({quoted[1]} int, `select` int, unseen int INVISIBLE DEFAULT 3)")
    db.run(f"INSERT INTO {quoted[0]} VALUES (1, 2)")
    found = next(f for f in source.discover() if f.name == "we_ird_tab_le_drop")
    rows = read_all(source, table=found.value)
    assert rows.to_pylist() == [{name: 1, "select": 2, "unseen": 3}]


def test_a_query_s_columns_have_exact_types(db: Db, source: Source) -> None:
    db.run("CREATE TABLE sums (d decimal(12,4), u bigint unsigned, t timestamp NULL)")
    db.run("INSERT INTO sums VALUES (1.0001, 18446744073709551615, '2026-01-01 00:00:00'), (2, 1, NULL)")
    rows = read_all(
        source,
        query="SELECT SUM(d) AS d, MAX(u) AS u, MAX(t) AS t, NULL AS n, COUNT(*) AS c, 'x' AS s FROM sums",
    )
    (row,) = rows.to_pylist()
    assert (row["d"], row["u"], row["n"], row["c"], row["s"]) == (Decimal("3.0001"), 2**64 - 1, None, 2, "x")
    assert row["t"].replace(tzinfo=UTC) == datetime(2026, 1, 1, tzinfo=UTC)


def test_nothing_can_be_written(db: Db, source: Source) -> None:
    db.run("CREATE TABLE target (a int)")
    db.run("CREATE SEQUENCE numbers")
    db.run("CREATE FUNCTION sneaky() RETURNS int BEGIN INSERT INTO target VALUES (1); RETURN 1; END")
    db.run("CREATE VIEW innocent AS SELECT sneaky() AS a")
    with pytest.raises(ConfigError, match="READ ONLY"):
        read(source, ReadRequest(stream(table="innocent")))
    assert db.run("SELECT count(*) FROM target") == ((0,),)
    db.run("DROP VIEW innocent")  # who looks at all tables would stumble over it


def test_an_account_that_can_only_read_gives_no_warning(
    db: Db, dsn: str, source: Source, project: Settings
) -> None:
    assert "can write" in source.probe().warnings[0]
    assert source.probe().server.startswith("MariaDB 1")
    name, password = dsn.rsplit("/", 1)[1], "p@ss/w:rd%é"
    db.run("CREATE TABLE readable (a int)")
    db.run("CREATE USER onlooker@'127.0.0.1' IDENTIFIED BY %s", password)
    db.run(f"GRANT SELECT ON {name}.readable TO onlooker@'127.0.0.1'")
    os.environ["TEST_MY_ONLOOKER"] = dsn.replace(f"root:{PASSWORD}", f"onlooker:{quote(password, safe='')}")
    onlooker = open_source({"kind": "mysql", "dsn": "{{ env.TEST_MY_ONLOOKER }}"}, project)
    assert onlooker.probe().warnings == ()
    assert [f.name for f in onlooker.discover()] == ["readable"]
    assert read(onlooker, ReadRequest(stream(table="readable"))).num_rows == 0
    with pytest.raises(AccessError):
        read(onlooker, ReadRequest(stream(query="SELECT * FROM torture")))


def test_a_statement_that_takes_too_long_is_stopped(db: Db, dsn: str, project: Settings) -> None:
    hasty = open_source(
        {"kind": "mysql", "dsn": "{{ env.TEST_MY_TYPES }}", "statement_timeout": "200ms"}, project
    )
    db.run("CREATE TABLE IF NOT EXISTS many AS SELECT seq AS a FROM seq_1_to_3000")
    query = "SELECT COUNT(*) AS n FROM many AS x, many AS y, many AS z"
    with pytest.raises(TransientError, match="max_statement_time"):
        read(hasty, ReadRequest(stream(query=query)))


def test_closing_early_ends_the_statement_at_the_server(db: Db, source: Source) -> None:
    db.run("CREATE TABLE IF NOT EXISTS big AS SELECT seq AS id, repeat('x', 500) AS v FROM seq_1_to_400000")
    with source.read(ReadRequest(stream(table="big"), batch_rows=100)) as batches:
        batches.read_next_batch()
    running = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%sis-%' AND DB = DATABASE() AND ID <> CONNECTION_ID()"
    until(lambda: db.run(running) == ((0,),), "the statement still runs")


def test_a_server_connection_that_dies_while_reading_is_a_transient_error(db: Db, source: Source) -> None:
    db.run("CREATE TABLE IF NOT EXISTS big AS SELECT seq AS id, repeat('x', 500) AS v FROM seq_1_to_400000")

    def read_and_kill() -> None:
        with source.read(ReadRequest(stream(table="big"), batch_rows=100)) as batches:
            batches.read_next_batch()
            for (number,) in db.run(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%sis-%' AND DB = DATABASE() AND ID <> CONNECTION_ID()"
            ):
                db.run(f"KILL {number}")
            batches.read_all()

    with pytest.raises(TransientError):
        read_and_kill()


def test_a_batch_bounds_memory(db: Db, source: Source) -> None:
    db.run("CREATE TABLE IF NOT EXISTS big AS SELECT seq AS id, repeat('x', 500) AS v FROM seq_1_to_400000")
    base, peak, rows = pa.total_allocated_bytes(), 0, 0
    with source.read(ReadRequest(stream(table="big"), batch_rows=1000)) as batches:
        for batch in batches:
            rows += batch.num_rows
            peak = max(peak, batch.nbytes + pa.total_allocated_bytes() - base)
    assert rows == 400_000
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "text",
    [
        "pa55word",
        "postgresql://u:pa55word@h/d",
        "mysql://u:pa55word@h:99x/d",
        "mysql://u:pa55word@/d",
        "mysql://u:pa55word@h/d?x=y",
    ],
)
def test_a_dsn_that_cannot_be_read_is_not_told(
    project: Settings, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MY_BAD", text)
    with pytest.raises(ConfigError) as caught:
        open_source({"kind": "mysql", "dsn": "{{ env.TEST_MY_BAD }}"}, project).probe()
    assert "pa55word" not in str(caught.value)


def test_an_unknown_database_is_a_configuration_error(
    dsn: str, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MY_BAD", dsn + "_not")
    with pytest.raises(ConfigError, match="Unknown database"):
        open_source({"kind": "mysql", "dsn": "{{ env.TEST_MY_BAD }}"}, project).probe()


def test_errors_hold_no_value(db: Db, source: Source) -> None:
    db.run("CREATE TABLE huge (v bigint)")
    db.run("INSERT INTO huge VALUES (9223372036854775807)")
    with pytest.raises(SisError) as caught:
        read(source, ReadRequest(stream(query="SELECT v + v AS v FROM huge")))
    assert isinstance(caught.value, DataError)
    assert "9223372036854775807" not in str(caught.value)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
VALUES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "a": ("bigint", st.integers(-(2**63), 2**63 - 1)),
    "b": ("bigint unsigned", st.integers(0, 2**64 - 1)),
    "c": ("double", st.floats(allow_nan=False, allow_infinity=False)),
    "d": ("decimal(38,10)", st.decimals(-(10**27), 10**27, places=10)),
    "e": ("decimal(60,20)", st.decimals(-(10**39), 10**39, places=20)),
    "f": ("text", _TEXT),
    "g": ("blob", st.binary(max_size=100)),
    "h": ("date", st.dates(min_value=date(1, 1, 1))),
    "i": ("datetime(6)", st.datetimes()),
    "j": ("timestamp(6) null", st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 1))),
    "k": ("bit(1)", st.booleans()),
    "l": ("smallint", st.integers(-(2**15), 2**15 - 1)),
}
_ROWS = st.lists(st.tuples(*(st.one_of(st.none(), values) for _, values in VALUES.values())), max_size=5)


@given(rows=_ROWS)
def test_any_value_of_a_supported_type_survives_source_to_arrow(
    db: Db, source: Source, rows: list[tuple[Any, ...]]
) -> None:
    db.run(
        f"CREATE OR REPLACE TABLE any_value (row_no int, {', '.join(f'{n} {t}' for n, (t, _) in VALUES.items())})"
    )
    for number, row in enumerate(rows):
        db.run(f"INSERT INTO any_value VALUES ({', '.join(['%s'] * (len(row) + 1))})", number, *row)
    table = read_all(source, table="any_value").sort_by("row_no")
    for name, values in zip(VALUES, zip(*rows, strict=True), strict=False):
        found = column(table, name)
        if name == "e":
            found = [None if v is None else Decimal(v) for v in found]
        if name == "j":
            found = [None if v is None else v.replace(tzinfo=None) for v in found]
        assert found == list(values), name


def test_nul_in_text_is_kept(db: Db, source: Source) -> None:
    texts = ["\0", "a\0b", "\0😀\0", "", None]
    db.run("CREATE TABLE nuls (id int PRIMARY KEY, t text, v varchar(9), c char(9))")
    for number, text in enumerate(texts):
        db.run("INSERT INTO nuls VALUES (%s, %s, %s, %s)", number, text, text, text)
    table = read_all(source, table="nuls")
    assert [column(table, name) for name in ("t", "v", "c")] == [texts] * 3
    assert column(read_all(source, query="SELECT t FROM nuls ORDER BY id"), "t") == texts

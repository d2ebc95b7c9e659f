"""Oracle without a server: the statements, the types, the errors, and addresses where no Oracle answers."""

import os
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import oracledb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.databases.oracle_catalogue import (
    check_columns,
    column_of,
    count_sql,
    keys_of,
    literal,
    select_sql,
)
from superinsight_sync.databases.oracle_errors import mapped_oracle
from superinsight_sync.databases.oracle_types import Converter, OraColumn, quoted
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.records.batches import shaped
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.servers.deaf import garbage_port, mute_port
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.reading import INCREMENTAL, stream

NLS = "'NLS_NUMERIC_CHARACTERS=''.,'''"
DAY = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5))))
ID = OraColumn("id", "NUMBER", 10, 0)


def request(base: str, scale: int | None = None, **keys: Any) -> tuple[str, str]:
    """The statements of a stream with a cursor of this type."""
    made = ReadRequest(stream(table="sales.orders", sync=INCREMENTAL), **keys)
    columns = (ID, OraColumn("updated_at", base, None, scale))
    at = ("SALES", "ORDERS")
    return select_sql(made, columns, at), count_sql(made, columns, at)


HEAD = 'SELECT s."id" AS "id", s."updated_at" AS "updated_at" FROM "SALES"."ORDERS" s'
COUNT = 'SELECT COUNT(*) FROM "SALES"."ORDERS" s'


def test_a_whole_table() -> None:
    assert request("DATE") == (HEAD, COUNT)


def test_only_needed_columns_are_selected_and_the_cursor_bounds_them_nevertheless() -> None:
    sql, count = request("DATE", columns=("id",), window=DAY)
    assert sql.startswith('SELECT s."id" AS "id" FROM "SALES"."ORDERS" s WHERE s."updated_at" >= ')
    assert count.startswith(f'{COUNT} WHERE s."updated_at" >= ')


@pytest.mark.parametrize(
    ("base", "low", "high"),
    [
        ("DATE", "TO_DATE('2026-01-01 00:00:00', 'YYYY-MM-DD HH24:MI:SS')",
         "TO_DATE('2026-01-02 05:00:00', 'YYYY-MM-DD HH24:MI:SS')"),
        ("TIMESTAMP", "TIMESTAMP '2026-01-01 00:00:00.000000'", "TIMESTAMP '2026-01-02 05:00:00.000000'"),
    ],
)  # fmt: skip
def test_a_window_is_half_open_and_typed_as_the_cursor(base: str, low: str, high: str) -> None:
    where = f' WHERE s."updated_at" >= {low} AND s."updated_at" < {high}'
    assert request(base, 6, window=DAY) == (HEAD + where, COUNT + where)


def test_a_window_over_instants_is_in_utc() -> None:
    sql, _ = request("TIMESTAMP WITH TIME ZONE", 6, window=DAY)
    assert 'SYS_EXTRACT_UTC(s."updated_at") AS "updated_at"' in sql
    assert sql.endswith(
        "s.\"updated_at\" >= TIMESTAMP '2026-01-01 00:00:00.000000 +00:00'"
        " AND s.\"updated_at\" < TIMESTAMP '2026-01-02 05:00:00.000000 +00:00'"
    )


def test_a_lower_bound_a_window_and_a_limit_hold_together() -> None:
    sql, count = request("TIMESTAMP", 6, window=DAY, after=datetime(2026, 1, 1, 8, 0, 0, 5), limit=7)
    low = "s.\"updated_at\" >= TIMESTAMP '2026-01-01 08:00:00.000005'"
    assert sql.endswith(f' AND ({low} OR s."updated_at" IS NULL) AND ROWNUM <= 7')
    assert "ROWNUM" not in count
    assert request("DATE", limit=0)[0].endswith(" WHERE ROWNUM <= 0")


def test_a_bound_between_two_seconds_of_a_date_is_the_later() -> None:
    assert literal(datetime(2026, 1, 1, 23, 59, 59, 1), "date").startswith("TO_DATE('2026-01-02 00:00:00'")


def test_a_query_passes_the_gate_and_is_read_like_a_table() -> None:
    made = ReadRequest(stream(query="select id from \"Größe\" where x = 'it''s' -- c"), limit=1)
    assert select_sql(made, (ID,), None) == (
        'SELECT s."id" AS "id" FROM (SELECT id FROM "Größe" WHERE x = \'it\'\'s\') s WHERE ROWNUM <= 1'
    )
    with pytest.raises(ConfigError, match="may only read"):
        select_sql(ReadRequest(stream(query="select * from t for update")), (ID,), None)


@pytest.mark.parametrize(
    ("value", "family", "sql"),
    [
        (5, "decimal", "5"),
        (Decimal("1E-9"), "decimal", "0.000000001"),
        (2.5, "float", "2.5d"),
        (True, "bool", "TRUE"),
        ("it's", "text", "'it''s'"),
        ("ü😀", "text", "UNISTR('\\00FC\\D83D\\DE00')"),
        ("a\nb", "text", "UNISTR('\\0061\\000A\\0062')"),
        (b"\x00\xff", "binary", "HEXTORAW('00FF')"),
        (date(2026, 1, 2), "date", "TO_DATE('2026-01-02', 'YYYY-MM-DD')"),
        (
            datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
            "timestamp",
            "TIMESTAMP '2026-01-02 01:00:00.000000'",
        ),
    ],
)
def test_a_literal_of_every_cursor_type(value: Any, family: str, sql: str) -> None:
    assert literal(value, family) == sql


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), object(), None])
def test_what_is_no_cursor_value_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="no cursor value"):
        literal(value, "text")


@given(st.text(max_size=30))
def test_a_text_literal_ends_where_it_ends(value: str) -> None:
    sql = literal(value, "text")
    inner = sql[sql.index("'") + 1 : sql.rindex("'")]
    assert "'" not in inner.replace("''", "")
    assert inner.isascii()


def test_names_are_quoted_and_what_cannot_be_quoted_is_refused() -> None:
    assert quoted("odd Näme]`';--") == '"odd Näme]`\';--"'
    with pytest.raises(ConfigError, match="double quote"):
        quoted('a"b')


X = 's."C"'
TYPES: list[tuple[tuple[Any, ...], str, pa.DataType, str]] = [
    (("NUMBER", 12, 2), "NUMBER(12,2)", pa.decimal128(12, 2), X),
    (("NUMBER", 38, 0), "NUMBER(38,0)", pa.decimal128(38, 0), X),
    (("NUMBER", None, 0), "INTEGER", pa.decimal128(38, 0), f"CAST({X} AS NUMBER(38,0))"),
    (("NUMBER", None, None), "NUMBER", pa.string(), f"TO_CHAR({X}, 'TM9', {NLS})"),
    (("NUMBER", 5, -2), "NUMBER(5,-2)", pa.string(), f"TO_CHAR({X}, 'TM9', {NLS})"),
    (("NUMBER", 2, 5), "NUMBER(2,5)", pa.string(), f"TO_CHAR({X}, 'TM9', {NLS})"),
    (("FLOAT", 126, None), "FLOAT", pa.string(), f"TO_CHAR({X}, 'TM9', {NLS})"),
    (("BINARY_FLOAT", None, None), "BINARY_FLOAT", pa.float32(), X),
    (("BINARY_DOUBLE", None, None), "BINARY_DOUBLE", pa.float64(), X),
    *[((t, None, None), t, pa.string(), X) for t in ("VARCHAR2", "NVARCHAR2", "CHAR", "NCHAR", "CLOB")],
    (("NCLOB", None, None), "NCLOB", pa.string(), f"TO_CLOB({X})"),
    (("RAW", None, None), "RAW", pa.binary(), X),
    (("BLOB", None, None), "BLOB", pa.binary(), X),
    (("DATE", None, None), "DATE", pa.timestamp("us"), X),
    (("TIMESTAMP(6)", None, 6), "TIMESTAMP(6)", pa.timestamp("us"), X),
    (("TIMESTAMP(9)", None, 9), "TIMESTAMP(9)", pa.timestamp("us"),
     f"CASE WHEN {X} <> CAST({X} AS TIMESTAMP(6)) THEN TIMESTAMP '0001-01-01 00:00:00.000001'"
     f" ELSE CAST({X} AS TIMESTAMP(6)) END"),
    (("TIMESTAMP(3) WITH TIME ZONE", None, 3), "TIMESTAMP(3) WITH TIME ZONE", pa.timestamp("us", "UTC"),
     f"SYS_EXTRACT_UTC({X})"),
    (("TIMESTAMP(6) WITH LOCAL TIME ZONE", None, 6), "TIMESTAMP(6) WITH LOCAL TIME ZONE",
     pa.timestamp("us", "UTC"), f"SYS_EXTRACT_UTC({X})"),
    (("INTERVAL YEAR(2) TO MONTH", 2, 0), "INTERVAL YEAR TO MONTH", pa.string(),
     f"CASE WHEN {X} IS NOT NULL THEN 'P' || EXTRACT(YEAR FROM {X}) || 'Y' || EXTRACT(MONTH FROM {X}) || 'M' END"),
    (("INTERVAL DAY(2) TO SECOND(6)", 2, 6), "INTERVAL DAY TO SECOND", pa.string(),
     f"CASE WHEN {X} IS NOT NULL THEN 'P' || EXTRACT(DAY FROM {X}) || 'DT' || EXTRACT(HOUR FROM {X}) || 'H' || "
     f"EXTRACT(MINUTE FROM {X}) || 'M' || RTRIM(TO_CHAR(EXTRACT(SECOND FROM {X}), 'FM990.999999999', {NLS}), '.')"
     " || 'S' END"),
    (("ROWID", None, None), "ROWID", pa.string(), f"CAST({X} AS VARCHAR2(4000))"),
    (("JSON", None, None), "JSON", pa.string(), f"JSON_SERIALIZE({X} RETURNING CLOB)"),
    (("XMLTYPE", None, None), "XMLTYPE", pa.string(), f"{X}.getClobVal()"),
    (("VECTOR", None, None), "VECTOR", pa.string(), f"VECTOR_SERIALIZE({X} RETURNING CLOB)"),
    (("BOOLEAN", None, None), "BOOLEAN", pa.bool_(), X),
]  # fmt: skip


@pytest.mark.parametrize(("row", "shown", "arrow", "select"), TYPES, ids=[t[1] for t in TYPES])
def test_a_type_of_the_catalogue(row: tuple[Any, ...], shown: str, arrow: pa.DataType, select: str) -> None:
    column = column_of(("C", *row, "Y", None)).column
    assert (column.source_type, column.arrow, column.select, column.nullable) == (shown, arrow, select, True)


@pytest.mark.parametrize("kind", ["SDO_GEOMETRY", "LONG", "LONG RAW", "BFILE", "ANYDATA", "MY_OBJECT"])
def test_an_unknown_type_is_refused_by_name(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"column 'C' has a type that cannot be read \({kind}\)"):
        _ = column_of(("C", kind, None, None, "Y", None)).column


def test_a_number_whose_order_is_lost_is_no_cursor() -> None:
    declared = stream(table="t", sync={"mode": "incremental", "cursor": "ID"})
    with pytest.raises(ConfigError, match=r"CAST\(\"ID\" AS NUMBER\(38,0\)\)"):
        check_columns(declared, [OraColumn("ID", "NUMBER")])
    check_columns(declared, [OraColumn("ID", "NUMBER", None, 0)])


def test_keys_are_gathered_in_order() -> None:
    rows = [("P", "pk", "a", None, None), ("P", "pk", "b", None, None),
            ("R", "f1", "x", "S.T", "i"), ("R", "f1", "y", "S.T", "j"), ("R", "f2", "z", "S.U", "k")]  # fmt: skip
    assert keys_of(rows) == (("a", "b"), ((("x", "y"), "S.T", ("i", "j")), (("z",), "S.U", ("k",))))


def converted(array: pa.Array, column: OraColumn, special: Any = "fail") -> tuple[pa.Array, dict[str, int]]:
    made = ReadRequest(stream(table="t"))
    batch = pa.RecordBatch.from_arrays([array], names=["C"])
    convert = Converter(made, special).convert
    (found,) = shaped([batch], [column.column], convert, batch_rows=10, limit=None)
    return found.column(0), dict(made.replaced)


def test_driver_arrays_become_the_declared_ones() -> None:
    amounts, _ = converted(pa.array([5, None]), OraColumn("C", "NUMBER", 12, 2))
    assert amounts.to_pylist() == [Decimal("5.00"), None]
    dates, _ = converted(pa.array([0, None], pa.timestamp("s")), OraColumn("C", "DATE"))
    assert dates.to_pylist() == [datetime(1970, 1, 1), None]
    zoned = OraColumn("C", "TIMESTAMP WITH TIME ZONE", None, 6)
    assert converted(pa.array([1], pa.timestamp("us")), zoned)[0].to_pylist() == [
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    ]
    assert converted(pa.array(["x"], pa.large_string()), OraColumn("C", "CLOB"))[0].to_pylist() == ["x"]


def test_a_decimal_that_the_driver_made_a_float_is_refused() -> None:
    with pytest.raises(DataError, match="loses digits"):
        converted(pa.array([0.1]), OraColumn("C", "NUMBER", 12, 2))


def test_a_timestamp_finer_than_a_microsecond_is_refused_or_counted() -> None:
    fine = OraColumn("C", "TIMESTAMP", None, 9)
    marked = pa.array([datetime(1, 1, 1, 0, 0, 0, 1), datetime(2026, 1, 1), None], pa.timestamp("us"))
    with pytest.raises(DataError, match="column 'C' holds fractions finer than a microsecond"):
        converted(marked, fine)
    found, replaced = converted(marked, fine, "null")
    assert found.to_pylist() == [None, datetime(2026, 1, 1), None]
    assert replaced == {"C": 1}


ERRORS: list[tuple[str, type[SisError], str]] = [
    ("ORA-01017: invalid username/password; logon denied", AccessError, "user"),
    ("ORA-28000: The account is locked.", AccessError, "locked"),
    ("ORA-01031: insufficient privileges", AccessError, "SELECT"),
    ("ORA-12541: TNS:no listener", TransientError, "listener"),
    ("ORA-12514: TNS:listener does not currently know of service", ConfigError, "service name"),
    ("DPY-6005: cannot connect to database.\nDPY-6001: Service \"x\" is not registered", ConfigError, "service"),
    ("ORA-00942: table or view \"S\".\"T\" does not exist", ConfigError, "no such table"),
    ("ORA-00904: \"X\": invalid identifier", ConfigError, "no such column"),
    ("ORA-01555: snapshot too old: rollback segment number 1", TransientError, "smaller windows"),
    ("ORA-03113: end-of-file on communication channel", TransientError, "tried again"),
    ("ORA-00060: deadlock detected while waiting for resource", TransientError, "tried again"),
    ("DPY-4024: call timeout of 1000 ms exceeded", TransientError, "statement_timeout"),
    ("DPY-4011: the database or network closed the connection", TransientError, "host, port"),
    ("ORA-01456: may not perform insert operation inside a READ ONLY transaction", ConfigError, "read-only"),
    ("ORA-01722: unable to convert string value containing 'secret-value' to a number", DataError, "values"),
    ("ORA-99999: something new", ConfigError, "declaration"),
    ("DPY-6005: cannot connect to database\n[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", ConfigError, "TLS"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cls", "hint"), ERRORS, ids=[e[0][:9] for e in ERRORS])
def test_an_error_is_known_by_its_code(text: str, cls: type[SisError], hint: str) -> None:
    error = mapped_oracle(oracledb.DatabaseError(text))
    assert type(error) is cls
    assert hint in str(error)
    assert "secret-value" not in str(error)


def probing(project: Settings, dsn: str) -> SisError:
    os.environ["TEST_ORA_PW"] = "not-the-pa55word"
    source = open_source(
        {
            "kind": "oracle",
            "dsn": dsn,
            "user": "u",
            "password": "{{ env.TEST_ORA_PW }}",
            "connect_timeout": "1s",
        },
        project,
    )
    with pytest.raises(SisError) as caught:
        source.probe()
    assert "not-the-pa55word" not in str(caught.value)
    return caught.value


def test_an_address_where_nothing_listens(project: Settings) -> None:
    for dsn in (
        f"127.0.0.1:{free_port()}/x",
        f"(DESCRIPTION=(ADDRESS_LIST=(ADDRESS=(PROTOCOL=TCP)(HOST=127.0.0.1)(PORT={free_port()}))"
        f"(ADDRESS=(PROTOCOL=TCP)(HOST=127.0.0.1)(PORT={free_port()})))(CONNECT_DATA=(SERVICE_NAME=x)))",
    ):
        error = probing(project, dsn)
        assert type(error) is TransientError
        assert "host, port and service name" in str(error)


def test_a_server_that_talks_garbage_or_nothing(project: Settings) -> None:
    with garbage_port() as port:
        assert type(probing(project, f"127.0.0.1:{port}/x")) is TransientError
        assert "TLS" in str(probing(project, f"tcps://127.0.0.1:{port}/x"))
    with mute_port() as port:
        assert "did not answer within 1 s" in str(probing(project, f"127.0.0.1:{port}/x"))


def test_an_address_that_is_none_is_a_configuration_error(project: Settings) -> None:
    assert type(probing(project, "no_such_alias")) is ConfigError
    assert type(probing(project, "(DESCRIPTION=(")) is ConfigError


def test_a_password_must_be_a_reference(project: Settings) -> None:
    with pytest.raises(ConfigError, match="written out"):
        open_source({"kind": "oracle", "dsn": "h/x", "user": "u", "password": "plain"}, project)

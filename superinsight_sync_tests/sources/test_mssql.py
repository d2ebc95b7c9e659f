"""SQL Server without a server: the statements, the types, the errors, and addresses where none answers."""

import os
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import mssql_python
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.databases.mssql_catalogue import (
    check_columns,
    column_of,
    count_sql,
    described_column,
    literal,
    relation,
    select_sql,
)
from superinsight_sync.databases.mssql_errors import mapped_mssql, number_of
from superinsight_sync.databases.mssql_types import Converter, MsColumn, quoted
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.records.batches import shaped
from superinsight_sync.sources.kinds.mssql import braced, warnings_of
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.servers.deaf import garbage_port, mute_port
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.reading import INCREMENTAL, stream

DAY = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5))))
ID = MsColumn("id", "int")
AT = ("sales", "or]ders")
FROM = "FROM [sales].[or]]ders] AS s"
COUNT = f"SELECT COUNT_BIG(*) {FROM}"


def request(base: str, **keys: Any) -> tuple[str, str]:
    """The statements of a stream with a cursor of this type."""
    made = ReadRequest(stream(table="sales.orders", sync=INCREMENTAL), **keys)
    columns = (ID, MsColumn("updated_at", base))
    return select_sql(made, columns, AT), count_sql(made, columns, AT)


def test_a_whole_table() -> None:
    assert request("date") == (f"SELECT s.[id] AS [id], s.[updated_at] AS [updated_at] {FROM}", COUNT)


def test_only_needed_columns_are_selected_and_the_cursor_bounds_them_nevertheless() -> None:
    sql, count = request("date", columns=("id",), window=DAY)
    assert sql.startswith(f"SELECT s.[id] AS [id] {FROM} WHERE s.[updated_at] >= ")
    assert count.startswith(f"{COUNT} WHERE s.[updated_at] >= ")


@pytest.mark.parametrize(
    ("base", "shape"),
    [
        ("datetime2", "CONVERT(datetime2(7), '{}', 126)"),
        ("date", "CONVERT(datetime2(7), '{}', 126)"),
        ("smalldatetime", "CONVERT(datetime2(7), '{}', 126)"),
        ("datetime", "CONVERT(datetime, CONVERT(datetime2(7), '{}', 126))"),
        ("datetimeoffset", "CONVERT(datetimeoffset(7), '{}Z', 127)"),
    ],
)
def test_a_window_is_half_open_and_typed_as_the_cursor(base: str, shape: str) -> None:
    low, high = shape.format("2026-01-01T00:00:00.000000"), shape.format("2026-01-02T05:00:00.000000")
    where = f" WHERE s.[updated_at] >= {low} AND s.[updated_at] < {high}"
    sql, count = request(base, window=DAY)
    assert sql.endswith(FROM + where)
    assert count == COUNT + where


def test_a_lower_bound_and_a_limit() -> None:
    sql, count = request("datetime2", after=datetime(2026, 1, 1, 8, 0, 0, 5), limit=7)
    assert sql.startswith("SELECT TOP (7) s.[id]")
    low = "CONVERT(datetime2(7), '2026-01-01T08:00:00.000005', 126)"
    assert sql.endswith(f" WHERE (s.[updated_at] >= {low} OR s.[updated_at] IS NULL)")
    assert "TOP" not in count


def test_a_row_version_cursor_stays_below_what_running_transactions_may_commit() -> None:
    sql, _ = request("rowversion", after=2001)
    assert "CONVERT(bigint, s.[updated_at]) AS [updated_at]" in sql
    assert sql.endswith(
        " WHERE (s.[updated_at] >= CONVERT(binary(8), CONVERT(bigint, 2001)) OR s.[updated_at] IS NULL)"
        " AND (s.[updated_at] < MIN_ACTIVE_ROWVERSION() OR s.[updated_at] IS NULL)"
    )
    assert request("timestamp")[1].endswith(
        " WHERE (s.[updated_at] < MIN_ACTIVE_ROWVERSION() OR s.[updated_at] IS NULL)"
    )


def test_a_query_passes_the_gate_and_its_common_tables_come_first() -> None:
    made = ReadRequest(
        stream(query="with x as (select id from dbo.t) select id from x where n = N'it''s' -- c")
    )
    assert select_sql(made, (ID,), None) == (
        "WITH [x] AS (SELECT [id] AS [id] FROM [dbo].[t]) SELECT s.[id] AS [id] FROM (SELECT [id] FROM [x] "
        "WHERE [n] = N'it''s') AS s"
    )
    assert relation(stream(query="select 1 as [größe ]]x]"), None) == ("", "(SELECT 1 AS [größe ]]x]) AS s")
    with pytest.raises(ConfigError, match="may only read"):
        select_sql(ReadRequest(stream(query="select * into x from t")), (ID,), None)


@pytest.mark.parametrize(
    ("value", "base", "sql"),
    [
        (5, "int", "CONVERT(bigint, 5)"),
        (2**62, "rowversion", f"CONVERT(binary(8), CONVERT(bigint, {2**62}))"),
        (Decimal("1E-9"), "decimal", "0.000000001"),
        (2.5, "float", "CONVERT(float, 2.5)"),
        (True, "bit", "CONVERT(bit, 1)"),
        ("it's ü😀\n", "nvarchar", "N'it''s ü😀\n'"),
        (b"\x00\xff", "binary", "0x00FF"),
        (date(2026, 1, 2), "date", "CONVERT(date, '2026-01-02', 23)"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "datetime2",
         "CONVERT(datetime2(7), '2026-01-02T01:00:00.000000', 126)"),
    ],
)  # fmt: skip
def test_a_literal_of_every_cursor_type(value: Any, base: str, sql: str) -> None:
    assert literal(value, base) == sql


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), object(), None])
def test_what_is_no_cursor_value_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="no cursor value"):
        literal(value, "nvarchar")


@given(st.text(max_size=30))
def test_texts_names_and_settings_end_where_they_end(value: str) -> None:
    assert literal(value, "nvarchar")[2:-1].replace("''", "").count("'") == 0
    assert quoted(value)[1:-1].replace("]]", "").count("]") == 0
    assert braced(value)[1:-1].replace("}}", "").count("}") == 0


X = "s.[C]"
EPOCH = "DATEDIFF_BIG(microsecond, CONVERT(datetime2(7), '1970-01-01T00:00:00', 126), "
NAIVE, UTC_TIME = pa.timestamp("us"), pa.timestamp("us", "UTC")
TYPES: list[tuple[str, int, int, str, pa.DataType, str]] = [
    ("bit", 1, 0, "bit", pa.bool_(), X),
    ("tinyint", 3, 0, "tinyint", pa.uint8(), X),
    ("smallint", 5, 0, "smallint", pa.int16(), X),
    ("int", 10, 0, "int", pa.int32(), X),
    ("bigint", 19, 0, "bigint", pa.int64(), X),
    ("real", 24, 0, "real", pa.float32(), X),
    ("float", 53, 0, "float", pa.float64(), X),
    ("decimal", 12, 2, "decimal(12,2)", pa.decimal128(12, 2), X),
    ("numeric", 38, 38, "numeric(38,38)", pa.decimal128(38, 38), X),
    ("money", 19, 4, "money", pa.decimal128(19, 4), f"CONVERT(decimal(19,4), {X})"),
    ("smallmoney", 10, 4, "smallmoney", pa.decimal128(10, 4), f"CONVERT(decimal(10,4), {X})"),
    *[(t, 0, 0, t, pa.string(), X) for t in ("char", "varchar", "nchar", "nvarchar", "sysname")],
    *[(t, 0, 0, t, pa.string(), f"CONVERT(nvarchar(max), {X})") for t in ("text", "ntext", "xml", "json")],
    ("binary", 0, 0, "binary", pa.binary(), X),
    ("varbinary", 0, 0, "varbinary", pa.binary(), X),
    ("image", 0, 0, "image", pa.binary(), f"CONVERT(varbinary(max), {X})"),
    ("rowversion", 0, 0, "rowversion", pa.int64(), f"CONVERT(bigint, {X})"),
    ("timestamp", 0, 0, "timestamp", pa.int64(), f"CONVERT(bigint, {X})"),
    ("date", 10, 0, "date", pa.date32(), X),
    ("time", 16, 7, "time(7)", pa.string(), f"CONVERT(nvarchar(16), {X}, 121)"),
    ("smalldatetime", 16, 0, "smalldatetime", NAIVE, f"{EPOCH}{X})"),
    ("datetime", 23, 3, "datetime", NAIVE, f"{EPOCH}CONVERT(datetime2(3), {X}))"),
    ("datetime2", 26, 6, "datetime2(6)", NAIVE, f"{EPOCH}{X})"),
    ("datetime2", 27, 7, "datetime2(7)", NAIVE,
     f"CASE WHEN DATEPART(nanosecond, {X}) % 1000 <> 0 THEN CONVERT(bigint, {-(2**63)}) ELSE {EPOCH}{X}) END"),
    ("datetimeoffset", 30, 3, "datetimeoffset(3)", UTC_TIME,
     f"{EPOCH}CONVERT(datetime2(7), SWITCHOFFSET({X}, 0)))"),
    ("uniqueidentifier", 0, 0, "uniqueidentifier", pa.string(), f"LOWER(CONVERT(nchar(36), {X}))"),
    *[(t, 0, 0, t, pa.string(), f"{X}.ToString()") for t in ("hierarchyid", "geometry", "geography")],
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "precision", "scale", "shown", "arrow", "select"), TYPES, ids=[t[3] for t in TYPES]
)
def test_a_type_of_the_catalogue(
    base: str, precision: int, scale: int, shown: str, arrow: pa.DataType, select: str
) -> None:
    column = column_of(("C", base, precision, scale, True, None, base)).column
    assert (column.source_type, column.arrow, column.select, column.nullable) == (shown, arrow, select, True)


def test_a_variant_is_text_by_its_own_type() -> None:
    column = column_of(("C", "sql_variant", 0, 0, True, None, "sql_variant")).column
    assert column.arrow == pa.string()
    assert "CONVERT(nvarchar(max), CONVERT(varbinary(8000), s.[C]), 1)" in column.select


def test_an_alias_is_read_as_its_base_and_shown_by_its_name() -> None:
    column = column_of(("C", "decimal", 9, 3, False, "note", "Weight")).column
    assert (column.source_type, column.arrow, column.nullable) == ("Weight", pa.decimal128(9, 3), False)


def test_a_query_s_columns_are_those_the_server_describes() -> None:
    found = described_column(("n", "decimal(12,2)", 12, 2, True, None, None))
    assert (found.column.arrow, found.column.source_type) == (pa.decimal128(12, 2), "decimal(12,2)")
    with pytest.raises(ConfigError, match="has no name"):
        described_column((None, "int", 10, 0, True, None, None))
    with pytest.raises(ConfigError, match="Invalid object name"):
        described_column((None, None, 0, 0, True, None, "Invalid object name 'x'."))


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"column 'C' has a type that cannot be read \(MyClrType\)"):
        _ = column_of(("C", "MyClrType", 0, 0, True, None, "MyClrType")).column


def test_partitions_need_a_time() -> None:
    declared = stream(
        table="t",
        sync={"mode": "incremental", "cursor": "id"},
        partition={"by": "day", "start": "2026-01-01"},
    )
    with pytest.raises(ConfigError, match="partitions need a date or datetime"):
        check_columns(declared, [ID])


def converted(array: pa.Array, column: MsColumn, special: Any = "fail") -> tuple[pa.Array, dict[str, int]]:
    made = ReadRequest(stream(table="t"))
    batch = pa.RecordBatch.from_arrays([array], names=["C"])
    convert = Converter(made, special).convert
    (found,) = shaped([batch], [column.column], convert, batch_rows=10, limit=None)
    return found.column(0), dict(made.replaced)


def test_microseconds_become_times() -> None:
    first = datetime(1, 1, 1)
    numbers = pa.array([0, None, -62_135_596_800_000_000], pa.int64())
    assert converted(numbers, MsColumn("C", "datetime2", 23, 3))[0].to_pylist() == [
        datetime(1970, 1, 1),
        None,
        first,
    ]
    assert converted(numbers, MsColumn("C", "datetimeoffset", 23, 3))[0].type == UTC_TIME


def test_a_time_finer_than_a_microsecond_is_refused_or_counted() -> None:
    fine, marked = MsColumn("C", "datetime2", 27, 7), pa.array([-(2**63), 1, None], pa.int64())
    with pytest.raises(DataError, match="column 'C' holds fractions finer than a microsecond"):
        converted(marked, fine)
    found, replaced = converted(marked, fine, "null")
    assert found.to_pylist() == [None, datetime(1970, 1, 1, 0, 0, 0, 1), None]
    assert replaced == {"C": 1}


SERVER = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
ERRORS: list[tuple[str, str, str, type[SisError]]] = [
    ("18456", "28000", f"{SERVER}Login failed for user 'sa'.", AccessError),
    ("4060", "42000", f"{SERVER}Cannot open database \"x\" requested by the login. The login failed.", ConfigError),
    ("40615", "42000", f"{SERVER}Cannot open server 'x' requested by the login. Client with IP address '1.2.3.4' is not "
     "allowed to access the server.", AccessError),
    ("229", "42000", f"{SERVER}The SELECT permission was denied on the object 'T', database 'd'.", AccessError),
    ("208", "42S02", f"{SERVER}Invalid object name 'dbo.t'.", ConfigError),
    ("207", "42S22", f"{SERVER}Invalid column name 'x'.", ConfigError),
    ("102", "42000", f"{SERVER}Incorrect syntax near ')'.", ConfigError),
    ("1205", "40001", f"{SERVER}Transaction (Process ID 52) was deadlocked on lock resources with another process and "
     "has been chosen as the deadlock victim. Rerun the transaction.", TransientError),
    ("40613", "HY000", f"{SERVER}Database 'd' on server 's' is not currently available. Please retry the connection "
     "later.", TransientError),
    ("40501", "HY000", f"{SERVER}The service is currently busy. Retry the request after 10 seconds.", TransientError),
    ("3960", "HY000", f"{SERVER}Snapshot isolation transaction aborted due to update conflict.", TransientError),
    ("3952", "42000", f"{SERVER}Snapshot isolation transaction failed accessing database 'd' because snapshot isolation "
     "is not allowed in this database.", ConfigError),
    ("245", "22018", f"{SERVER}Conversion failed when converting the varchar value 'secret-value' to data type int.",
     DataError),
    ("8134", "22012", f"{SERVER}Divide by zero error encountered.", DataError),
    ("TLS", "08001", "[Microsoft][ODBC Driver 18 for SQL Server]SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed]",
     ConfigError),
    ("HYT00", "HYT00", "[Microsoft][ODBC Driver 18 for SQL Server]Login timeout expired", TransientError),
    ("08001", "08001", "[Microsoft][ODBC Driver 18 for SQL Server]TCP Provider: Error code 0x2749", TransientError),
    ("08S01", "08S01", "[Microsoft][ODBC Driver 18 for SQL Server]Communication link failure", TransientError),
    ("driver", "HY000", "Failed to load the driver. Please read the documentation", ConfigError),
]  # fmt: skip


@pytest.mark.parametrize(("number", "state", "text", "cls"), ERRORS, ids=[e[0] for e in ERRORS])
def test_an_error_is_known_by_its_message(number: str, state: str, text: str, cls: type[SisError]) -> None:
    raised = mssql_python.exceptions.sqlstate_to_exception(state, text) or mssql_python.DatabaseError(
        state, text
    )
    error = mapped_mssql(raised)
    assert number_of(str(raised)) == number
    assert type(error) is cls
    assert error.hint
    assert "secret-value" not in str(error)


def test_the_warnings_of_a_connection_test() -> None:
    assert warnings_of(False, True) == ()
    assert "db_datareader" in warnings_of(True, True)[0]
    assert "ALLOW_SNAPSHOT_ISOLATION ON" in warnings_of(False, False)[0]


def source_of(project: Settings, dsn: str, **keys: Any) -> Any:
    os.environ["TEST_MS_DSN"] = dsn
    connection = {"kind": "mssql", "dsn": "{{ env.TEST_MS_DSN }}", "connect_timeout": "1s", **keys}
    return open_source(connection, project)


def test_a_connection_is_encrypted_verified_and_read_only_unless_told_otherwise(project: Settings) -> None:
    dsn = "mssql://us%40er:p%7D%3Bw@db.example/sales"
    assert source_of(project, dsn)._connection_string() == (
        "Server={tcp:db.example,1433};Database={sales};UID={us@er};PWD={p}};w};Encrypt={yes};"
        "TrustServerCertificate={no};ApplicationIntent={ReadOnly};MultiSubnetFailover={yes};"
    )
    loose = source_of(project, dsn, trust_certificate=True, read_only_replica=False, certificate_host="x")
    text = loose._connection_string()
    assert "TrustServerCertificate={yes}" in text
    assert "HostnameInCertificate={x}" in text
    assert "ApplicationIntent" not in text


@pytest.mark.parametrize(
    "dsn", ["pa55word", "mssql://u:pa55word@h:99x/d", "mssql://u:pa55word@h/d?x=1", "mssql:///d"]
)
def test_a_dsn_that_cannot_be_read_is_refused_without_its_text(project: Settings, dsn: str) -> None:
    with pytest.raises(ConfigError, match="mssql://user:password@host:1433/database") as caught:
        source_of(project, dsn).probe()
    assert "pa55word" not in str(caught.value)


def test_an_address_where_no_server_answers_fails_in_time(project: Settings) -> None:
    with garbage_port() as garbage, mute_port() as mute:
        for port in (free_port(), garbage, mute):
            with pytest.raises(SisError) as caught:
                source_of(project, f"mssql://u:not-the-pa55word@127.0.0.1:{port}/d").probe()
            assert caught.value.hint
            assert "not-the-pa55word" not in str(caught.value)

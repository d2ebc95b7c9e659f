"""What SQL Server's catalogue says of a stream, and the statements built from it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.guard import check_select
from superinsight_sync.databases.mssql_types import INSTANTS, ROWVERSIONS, MsColumn, quoted
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import likely_cursor, need_columns, not_there, split_table, stream_names
from superinsight_sync.model.read import FoundStream, ReadRequest, StreamShape

if TYPE_CHECKING:
    from mssql_python import Connection

_TABLES = """
    SELECT s.name, o.name, (SELECT SUM(p.rows) FROM sys.partitions p
        WHERE p.object_id = o.object_id AND p.index_id IN (0, 1)), CONVERT(nvarchar(4000), e.value)
    FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
    LEFT JOIN sys.extended_properties e ON e.class = 1 AND e.major_id = o.object_id AND e.minor_id = 0
        AND e.name = 'MS_Description'
    WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0 ORDER BY s.name, o.name"""
_COLUMNS = """
    SELECT c.name, COALESCE(b.name, t.name), c.precision, c.scale, c.is_nullable,
        CONVERT(nvarchar(4000), e.value), t.name
    FROM sys.columns c JOIN sys.types t ON t.user_type_id = c.user_type_id
    LEFT JOIN sys.types b ON b.user_type_id = c.system_type_id AND t.is_assembly_type = 0
    LEFT JOIN sys.extended_properties e ON e.class = 1 AND e.major_id = c.object_id
        AND e.minor_id = c.column_id AND e.name = 'MS_Description'
    WHERE c.object_id = OBJECT_ID(?) ORDER BY c.column_id"""
_RESULT = """
    SELECT name, system_type_name, precision, scale, is_nullable, user_type_name, error_message
    FROM sys.dm_exec_describe_first_result_set(?, NULL, 0) WHERE is_hidden = 0 OR error_message IS NOT NULL
    ORDER BY column_ordinal"""
_PRIMARY = """
    SELECT c.name FROM sys.indexes i
    JOIN sys.index_columns k ON k.object_id = i.object_id AND k.index_id = i.index_id
    JOIN sys.columns c ON c.object_id = k.object_id AND c.column_id = k.column_id
    WHERE i.is_primary_key = 1 AND i.object_id = OBJECT_ID(?) ORDER BY k.key_ordinal"""
_FOREIGN = """
    SELECT k.constraint_object_id, c.name,
        OBJECT_SCHEMA_NAME(k.referenced_object_id) + '.' + OBJECT_NAME(k.referenced_object_id), r.name
    FROM sys.foreign_key_columns k
    JOIN sys.columns c ON c.object_id = k.parent_object_id AND c.column_id = k.parent_column_id
    JOIN sys.columns r ON r.object_id = k.referenced_object_id AND r.column_id = k.referenced_column_id
    WHERE k.parent_object_id = OBJECT_ID(?) ORDER BY k.constraint_object_id, k.constraint_column_id"""
_WRITING = """
    SELECT COUNT(*) FROM fn_my_permissions(NULL, 'DATABASE')
    WHERE permission_name IN ('INSERT', 'UPDATE', 'DELETE', 'ALTER', 'CREATE TABLE', 'CONTROL', 'EXECUTE')"""
_SNAPSHOT = "SELECT snapshot_isolation_state FROM sys.databases WHERE database_id = DB_ID()"


def rows_of(db: "Connection", sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement about the catalogue."""
    with db.cursor() as cursor:
        cursor.execute(sql, *arguments)
        return [tuple(row) for row in cursor.fetchall()]


def can_write(db: "Connection") -> bool:
    """Whether the account may do more in the database than read."""
    return bool(rows_of(db, _WRITING)[0][0])


def has_snapshots(db: "Connection") -> bool:
    """Whether the database lets a transaction read one snapshot."""
    found = rows_of(db, _SNAPSHOT)
    return bool(found) and found[0][0] == 1


def column_of(row: Sequence[Any]) -> MsColumn:
    """A row of the catalogue (name, base type, precision, scale, nullable, comment, type) as a column."""
    name, base, precision, scale, nullable, comment, declared = row
    shown = str(declared)
    if base in ("decimal", "numeric"):
        shown = f"{declared}({precision},{scale})" if base == declared else shown
    elif base in ("datetime2", "datetimeoffset", "time"):
        shown = f"{declared}({scale})" if base == declared else shown
    return MsColumn(str(name), str(base), int(precision), int(scale), bool(nullable), comment or "", shown)


def described_column(row: Sequence[Any]) -> MsColumn:
    """A row of the result set's description as a column. Raises ConfigError for one without a name."""
    name, system, precision, scale, nullable, user, error = row
    if error:
        raise ConfigError(f"the query cannot be described: {error}"[:300])
    if not name:
        raise ConfigError("a column of the query has no name", hint="Give every expression a name with AS")
    declared = str(system or user)
    return MsColumn(
        str(name), declared.split("(")[0], int(precision), int(scale), bool(nullable), declared=declared
    )


def describe(
    db: "Connection", stream: StreamSpec
) -> tuple[StreamShape, tuple[MsColumn, ...], tuple[str, str] | None]:
    """The stream's columns and where its table is. Raises ConfigError for what is not known."""
    if stream.query is not None:
        before, inner = relation(stream, None)
        rows = rows_of(db, _RESULT, f"{before}SELECT s.* FROM {inner}")
        columns = tuple(described_column(row) for row in rows)
        check_columns(stream, columns)
        return StreamShape(tuple(c.column for c in columns)), columns, None
    schema, table, estimate, comment = _table(db, stream)
    full = f"{quoted(schema)}.{quoted(table)}"
    columns = tuple(column_of(row) for row in rows_of(db, _COLUMNS, full))
    check_columns(stream, columns)
    shape = StreamShape(
        tuple(c.column for c in columns), *_keys(db, full), row_estimate=estimate, comment=comment or ""
    )
    return shape, columns, (schema, table)


def _keys(db: "Connection", full: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    primary = tuple(row[0] for row in rows_of(db, _PRIMARY, full))
    foreign: dict[int, tuple[list[str], str, list[str]]] = {}
    for constraint, column, target, target_column in rows_of(db, _FOREIGN, full):
        entry = foreign.setdefault(constraint, ([], target, []))
        entry[0].append(column)
        entry[2].append(target_column)
    return primary, tuple((tuple(own), to, tuple(theirs)) for own, to, theirs in foreign.values())


def _table(db: "Connection", stream: StreamSpec) -> tuple[str, str, int | None, str | None]:
    schema, name = split_table(stream.table or "", None)
    schema = schema or rows_of(db, "SELECT SCHEMA_NAME()")[0][0] or "dbo"
    tables = rows_of(db, _TABLES)
    for match in (str, str.lower):  # most collations do not tell cases apart; an exact name comes first
        for row in tables:
            if (match(row[0]), match(row[1])) == (match(schema), match(name)):
                return row[0], row[1], row[2], row[3]
    raise not_there("table", stream.table or "", [f"{row[0]}.{row[1]}" for row in tables])


def check_columns(stream: StreamSpec, columns: Sequence[MsColumn]) -> None:
    """Raises ConfigError for a cursor or key that is not there or cannot serve."""
    need_columns(stream, [c.name for c in columns])
    cursor = next((c for c in columns if c.name == stream.sync.cursor), None)
    if cursor is not None and stream.partition and cursor.base not in INSTANTS:
        raise ConfigError(
            f"column '{cursor.name}' is {cursor.declared or cursor.base}; partitions need a date or datetime"
        )


def found_streams(db: "Connection", schemas: Sequence[str]) -> Iterator[FoundStream]:
    """Every table and view of the schemas; by default of all."""
    tables = [row for row in rows_of(db, _TABLES) if not schemas or row[0] in schemas]
    names = stream_names([(row[0], row[1]) for row in tables])
    for (schema, table, estimate, _), name in zip(tables, names, strict=True):
        full = f"{quoted(schema)}.{quoted(table)}"
        columns = [column_of(row) for row in rows_of(db, _COLUMNS, full)]
        plain = "." not in schema + table and '"' not in schema + table
        parts = [schema, table] if plain else ['"' + p.replace('"', '""') + '"' for p in (schema, table)]
        yield FoundStream(
            name=name,
            place="table",
            value=".".join(parts),
            columns=tuple(c.column.info for c in columns),
            primary_key=_keys(db, full)[0],
            cursor=likely_cursor((c.name, c.base in INSTANTS) for c in columns),
            row_estimate=estimate,
        )


def literal(value: Any, base: str) -> str:
    """A value as SQL text, typed as a column of this type. Naive times are UTC."""
    match value:
        case bool():
            return f"CONVERT(bit, {int(value)})"
        case int() if base in ROWVERSIONS:
            return f"CONVERT(binary(8), CONVERT(bigint, {value}))"
        case int():
            return f"CONVERT(bigint, {value})"
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case float() if value == value and abs(value) != float("inf"):
            return f"CONVERT(float, {value!r})"
        case str():
            return "N'" + value.replace("'", "''") + "'"
        case bytes():
            return f"0x{value.hex().upper()}"
        case datetime():
            return _instant(value, base)
        case date():
            return f"CONVERT(date, '{value.isoformat()}', 23)"
    raise ConfigError(f"a {type(value).__name__} is no cursor value")


def _instant(value: datetime, base: str) -> str:
    """Typed so that the column is not converted; a `datetime` rounds its bounds as it rounds its values."""
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    text = naive.isoformat(timespec="microseconds")
    if base == "datetimeoffset":
        return f"CONVERT(datetimeoffset(7), '{text}Z', 127)"
    exact = f"CONVERT(datetime2(7), '{text}', 126)"
    return f"CONVERT(datetime, {exact})" if base == "datetime" else exact


def relation(stream: StreamSpec, at: tuple[str, str] | None) -> tuple[str, str]:
    """What is read, under the name `s`, and the WITH that must stand before the statement."""
    if stream.query is None:
        assert at is not None
        return "", ".".join(map(quoted, at)) + " AS s"
    import sqlglot

    tree = sqlglot.parse_one(check_select(stream.query, "tsql"), read="tsql")
    before = tree.args.get("with_")
    tree.set("with_", None)
    inner = tree.sql(dialect="tsql", identify=True, comments=False)
    return (f"{before.sql(dialect='tsql', identify=True)} " if before else ""), f"({inner}) AS s"


def _where(request: ReadRequest, columns: Sequence[MsColumn]) -> str:
    name = request.stream.sync.cursor
    if name is None:
        return ""
    base = next(c.base for c in columns if c.name == name)
    cursor, parts = f"s.{quoted(name)}", []
    if request.window is not None:
        parts.append(f"{cursor} >= {literal(request.window.start, base)}")
        parts.append(f"{cursor} < {literal(request.window.end, base)}")
    if request.after is not None:
        parts.append(f"({cursor} >= {literal(request.after, base)} OR {cursor} IS NULL)")
    if base in ROWVERSIONS:  # above it, transactions that still run may yet commit smaller ones
        parts.append(f"({cursor} < MIN_ACTIVE_ROWVERSION() OR {cursor} IS NULL)")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def select_sql(request: ReadRequest, columns: Sequence[MsColumn], at: tuple[str, str] | None) -> str:
    """The statement that reads the request."""
    before, inner = relation(request.stream, at)
    selected = ", ".join(f"{c.select} AS {quoted(c.name)}" for c in request.needed(columns))
    top = "" if request.limit is None else f"TOP ({request.limit:d}) "
    return f"{before}SELECT {top}{selected} FROM {inner}{_where(request, columns)}"


def count_sql(request: ReadRequest, columns: Sequence[MsColumn], at: tuple[str, str] | None) -> str:
    """The statement that counts the rows of the request."""
    before, inner = relation(request.stream, at)
    return f"{before}SELECT COUNT_BIG(*) FROM {inner}{_where(request, columns)}"

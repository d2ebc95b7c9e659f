"""What Oracle's catalogue says of a stream, and the statements built from it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import oracledb

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.guard import check_select
from superinsight_sync.databases.oracle_types import OraColumn, quoted
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import likely_cursor, need_columns, not_there, split_table, stream_names
from superinsight_sync.model.read import FoundStream, ReadRequest, StreamShape

Connection = oracledb.Connection

_TABLES = """
    SELECT o.owner, o.object_name, t.num_rows, c.comments
    FROM all_objects o
    LEFT JOIN all_tables t ON t.owner = o.owner AND t.table_name = o.object_name
    LEFT JOIN all_tab_comments c ON c.owner = o.owner AND c.table_name = o.object_name
    WHERE o.object_type IN ('TABLE', 'VIEW', 'MATERIALIZED VIEW') AND o.owner = :owner
      AND o.secondary = 'N' AND o.object_name NOT LIKE 'BIN$%'
    ORDER BY o.object_name"""
_COLUMNS = """
    SELECT a.column_name, a.data_type, a.data_precision, a.data_scale, a.nullable, c.comments
    FROM all_tab_columns a
    LEFT JOIN all_col_comments c
      ON c.owner = a.owner AND c.table_name = a.table_name AND c.column_name = a.column_name
    WHERE a.owner = :owner AND a.table_name = :name ORDER BY a.column_id"""
_KEYS = """
    SELECT k.constraint_type, k.constraint_name, c.column_name, r.owner || '.' || r.table_name, rc.column_name
    FROM all_constraints k
    JOIN all_cons_columns c ON c.owner = k.owner AND c.constraint_name = k.constraint_name
    LEFT JOIN all_constraints r ON r.owner = k.r_owner AND r.constraint_name = k.r_constraint_name
    LEFT JOIN all_cons_columns rc
      ON rc.owner = r.owner AND rc.constraint_name = r.constraint_name AND rc.position = c.position
    WHERE k.owner = :owner AND k.table_name = :name AND k.constraint_type IN ('P', 'R')
    ORDER BY k.constraint_type, k.constraint_name, c.position"""
_OWNERS = """
    SELECT DISTINCT owner FROM all_tables WHERE owner NOT IN
      (SELECT username FROM all_users WHERE oracle_maintained = 'Y') ORDER BY owner"""
_WRITING = """
    SELECT count(*) FROM (
      SELECT privilege FROM session_privs WHERE privilege LIKE 'CREATE ANY%' OR privilege LIKE '%UPDATE ANY%'
        OR privilege LIKE '%DELETE ANY%' OR privilege LIKE '%INSERT ANY%' OR privilege = 'CREATE TABLE'
      UNION ALL
      SELECT privilege FROM user_tab_privs
      WHERE grantee = USER AND privilege IN ('INSERT', 'UPDATE', 'DELETE', 'ALTER'))"""
_WIRE = {
    "DB_TYPE_NUMBER": "NUMBER",
    "DB_TYPE_BINARY_INTEGER": "NUMBER",
    "DB_TYPE_VARCHAR": "VARCHAR2",
    "DB_TYPE_NVARCHAR": "NVARCHAR2",
    "DB_TYPE_TIMESTAMP_TZ": "TIMESTAMP WITH TIME ZONE",
    "DB_TYPE_TIMESTAMP_LTZ": "TIMESTAMP WITH LOCAL TIME ZONE",
    "DB_TYPE_INTERVAL_YM": "INTERVAL YEAR TO MONTH",
    "DB_TYPE_INTERVAL_DS": "INTERVAL DAY TO SECOND",
}
_INSTANTS = ("date", "timestamp", "instant")


def rows_of(db: Connection, sql: str, arguments: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """The rows of a statement about the catalogue."""
    with db.cursor() as cursor:
        cursor.execute(sql, dict(arguments or {}))
        return list(cursor.fetchall())


def can_write(db: Connection) -> bool:
    """Whether a privilege of the account allows more than reading."""
    return bool(rows_of(db, _WRITING)[0][0])


def column_of(row: Sequence[Any]) -> OraColumn:
    """A row of ALL_TAB_COLUMNS (name, type, precision, scale, nullable, comment) as a column."""
    name, kind, precision, scale, nullable, comment = row
    base = str(kind)
    if base.startswith(("TIMESTAMP", "INTERVAL")):  # TIMESTAMP(6) WITH TIME ZONE
        base = " ".join(word.split("(")[0] for word in base.split())
    return OraColumn(str(name), base, precision, scale, nullable == "Y", comment or "")


def wire_column(info: Any) -> OraColumn:
    """What the driver says of a result's column as a column; a query's columns are in no catalogue."""
    kind = info.type_code.name
    base = _WIRE.get(kind, kind.removeprefix("DB_TYPE_"))
    if info.type is not None and info.type_code.name == "DB_TYPE_OBJECT":
        base = info.type.name
    precision, scale = info.precision, info.scale
    if base == "NUMBER" and scale == -127 and precision:
        base = "FLOAT"
    if base == "NUMBER" and (not precision or scale == -127):
        precision = scale = None
    return OraColumn(info.name, base, precision, scale, bool(info.null_ok))


def describe(db: Connection, stream: StreamSpec) -> tuple[StreamShape, tuple[OraColumn, ...]]:
    """The stream's columns. Raises ConfigError for a table, column or type that is not known."""
    if stream.query is not None:
        with db.cursor() as cursor:
            cursor.execute(f"SELECT s.* FROM {relation(stream, None)} WHERE 1 = 0")
            columns = tuple(wire_column(info) for info in cursor.description or ())
        check_columns(stream, columns)
        return StreamShape(tuple(c.column for c in columns)), columns
    owner, name, estimate, comment = _table(db, stream)
    binds = {"owner": owner, "name": name}
    columns = tuple(column_of(row) for row in rows_of(db, _COLUMNS, binds))
    check_columns(stream, columns)
    keys = keys_of(rows_of(db, _KEYS, binds))
    return StreamShape(tuple(c.column for c in columns), *keys, estimate, comment or ""), columns


def keys_of(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Primary and foreign keys from rows of (P or R, constraint, column, target table, its column)."""
    primary: list[str] = []
    foreign: dict[str, tuple[list[str], str, list[str]]] = {}
    for kind, constraint, column, target, target_column in rows:
        if kind == "P":
            primary.append(column)
            continue
        entry = foreign.setdefault(constraint, ([], target, []))
        entry[0].append(column)
        entry[2].append(target_column)
    return tuple(primary), tuple((tuple(own), to, tuple(theirs)) for own, to, theirs in foreign.values())


def named(db: Connection, stream: StreamSpec) -> tuple[str, str]:
    """Owner and name as declared, the owner by default the session's."""
    owner, table = split_table(stream.table or "", None)
    return owner or rows_of(db, "SELECT SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA') FROM dual")[0][0], table


def _table(db: Connection, stream: StreamSpec) -> tuple[str, str, int | None, str]:
    """The table by its exact name, else folded to upper case as Oracle does with names without quotes."""
    owner, name = named(db, stream)
    tables: list[str] = []
    for schema in dict.fromkeys((owner, owner.upper())):
        found = {row[1]: row for row in rows_of(db, _TABLES, {"owner": schema})}
        for table in (name, name.upper()):
            if table in found:
                return schema, table, found[table][2], found[table][3]
        tables += [f"{schema}.{table}" for table in found]
    raise not_there("table", stream.table or "", tables)


def located(db: Connection, stream: StreamSpec) -> tuple[str, str] | None:
    """Owner and name as the catalogue spells them; None for a query."""
    return None if stream.query is not None else _table(db, stream)[:2]


def check_columns(stream: StreamSpec, columns: Sequence[OraColumn]) -> None:
    """Raises ConfigError for a cursor or key that is not there or cannot serve."""
    need_columns(stream, [c.name for c in columns])
    if stream.sync.cursor is None:
        return
    cursor = next(c for c in columns if c.name == stream.sync.cursor)
    if cursor.numeric_text:
        raise ConfigError(
            f"column '{cursor.name}' is a number without digits and cannot be a cursor",
            hint=f'Give the stream a query that selects CAST("{cursor.name}" AS NUMBER(38,0)) under that name',
        )
    if stream.partition and cursor.family not in _INSTANTS:
        raise ConfigError(
            f"column '{cursor.name}' is {cursor.source_type}; partitions need a DATE or TIMESTAMP"
        )


def found_streams(db: Connection, schemas: Sequence[str]) -> Iterator[FoundStream]:
    """Every table and view of the schemas; by default of all that are not Oracle's own."""
    owners = list(schemas) or [row[0] for row in rows_of(db, _OWNERS)]
    tables = [row for owner in owners for row in rows_of(db, _TABLES, {"owner": owner})]
    names = stream_names([(row[0], row[1]) for row in tables])
    for (owner, table, estimate, _), name in zip(tables, names, strict=True):
        binds = {"owner": owner, "name": table}
        columns = [column_of(row) for row in rows_of(db, _COLUMNS, binds)]
        times = ((c.name, c.base == "DATE" or c.base.startswith("TIMESTAMP")) for c in columns)
        yield FoundStream(
            name=name,
            place="table",
            value=f"{owner}.{table}" if "." not in owner + table else f'"{owner}"."{table}"',
            columns=tuple(c.column.info for c in columns),
            primary_key=keys_of(rows_of(db, _KEYS, binds))[0],
            cursor=likely_cursor(times),
            row_estimate=estimate,
        )


def literal(value: Any, family: str) -> str:
    """A value as SQL text, typed as a column of this family. Naive times are UTC."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case float() if value == value and abs(value) != float("inf"):
            return f"{value!r}d"
        case str():
            return _text(value)
        case bytes():
            return f"HEXTORAW('{value.hex().upper()}')"
        case datetime():
            return _instant(value, family)
        case date():
            return f"TO_DATE('{value.isoformat()}', 'YYYY-MM-DD')"
    raise ConfigError(f"a {type(value).__name__} is no cursor value")


def _text(value: str) -> str:
    if value.isascii() and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    units = value.encode("utf-16-be")
    return "UNISTR('" + "".join(f"\\{units[i : i + 2].hex().upper()}" for i in range(0, len(units), 2)) + "')"


def _instant(value: datetime, family: str) -> str:
    """A DATE has whole seconds, so a bound between two of them is the later one."""
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if family == "date":
        whole = naive.replace(microsecond=0) + timedelta(seconds=1 if naive.microsecond else 0)
        return f"TO_DATE('{whole.isoformat(sep=' ')}', 'YYYY-MM-DD HH24:MI:SS')"
    text = naive.isoformat(sep=" ", timespec="microseconds")
    return f"TIMESTAMP '{text} +00:00'" if family == "instant" else f"TIMESTAMP '{text}'"


def relation(stream: StreamSpec, at: tuple[str, str] | None) -> str:
    """What is read, under the name `s`."""
    if stream.query is not None:
        return f"({check_select(stream.query, 'oracle')}) s"
    assert at is not None
    return ".".join(map(quoted, at)) + " s"


def _where(request: ReadRequest, columns: Sequence[OraColumn]) -> list[str]:
    name = request.stream.sync.cursor
    if name is None:
        return []
    family = next(c.family for c in columns if c.name == name)
    cursor, parts = f"s.{quoted(name)}", []
    if request.window is not None:
        parts.append(f"{cursor} >= {literal(request.window.start, family)}")
        parts.append(f"{cursor} < {literal(request.window.end, family)}")
    if request.after is not None:
        parts.append(f"({cursor} >= {literal(request.after, family)} OR {cursor} IS NULL)")
    return parts


def select_sql(request: ReadRequest, columns: Sequence[OraColumn], at: tuple[str, str] | None) -> str:
    """The statement that reads the request."""
    selected = ", ".join(f"{c.select} AS {quoted(c.name)}" for c in request.needed(columns))
    parts = _where(request, columns)
    if request.limit is not None:  # known to every version, unlike FETCH FIRST
        parts.append(f"ROWNUM <= {request.limit:d}")
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    return f"SELECT {selected} FROM {relation(request.stream, at)}{where}"


def count_sql(request: ReadRequest, columns: Sequence[OraColumn], at: tuple[str, str] | None) -> str:
    """The statement that counts the rows of the request."""
    parts = _where(request, columns)
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    return f"SELECT COUNT(*) FROM {relation(request.stream, at)}{where}"

"""What the catalogue of MySQL or MariaDB says of a stream, and the statements built from it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import pymysql
import pymysql.cursors

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.guard import check_select
from superinsight_sync.databases.mysql_types import MyColumn, quoted
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import likely_cursor, need_columns, not_there, split_table, stream_names
from superinsight_sync.model.read import FoundStream, ReadRequest, StreamShape

Connection: TypeAlias = "pymysql.Connection[pymysql.cursors.Cursor]"

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
_TABLES = """
    SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ROWS, TABLE_COMMENT, TABLE_TYPE FROM information_schema.TABLES
    WHERE TABLE_SCHEMA IN %s AND TABLE_TYPE <> 'SEQUENCE' ORDER BY 1, 2"""
_COLUMNS = """
    SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE = 'YES', COLUMN_COMMENT FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION"""
_KEYS = """
    SELECT CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME,
        REFERENCED_COLUMN_NAME
    FROM information_schema.KEY_COLUMN_USAGE
    WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
      AND (CONSTRAINT_NAME = 'PRIMARY' OR REFERENCED_TABLE_NAME IS NOT NULL)
    ORDER BY CONSTRAINT_NAME, ORDINAL_POSITION"""
_WRITING = re.compile(r"\b(ALL PRIVILEGES|INSERT|UPDATE|DELETE|DROP|ALTER|CREATE|TRIGGER|EVENT|SUPER|FILE)\b")
_INSTANTS = ("date", "datetime", "timestamp")


def rows_of(db: Connection, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a statement about the catalogue."""
    with db.cursor() as cursor:
        cursor.execute(sql, arguments or None)
        return list(cursor.fetchall())


def version_of(db: Connection) -> str:
    """What the server says it is, such as ``10.11.6-MariaDB``."""
    return str(rows_of(db, "SELECT VERSION()")[0][0])


def can_write(db: Connection) -> bool:
    """Whether a grant of the account allows more than reading."""
    grants = [str(row[0]).split(" ON ")[0] for row in rows_of(db, "SHOW GRANTS")]
    return any(_WRITING.search(g.upper()) for g in grants)


def found_streams(db: Connection, databases: Sequence[str]) -> Iterator[FoundStream]:
    """Every table and view of the databases."""
    tables = rows_of(db, _TABLES, (_schemas(db, databases),))
    names = stream_names([(schema, table) for schema, table, *_ in tables])
    for (schema, table, estimate, *_), name in zip(tables, names, strict=True):
        place = f"{schema}.{table}"
        if "." in schema + table or '"' in schema + table:
            place = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
        shape, columns = describe(db, StreamSpec.model_construct(name="found", table=place))
        yield FoundStream(
            name=name,
            place="table",
            value=place,
            columns=tuple(c.info for c in shape.columns),
            primary_key=shape.primary_key,
            cursor=likely_cursor((c.name, c.family in ("datetime", "timestamp")) for c in columns),
            row_estimate=estimate,
        )


def _schemas(db: Connection, databases: Sequence[str]) -> tuple[str, ...]:
    if databases:
        return tuple(databases)
    current = rows_of(db, "SELECT DATABASE()")[0][0]
    if current:
        return (current,)
    return tuple(r[0] for r in rows_of(db, "SHOW DATABASES") if r[0].lower() not in _SYSTEM) or ("",)


def describe(db: Connection, stream: StreamSpec) -> tuple[StreamShape, tuple[MyColumn, ...]]:
    """The stream's columns. Raises ConfigError for a table, column or type that is not known."""
    facts: dict[str, tuple[str, bool, str]] = {}
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[Any, ...] = ()
    estimate, comment, selected = None, "", "*"
    if stream.query is None:
        schema, table, estimate, comment = _table(db, stream)
        found = rows_of(db, _COLUMNS, (schema, table))
        facts = {name: (kind, bool(nullable), note) for name, kind, nullable, note in found}
        selected = ", ".join(map(quoted, facts)) or "*"  # the catalogue is silent on a view it cannot open
        primary_key, foreign_keys = _keys(db, schema, table)
    columns = tuple(
        MyColumn(
            f.name, f.type_code, f.flags, f.charsetnr, f.length, f.scale, *facts.get(f.name, ("", True, ""))
        )
        for f in _fields(db, f"SELECT {selected} FROM {_relation(db, stream)} LIMIT 0")
    )
    _check_columns(stream, columns)
    return StreamShape(
        tuple(c.column for c in columns), primary_key, foreign_keys, estimate, comment
    ), columns


def _fields(db: Connection, sql: str) -> list[Any]:
    with db.cursor() as cursor:
        cursor.execute(sql)
        result: Any = vars(cursor)["_result"]
        return list(result.fields)


def _named(db: Connection, stream: StreamSpec) -> tuple[str, str]:
    schema, table = split_table(stream.table or "", None)
    schema = schema or rows_of(db, "SELECT DATABASE()")[0][0]
    if not schema:
        raise ConfigError(
            f"'{stream.table}' names no database", hint="Write database.table, or a database in the DSN"
        )
    return schema, table


def _table(db: Connection, stream: StreamSpec) -> tuple[str, str, int | None, str]:
    schema, name = _named(db, stream)
    tables = rows_of(db, _TABLES, ((schema,),))
    for found_schema, table, estimate, comment, kind in tables:
        if table == name:
            return found_schema, table, estimate, comment if kind != "VIEW" else ""
    raise not_there("table", stream.table or "", [t for _, t, *_ in tables])


def _relation(db: Connection, stream: StreamSpec) -> str:
    if stream.query is not None:
        return f"({check_select(stream.query, 'mysql')}) AS stream"
    return ".".join(map(quoted, _named(db, stream)))


def _keys(db: Connection, schema: str, table: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    primary: list[str] = []
    foreign: dict[str, tuple[list[str], str, list[str]]] = {}
    for constraint, column, target_schema, target, target_column in rows_of(db, _KEYS, (schema, table)):
        if target is None:
            primary.append(column)
            continue
        entry = foreign.setdefault(constraint, ([], f"{target_schema}.{target}", []))
        entry[0].append(column)
        entry[2].append(target_column)
    return tuple(primary), tuple((tuple(own), to, tuple(theirs)) for own, to, theirs in foreign.values())


def _check_columns(stream: StreamSpec, columns: Sequence[MyColumn]) -> None:
    need_columns(stream, [c.name for c in columns])
    if stream.partition:
        cursor = next(c for c in columns if c.name == stream.sync.cursor)
        if cursor.family not in _INSTANTS:
            raise ConfigError(
                f"column '{cursor.name}' is {cursor.column.source_type}; "
                "partitions need a date, datetime or timestamp"
            )


def literal(value: Any) -> str:
    """A value as SQL text. Naive times are UTC. Raises ConfigError for a type that no cursor has."""
    match value:
        case bool():
            return str(int(value))
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case float():
            return repr(value)
        case str():
            return f"CONVERT(x'{value.encode().hex()}' USING utf8mb4)"
        case bytes():
            return f"x'{value.hex()}'"
        case datetime():
            naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return f"TIMESTAMP'{naive.isoformat(sep=' ')}'"
        case date():
            return f"DATE'{value.isoformat()}'"
    raise ConfigError(f"a {type(value).__name__} is no cursor value")


def _where(request: ReadRequest) -> str:
    name, parts = request.stream.sync.cursor, []
    if name is None:
        return ""
    cursor = quoted(name)
    if request.window is not None:
        parts += [f"{cursor} >= {literal(request.window.start)}", f"{cursor} < {literal(request.window.end)}"]
    if request.after is not None:
        parts.append(f"({cursor} >= {literal(request.after)} OR {cursor} IS NULL)")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def select_sql(db: Connection, request: ReadRequest, columns: Sequence[MyColumn], marker: str) -> str:
    """The statement that reads the request; `marker` names it in the server's process list."""
    selected = ", ".join(f"{c.select} AS {quoted(c.name)}" for c in request.needed(columns))
    limit = "" if request.limit is None else f" LIMIT {request.limit:d}"
    return f"SELECT /* {marker} */ {selected} FROM {_relation(db, request.stream)}{_where(request)}{limit}"


def count_sql(db: Connection, request: ReadRequest) -> str:
    """The statement that counts the rows of the request."""
    return f"SELECT COUNT(*) FROM {_relation(db, request.stream)}{_where(request)}"

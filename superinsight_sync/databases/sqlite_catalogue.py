"""What SQLite's catalogue says of a stream, and the statements built from it."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.databases.guard import check_select
from superinsight_sync.databases.sqlite_types import SENTINELS, column, family, fits, quoted
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import likely_cursor, need_columns, not_there, split_table, stream_names
from superinsight_sync.model.read import Column, FoundStream, ReadRequest, StreamShape

_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)
_ISO = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"
_INSTANT = "%Y-%m-%dT%H:%M:%f"


def found_streams(db: sqlite3.Connection) -> Iterator[FoundStream]:
    """Every table and view."""
    tables = [name for (name,) in db.execute(f"{_TABLES} ORDER BY name")]
    for name, proposed in zip(tables, stream_names([("main", t) for t in tables]), strict=True):
        table = quoted(name) if "." in name or '"' in name else name
        shape = describe(db, StreamSpec.model_construct(name="found", table=table))
        times = ((c.name, "TIME" in c.source_type.upper() or c.name.endswith("_at")) for c in shape.columns)
        yield FoundStream(
            name=proposed,
            place="table",
            value=table,
            columns=tuple(c.info for c in shape.columns),
            primary_key=shape.primary_key,
            cursor=likely_cursor(times),
            row_estimate=db.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0],
            counted=True,
        )


def _relation(stream: StreamSpec) -> str:
    if stream.query is not None:
        return f"({check_select(stream.query, 'sqlite')})"
    return quoted(_table(stream))


def _table(stream: StreamSpec) -> str:
    schema, name = split_table(stream.table or "", "main")
    if schema != "main":
        raise ConfigError(
            f"'{stream.table}' names a schema", hint="A SQLite file has one; leave the schema out"
        )
    return name


def describe(db: sqlite3.Connection, stream: StreamSpec) -> StreamShape:
    """The stream's columns by declared type. Raises ConfigError for a table or column that is not there."""
    if stream.query is None:
        name = _table(stream)
        known = [n for (n,) in db.execute(_TABLES)]
        if name not in known:
            raise not_there("table", name, known)
    else:
        name = "sis_stream"
        db.execute("PRAGMA query_only = OFF")
        db.execute(f"CREATE TEMP VIEW IF NOT EXISTS {name} AS SELECT * FROM {_relation(stream)}")
        db.execute("PRAGMA query_only = ON")
    rows = db.execute(
        f"SELECT * FROM pragma_table_xinfo({_literal(name)}) WHERE hidden IN (0, 2, 3)"
    ).fetchall()
    columns = tuple(column(r[1], r[2] or "", nullable=not r[3]) for r in rows)
    primary_key = tuple(r[1] for r in sorted((r for r in rows if r[5]), key=lambda r: r[5]))
    _check_columns(stream, columns)
    return StreamShape(columns, primary_key, _foreign_keys(db, name))


def _foreign_keys(
    db: sqlite3.Connection, table: str
) -> tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...]:
    keys: dict[int, tuple[list[str], str, list[str]]] = {}
    for number, _, target, own, theirs, *_ in db.execute(
        f"SELECT * FROM pragma_foreign_key_list({_literal(table)})"
    ):
        entry = keys.setdefault(number, ([], target, []))
        entry[0].append(own)
        entry[2].append(theirs or own)
    return tuple((tuple(own), target, tuple(theirs)) for own, target, theirs in keys.values())


def _check_columns(stream: StreamSpec, columns: Sequence[Column]) -> None:
    need_columns(stream, [c.name for c in columns])
    if stream.partition:
        cursor = next(c for c in columns if c.name == stream.sync.cursor)
        if family(cursor.source_type) != "text":
            raise ConfigError(
                f"column '{cursor.name}' is {cursor.source_type}; partitions need ISO 8601 text",
                hint="Select it with a query: strftime('%Y-%m-%dT%H:%M:%SZ', column, 'unixepoch')",
            )


def _literal(value: Any) -> str:
    """A value as SQL text. Raises ConfigError for a type that no cursor has."""
    match value:
        case bool():
            return str(int(value))
        case int():
            return str(value)
        case float() | Decimal():
            return repr(float(value))
        case str():
            if "\x00" in value:
                raise ConfigError("a cursor value holds a NUL character")
            return "'" + value.replace("'", "''") + "'"
        case datetime():
            return _literal(value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds"))
        case date():
            return _literal(value.isoformat())
    raise ConfigError(f"a {type(value).__name__} is no cursor value")


def _where(request: ReadRequest) -> str:
    """The request's bounds; a row without a cursor value is within any but a window's.

    Times are compared as instants, whatever ISO form the column has; a comparison of the text a day around them lets
    an index help.
    """
    name, parts = request.stream.sync.cursor, []
    if name is None:
        return ""
    cursor, day = quoted(name), timedelta(days=1)
    instant = f"strftime('{_INSTANT}', {cursor})"
    if request.window is not None:
        start, end = request.window.start, request.window.end
        parts += [
            f"{cursor} >= {_literal((start - day).date())}",
            f"{cursor} < {_literal((end + 2 * day).date())}",
        ]
        parts += [f"{instant} >= {_literal(start)}", f"{instant} < {_literal(end)}"]
    if isinstance(request.after, datetime):
        from_there = f"{cursor} >= {_literal((request.after - day).date())}"
        parts.append(f"({from_there} AND {instant} >= {_literal(request.after)} OR {cursor} IS NULL)")
    elif request.after is not None:
        parts.append(f"({cursor} >= {_literal(request.after)} OR {cursor} IS NULL)")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def select_sql(request: ReadRequest, columns: Sequence[Column]) -> str:
    """The statement that reads the request behind a sentinel row, which fixes the driver's types."""
    sentinel = ", ".join(
        f"{SENTINELS[family(c.source_type)]} AS {quoted(c.name)}" for c in request.needed(columns)
    )
    selected = ", ".join(f"{c.select} AS {quoted(c.name)}" for c in request.needed(columns))
    limit = "" if request.limit is None else f" LIMIT {request.limit:d}"
    rows = f"SELECT {selected} FROM {_relation(request.stream)}{_where(request)}{limit}"
    return f"SELECT {sentinel} UNION ALL SELECT * FROM ({rows})"


def count_sql(request: ReadRequest, columns: Sequence[Column]) -> str:
    """The statement that counts the rows of the request."""
    return f"SELECT count(*) FROM {_relation(request.stream)}{_where(request)}"


def untimed(db: sqlite3.Connection, request: ReadRequest) -> DataError | None:
    """The error for cursor values that are no ISO 8601 time: rows that no window would ever hold."""
    name = request.stream.sync.cursor
    if name is None or not (request.window is not None or isinstance(request.after, datetime)):
        return None
    cursor = quoted(name)
    timed = (
        f"typeof({cursor}) = 'text' AND {cursor} GLOB '{_ISO}'"
        f" AND strftime('{_INSTANT}', {cursor}) IS NOT NULL"
    )
    row = db.execute(
        f"SELECT count(*) FROM {_relation(request.stream)} WHERE {cursor} IS NOT NULL AND NOT ({timed})"
    ).fetchone()
    if not row[0]:
        return None
    return DataError(
        f"column '{name}' is the cursor and holds values that are no ISO 8601 time: {row[0]}",
        hint="Select it with a query that makes it one: of seconds since 1970 by "
        "strftime('%Y-%m-%dT%H:%M:%SZ', column, 'unixepoch'); numbers that count something else need another one",
    )


def mixed_values(db: sqlite3.Connection, request: ReadRequest, columns: Sequence[Column]) -> DataError | None:
    """The error that names columns holding values of another type than declared; None if all fit."""
    declared = {c.name: "" if c.source_type == "(none)" else c.source_type for c in columns}
    sums = ", ".join(f"sum(NOT ({fits(n, t)}))" for n, t in declared.items())
    row = db.execute(f"SELECT {sums} FROM {_relation(request.stream)}{_where(request)}").fetchone()
    bad = {n: count for n, count in zip(declared, row, strict=True) if count}
    if not bad:
        return None
    told = ", ".join(f"'{n}' ({declared[n] or 'no type'}): {count}" for n, count in bad.items())
    first = quoted(next(iter(bad)))
    exact = (
        f"CASE typeof({first}) WHEN 'real' THEN printf('%!.17g', {first}) WHEN 'blob' THEN quote({first})"
        f" ELSE CAST({first} AS TEXT) END"
    )
    return DataError(
        f"values do not fit their column's declared type: {told}",
        hint=f"Read it with a query that selects {exact} and cast it in a refine step",
    )

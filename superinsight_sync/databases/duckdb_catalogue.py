"""What a DuckDB file's catalogue says of a stream, and the statements built from it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.databases.guard import check_select
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import likely_cursor, need_columns, not_there, split_table, stream_names
from superinsight_sync.model.read import Column, FoundStream, ReadRequest, StreamShape

Connection = duckdb.DuckDBPyConnection

_TABLES = """SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY ALL"""
_AS_TEXT = frozenset(
    {"HUGEINT", "UHUGEINT", "BIGNUM", "VARINT", "UUID", "INTERVAL", "TIME WITH TIME ZONE", "BIT", "TIME_NS"}
)
_AS_JSON = re.compile(
    r"^(UNION|VARIANT|MAP)\b|\b(UNION|VARIANT|HUGEINT|UHUGEINT|BIGNUM|BIT|INTERVAL)\b.*[\])]$"
)
_TIMES = frozenset(
    {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"}
)


def tables(db: Connection) -> list[tuple[str, str]]:
    """(schema, name) of every table and view."""
    return [(schema, name) for schema, name in db.execute(_TABLES).fetchall()]


def found_streams(db: Connection) -> Iterator[FoundStream]:
    """Every table and view."""
    known = tables(db)
    for (schema, name), proposed in zip(known, stream_names(known), strict=True):
        place = f"{schema}.{name}" if "." not in schema + name else f"{quote(schema)}.{quote(name)}"
        shape = describe(db, StreamSpec.model_construct(name="found", table=place))
        yield FoundStream(
            name=proposed,
            place="table",
            value=place,
            columns=tuple(c.info for c in shape.columns),
            primary_key=shape.primary_key,
            cursor=likely_cursor((c.name, c.source_type in _TIMES) for c in shape.columns),
            row_estimate=shape.row_estimate,
        )


def _relation(stream: StreamSpec) -> str:
    if stream.query is not None:
        return f"({check_select(stream.query, 'duckdb')}) AS stream"
    schema, name = split_table(stream.table or "", "main")
    return f"{quote(schema or 'main')}.{quote(name)}"


def describe(db: Connection, stream: StreamSpec) -> StreamShape:
    """The stream's columns. Raises ConfigError for a table or column that is not there."""
    key: tuple[str, ...] = ()
    rows = None
    if stream.table is not None:
        schema, name = split_table(stream.table, "main")
        if (schema, name) not in tables(db):
            raise not_there("table", stream.table, [f"{s}.{t}" for s, t in tables(db)])
        key = _primary_key(db, schema or "main", name)
        rows = _estimate(db, schema or "main", name)
    found = db.execute(f"DESCRIBE SELECT * FROM {_relation(stream)}").fetchall()
    types = {name: kind for name, kind, *_ in found}
    selects = {name: _select(name, kind) for name, kind in types.items()}
    listed = ", ".join(f"{s} AS {quote(n)}" for n, s in selects.items())
    nothing: Any = db.execute(f"SELECT {listed} FROM {_relation(stream)} LIMIT 0").to_arrow_table()
    columns = tuple(
        Column(
            f.name,
            types[f.name],
            _plain(f.type),
            select=selects[f.name],
            replaced="infinity" if types[f.name] in _TIMES else None,
        )
        for f in nothing.schema
    )
    _check_columns(stream, columns)
    return StreamShape(columns, key, row_estimate=rows)


def _primary_key(db: Connection, schema: str, name: str) -> tuple[str, ...]:
    found = db.execute(
        "SELECT constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        " AND schema_name = ? AND table_name = ?",
        [schema, name],
    ).fetchall()
    return tuple(found[0][0]) if found else ()


def _estimate(db: Connection, schema: str, name: str) -> int | None:
    found = db.execute(
        "SELECT estimated_size FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [schema, name]
    ).fetchall()
    return int(found[0][0]) if found else None


def _select(name: str, kind: str) -> str:
    column = quote(name)
    if kind in _AS_TEXT or kind.startswith("ENUM"):
        return f"{column}::VARCHAR"
    if _AS_JSON.search(kind):
        return f"to_json({column})::VARCHAR"
    if kind in _TIMES:
        stop = literal(f"infinity in column {name}")
        return f"CASE WHEN isinf({column}) THEN error({stop}) ELSE {column} END"
    return column


def _plain(kind: pa.DataType) -> pa.DataType:
    """Zones are UTC, and extension types what they are stored as."""
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _check_columns(stream: StreamSpec, columns: Sequence[Column]) -> None:
    need_columns(stream, [c.name for c in columns])
    if stream.partition:
        cursor = next(c for c in columns if c.name == stream.sync.cursor)
        if cursor.source_type not in _TIMES:
            raise ConfigError(
                f"column '{cursor.name}' is {cursor.source_type}; partitions need a date or timestamp"
            )


def _where(request: ReadRequest, columns: Sequence[Column]) -> tuple[str, list[Any]]:
    name = request.stream.sync.cursor
    if name is None:
        return "", []
    zoned = next(c for c in columns if c.name == name).source_type == "TIMESTAMP WITH TIME ZONE"
    cursor = quote(name)
    bounds = [] if request.after is None else [(f"({cursor} >= ? OR {cursor} IS NULL)", request.after)]
    if request.window is not None:
        bounds += [(f"{cursor} >= ?", request.window.start), (f"{cursor} < ?", request.window.end)]
    if not bounds:
        return "", []
    parts = [part for part, _ in bounds]
    return f" WHERE {' AND '.join(parts)}", [_value(v, zoned=zoned) for _, v in bounds]


def _value(value: Any, *, zoned: bool) -> Any:
    """A bound as a parameter: an instant for a zoned column, else UTC without its zone."""
    if isinstance(value, datetime):
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        return at if zoned else at.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, int | float | Decimal | str | date):
        return value
    raise ConfigError(f"a {type(value).__name__} is no cursor value")


def select_sql(request: ReadRequest, columns: Sequence[Column]) -> tuple[str, list[Any]]:
    """The statement that reads the request, and its parameters."""
    where, values = _where(request, columns)
    listed = ", ".join(f"{c.select} AS {quote(c.name)}" for c in request.needed(columns))
    limit = "" if request.limit is None else f" LIMIT {request.limit:d}"
    return f"SELECT {listed} FROM {_relation(request.stream)}{where}{limit}", values


def count_sql(request: ReadRequest, columns: Sequence[Column]) -> tuple[str, list[Any]]:
    """The statement that counts the rows of the request, and its parameters."""
    where, values = _where(request, columns)
    return f"SELECT count(*) FROM {_relation(request.stream)}{where}", values

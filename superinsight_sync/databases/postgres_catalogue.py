"""What PostgreSQL's catalogue says of a stream, and the statements built from it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.guard import check_select
from superinsight_sync.databases.postgres_types import SCALED_NAN, SEVERAL_DIMENSIONS, PgColumn
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import likely_cursor, need_columns, not_there, split_table, stream_names
from superinsight_sync.model.read import FoundStream, ReadRequest, StreamShape
from superinsight_sync.model.results import ColumnInfo

Connection = psycopg.Connection[Any]
Blocks = tuple[int, int | None]
"""A range of a table's blocks, half-open; None has no end."""

TYPES = """
    WITH RECURSIVE base AS (
        SELECT t.oid AS top, t.oid, t.typname, t.typtype, t.typcategory, t.typbasetype, t.typtypmod, t.typelem
        FROM pg_type t WHERE t.oid = ANY(%s)
        UNION ALL
        SELECT b.top, t.oid, t.typname, t.typtype, t.typcategory, t.typbasetype,
               CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE b.typtypmod END, t.typelem
        FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
    SELECT top, typname, typcategory, typtypmod,
           (SELECT e.typname FROM pg_type e WHERE e.oid = base.typelem AND e.typtype = 'b')
    FROM base WHERE typtype <> 'd'"""

_TABLES = """
    SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
      AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY(%(schemas)s))
      AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY 1, 2"""

_ABOUT = """
    SELECT oid, CASE WHEN reltuples >= 0 THEN reltuples::bigint END,
           coalesce(obj_description(oid, 'pg_class'), '')
    FROM pg_class WHERE oid = %s::regclass"""

_BLOCKS = """
    SELECT max(pg_relation_size(t.relid) / current_setting('block_size')::bigint)
    FROM pg_class c, LATERAL (
        SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf AND c.relkind = 'p'
        UNION ALL SELECT c.oid WHERE c.relkind IN ('r', 'm')) t
    WHERE c.oid = %s::regclass AND NOT EXISTS (
        SELECT FROM pg_class f WHERE f.oid = t.relid AND f.relkind = 'f')"""

_COLUMNS = """
    SELECT a.attname, a.attnotnull, coalesce(col_description(a.attrelid, a.attnum), ''), a.attndims
    FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped"""

_KEYS = """
    SELECT c.contype,
           (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
           c.confrelid::regclass::text,
           (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num)
    FROM pg_constraint c WHERE c.conrelid = %s AND c.contype IN ('p', 'f') ORDER BY c.oid"""


def can_write(db: Connection) -> bool:
    """Whether the account could write any table of a user, or any column of one."""
    found = db.execute(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
        " AND (has_table_privilege(c.oid, 'DELETE, TRUNCATE')"
        " OR has_any_column_privilege(c.oid, 'INSERT, UPDATE')))"
    ).fetchone()
    return bool(found and found[0])


def found_streams(db: Connection, schemas: Sequence[str]) -> Iterator[FoundStream]:
    """Every table and view the account can read."""
    tables = db.execute(_TABLES, {"schemas": list(schemas)}).fetchall()
    names = stream_names([(schema, table) for schema, table, _ in tables])
    for (schema, table, rows), name in zip(tables, names, strict=True):
        place = f"{schema}.{table}"
        if "." in schema + table or '"' in schema + table:
            place = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
        spec = StreamSpec.model_construct(name="found", table=place)
        shape, columns = describe(db, spec)
        yield FoundStream(
            name=name,
            place="table",
            value=place,
            columns=tuple(
                ColumnInfo(c.name, str(c.arrow), c.source_type, c.nullable, c.comment) for c in columns
            ),
            primary_key=shape.primary_key,
            cursor=likely_cursor((c.name, c.base.startswith("timestamp")) for c in columns),
            row_estimate=rows,
        )


def _relation(db: Connection, stream: StreamSpec) -> sql.Composable:
    if stream.query is not None:
        return sql.SQL("({}) AS stream").format(sql.SQL(check_select(stream.query, "postgres")))
    schema, table = split_table(stream.table or "", None)
    return sql.Identifier(schema, table) if schema else sql.Identifier(table)


def describe(db: Connection, stream: StreamSpec) -> tuple[StreamShape, tuple[PgColumn, ...]]:
    """The stream's columns with their base types. Raises ConfigError for a table that is not there."""
    if stream.table is not None:
        _check_table(db, stream.table)
    with db.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(_relation(db, stream)))
        result = cursor.pgresult
        assert result is not None
        raw = [
            (d.name, result.ftype(i), result.fmod(i), d.type_display)
            for i, d in enumerate(cursor.description or ())
        ]
    known = {
        oid: (name, category, mod, element)
        for oid, name, category, mod, element in db.execute(TYPES, ([r[1] for r in raw],))
    }
    facts, keys, about = _facts(db, stream)
    columns = tuple(
        PgColumn(
            name,
            display,
            known[oid][0],
            known[oid][1],
            mod if mod >= 0 else known[oid][2] if known[oid][2] is not None else -1,
            known[oid][3],
            *facts.get(name, (True, "", 1)),
        )
        for name, oid, mod, display in raw
    )
    _check_cursor(stream, columns)
    return StreamShape(tuple(c.column for c in columns), *keys, *about), columns


def _check_table(db: Connection, table: str) -> None:
    schema, name = split_table(table, None)
    qualified = sql.Identifier(schema, name) if schema else sql.Identifier(name)
    if db.execute("SELECT to_regclass(%s)", (qualified.as_string(db),)).fetchone() == (None,):
        names = [f"{s}.{t}" for s, t, _ in db.execute(_TABLES, {"schemas": []})]
        raise not_there("table", table, names)


def _facts(
    db: Connection, stream: StreamSpec
) -> tuple[dict[str, tuple[bool, str, int]], tuple[Any, Any], tuple[Any, str]]:
    """Facts by column; primary and foreign keys; row estimate and comment. Nothing for a query."""
    if stream.table is None:
        return {}, ((), ()), (None, "")
    relation = _relation(db, stream).as_string(db)
    row = db.execute(_ABOUT, (relation,)).fetchone()
    assert row is not None
    oid, estimate, note = row
    facts = {
        name: (not required, comment, dimensions)
        for name, required, comment, dimensions in db.execute(_COLUMNS, (oid,))
    }
    keys = defaultdict(list)
    for kind, columns, target, target_columns in db.execute(_KEYS, (oid,)):
        keys[kind if isinstance(kind, str) else kind.decode()].append(
            (tuple(columns), target, tuple(target_columns or ()))
        )
    primary = keys["p"][0][0] if keys["p"] else ()
    return facts, (primary, tuple(keys["f"])), (estimate, note)


def _check_cursor(stream: StreamSpec, columns: Sequence[PgColumn]) -> None:
    need_columns(stream, [c.name for c in columns])
    if stream.partition:
        cursor = next(c for c in columns if c.name == stream.sync.cursor)
        if cursor.base not in ("date", "timestamp", "timestamptz"):
            raise ConfigError(
                f"column '{cursor.name}' is {cursor.source_type}; partitions need a date or timestamp"
            )


def _where(request: ReadRequest, columns: Sequence[PgColumn], blocks: Blocks | None = None) -> sql.Composable:
    parts = [] if blocks is None else _within(blocks)
    if request.stream.sync.cursor is not None and (request.window is not None or request.after is not None):
        parts += _bounds(request, columns, request.stream.sync.cursor)
    return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(parts) if parts else sql.SQL("")


def _within(blocks: Blocks) -> list[sql.Composable]:
    first, end = (None if b is None else sql.Literal(f"({b},0)") for b in blocks)
    parts: list[sql.Composable] = [sql.SQL("ctid >= {}::tid").format(first)]
    return parts if end is None else [*parts, sql.SQL("ctid < {}::tid").format(end)]


def _bounds(request: ReadRequest, columns: Sequence[PgColumn], name: str) -> list[sql.Composable]:
    cursor = next(c for c in columns if c.name == name)

    def literal(value: Any) -> sql.Composable:
        if isinstance(value, datetime) and cursor.base in ("date", "timestamp"):
            # A date is its midnight: cast to dates, an hour's bounds would be equal and hold no row.
            naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return sql.SQL("{}::timestamp").format(sql.Literal(naive))
        return sql.Literal(value)

    column = sql.Identifier(name)
    parts: list[sql.Composable] = []
    if request.window is not None:
        parts.append(sql.SQL("{} >= {}").format(column, literal(request.window.start)))
        parts.append(sql.SQL("{} < {}").format(column, literal(request.window.end)))
    if request.after is not None:
        parts.append(sql.SQL("({0} >= {1} OR {0} IS NULL)").format(column, literal(request.after)))
    return parts


def selected(column: PgColumn) -> sql.Composable:
    """What stands in a SELECT list so that the column comes as `PgColumn.sent` says."""
    name = sql.Identifier(column.name)
    match column.read:
        case "text" | "numeric":
            return sql.SQL("{0}::text AS {0}").format(name)
        case "scaled":
            assert column.digits is not None
            return sql.SQL("CASE WHEN {0} = 'NaN' THEN {1} ELSE ({0} * {2})::bigint END AS {0}").format(
                name, sql.Literal(SCALED_NAN), sql.Literal(10 ** column.digits[1])
            )
        case "json":
            return sql.SQL("to_jsonb({0})::text AS {0}").format(name)
        case "list":
            stop = sql.SQL("(array_ndims({0})::text || {1})::{2}[]").format(
                name,
                sql.Literal(f" are {SEVERAL_DIMENSIONS}{column.name}"),
                sql.Identifier(column.element or ""),
            )
            return sql.SQL("CASE WHEN array_ndims({0}) > 1 THEN {1} ELSE {0} END AS {0}").format(name, stop)
    return name


def select_sql(
    db: Connection, request: ReadRequest, columns: Sequence[PgColumn], blocks: Blocks | None = None
) -> str:
    """The statement that reads the request, with literals: bound parameters would leave the COPY path.

    Args:
        blocks: read only rows that lie there.
    """
    statement = sql.SQL("SELECT {} FROM {}{}{}").format(
        sql.SQL(", ").join(map(selected, request.needed(columns))),
        _relation(db, request.stream),
        _where(request, columns, blocks),
        sql.SQL("") if request.limit is None else sql.SQL(" LIMIT {}").format(sql.Literal(request.limit)),
    )
    return statement.as_string(db)


def count_sql(db: Connection, request: ReadRequest, columns: Sequence[PgColumn]) -> sql.Composed:
    """The statement that counts the rows of the request."""
    return sql.SQL("SELECT count(*) FROM {}{}").format(
        _relation(db, request.stream), _where(request, columns)
    )


def block_ranges(db: Connection, stream: StreamSpec, parts: int) -> list[Blocks]:
    """Ranges that together hold every row of the table once, about equally long; one if it cannot be divided.

    A partitioned table's rows are divided by where they lie in their partition.
    """
    if stream.table is None:
        return []
    found = db.execute(_BLOCKS, (_relation(db, stream).as_string(db),)).fetchone()
    blocks = int(found[0]) if found and found[0] is not None else 0
    parts = min(parts, blocks)
    if parts < 2:
        return []
    starts = [blocks * n // parts for n in range(parts)]
    return list(zip(starts, [*starts[1:], None], strict=True))

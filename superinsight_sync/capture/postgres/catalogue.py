"""What PostgreSQL's catalogue says of tables that are captured."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from psycopg import sql

from superinsight_sync.capture.postgres.connecting import Address, Connection, asking
from superinsight_sync.capture.postgres.messages import Relation
from superinsight_sync.databases.postgres_catalogue import TYPES
from superinsight_sync.databases.postgres_types import PgColumn
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import split_table

_GENERATED = (
    "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attgenerated <> '' AND NOT attisdropped"
)
_THERE = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
_DIMENSIONS = (
    "SELECT attname, attndims FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
)
_SHOWN = """
    SELECT format_type(t.oid, t.modifier)
    FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY t(oid, modifier, n) ORDER BY n"""


def table_sql(stream: StreamSpec) -> sql.Identifier:
    """The stream's table, quoted."""
    schema, table = split_table(stream.table or "", None)
    return sql.Identifier(schema, table) if schema else sql.Identifier(table)


def table_oid(db: Connection, stream: StreamSpec) -> int | None:
    """The table's number; None if there is no such table, or the account may not see its schema."""
    row = db.execute("SELECT to_regclass(%s)::oid", (table_sql(stream).as_string(db),)).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def columns_of(db: Connection, relation: Relation) -> tuple[PgColumn, ...]:
    """The columns of a table as it was, with what is known of their types now.

    A type that is gone is read as the text that the log has.
    """
    oids = [c.type_oid for c in relation.columns]
    known = {oid: rest for oid, *rest in db.execute(TYPES, (oids,))}
    modifiers = [c.modifier for c in relation.columns]
    shown = [row[0] for row in db.execute(_SHOWN, (oids, modifiers))]
    dimensions = dict(db.execute(_DIMENSIONS, (relation.oid,)).fetchall())
    found = []
    for column, display in zip(relation.columns, shown, strict=True):
        base, category, modifier, element = known.get(column.type_oid, ("text", "S", -1, None))
        if column.modifier >= 0 or modifier is None:
            modifier = column.modifier
        found.append(
            PgColumn(
                column.name,
                display,
                base,
                category,
                modifier,
                element,
                dimensions=dimensions.get(column.name, 1),
            )
        )
    return tuple(found)


def texts_of(
    db: Connection, stream: StreamSpec, columns: Sequence[str], key: Mapping[str, str]
) -> tuple[str | None, ...] | None:
    """Columns of one record as it is now, as the log would write them: NULL for those dropped, None if it is gone.

    Args:
        key: the record's key, as the log writes it.
    """
    there = {name for (name,) in db.execute(_THERE, (table_oid(db, stream),))}
    shown = [
        sql.SQL("CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END").format(sql.Identifier(c))
        if c in there
        else sql.SQL("NULL")
        for c in columns
    ]
    same = [
        sql.SQL("format('%s', {}) = {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in key.items()
    ]
    by_type = [sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in key.items()]
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
        sql.SQL(", ").join(shown), table_sql(stream), sql.SQL(" AND ").join([*by_type, *same])
    )
    return db.execute(query.as_string(db).encode()).fetchone()


def not_in_log(db: Connection, stream: StreamSpec) -> frozenset[str]:
    """Columns that the log does not have: those that the server computes."""
    return frozenset(name for (name,) in db.execute(_GENERATED, (table_oid(db, stream),)))


class JsonAsker:
    """Has the server write values as JSON, as it does for a pull. Keeps no connection between batches."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __call__(self, column: PgColumn, written: pa.Array) -> pa.Array:
        # The type's name is the server's own, quoted where it must be.
        name = sql.SQL(column.source_type.replace("%", "%%"))
        statement = sql.SQL(
            "SELECT to_jsonb(v::{})::text FROM unnest(%s::text[]) WITH ORDINALITY t(v, n) ORDER BY n"
        ).format(name)
        with asking(self._address) as db:
            rows: Sequence[Any] = db.execute(statement, (written.to_pylist(),)).fetchall()
        return pa.array([row[0] for row in rows], pa.string())

"""Bulk load into PostgreSQL: COPY into a staging table, then set-based statements on the target."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.database_types import (
    Column,
    StoredColumn,
    columns_of,
    to_wire,
    widened,
    wire_schema,
)
from superinsight_sync.lake.types import storable_schema
from superinsight_sync.model.tables import HASH, LOAD_ID, PARTITION

_STAGE = sql.Identifier("pg_temp", "_sis_stage")
_ORDER = sql.Identifier("_sis_staged")


@dataclass(frozen=True)
class Staged:
    """A read that lies in the connection's staging table; the table is gone with the connection."""

    columns: Sequence[Column]
    rows: int
    size_bytes: int

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]


@dataclass(frozen=True)
class Target:
    """The target table, over the connection that holds the staging table.

    Args:
        where: what messages call it.
    """

    connection: psycopg.Connection[Any]
    name: sql.Identifier
    where: str

    def stage(self, reader: pa.RecordBatchReader) -> Staged:
        """Streams a read into a new temporary table, in the order of its rows, a batch at a time."""
        import pgpq

        stored = storable_schema(reader.schema)
        columns = columns_of(stored, self.where)
        self.connection.execute(
            sql.SQL("CREATE TEMP TABLE _sis_stage ({} bigint GENERATED ALWAYS AS IDENTITY)").format(_ORDER)
        )
        for column in columns:
            self._alter(_STAGE, "ADD COLUMN {} {}", column.name, column.staged)
        if not columns:
            return Staged(columns, 0, 0)
        encoder = pgpq.ArrowToPostgresBinaryEncoder(wire_schema(columns))
        rows = size_bytes = 0
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(_STAGE, _list(_names(columns)))
        with self.connection.cursor().copy(copy) as out:
            out.write(encoder.write_header())
            for batch in reader:
                out.write(encoder.write_batch(to_wire(batch, stored, columns)))
                rows += batch.num_rows
                size_bytes += batch.nbytes
            out.write(encoder.finish())
        return Staged(columns, rows, size_bytes)

    def columns(self) -> list[StoredColumn]:
        """The columns there are, in order; none if there is no table."""
        found = self.connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [self.name.as_string(None)],
        ).fetchall()
        return [StoredColumn(name, type_) for name, type_ in found]

    def create(self) -> None:
        """Makes the table without columns; `evolve` adds them."""
        self.connection.execute(sql.SQL("CREATE TABLE {} ()").format(self.name))

    def evolve(self, staged: Staged) -> None:
        """Adds new columns and widens types. Raises ConfigError naming a column whose type does not fit."""
        stored = {c.name: c for c in self.columns()}
        for column in staged.columns:
            have = stored.get(column.name)
            if have is None:
                self._alter(self.name, "ADD COLUMN {} {}", column.name, column.type)
                continue
            wide = widened(have.type, column.type)
            if wide is None:
                raise ConfigError(
                    f"column '{column.name}' was {have.arrow} and is now {column.wire}, which does not fit",
                    where=self.where,
                    hint=f"Cast it to {have.arrow}, give it another name, or load the whole table anew",
                )
            if wide != have.type:
                self._alter(self.name, "ALTER COLUMN {} TYPE {}", column.name, wide)

    def adopt(self, staged: Staged) -> None:
        """Gives the (emptied) table the read's columns and types."""
        wanted = {c.name: c.type for c in staged.columns}
        for column in self.columns():
            if wanted.get(column.name) != column.type:
                self._alter(self.name, "DROP COLUMN {}", column.name)
        self.evolve(staged)

    def delete_all(self) -> int:
        """Deletes, not truncates: readers go on seeing the old rows until the commit, and never wait."""
        return self._run("DELETE FROM {target}").rowcount

    def delete_partitions(self, partitions: Sequence[str]) -> int:
        """Deletes their rows."""
        if PARTITION not in [c.name for c in self.columns()]:
            return 0
        return self._run("DELETE FROM {target} WHERE {partition} = ANY(%s)", list(partitions)).rowcount

    def check_partitions(self, staged: Staged, partitions: Sequence[str]) -> None:
        """Raises DataError if a staged row lies outside of them."""
        if PARTITION in staged.names:
            found = self._run(
                "SELECT count(*) FROM {stage} WHERE ({partition} = ANY(%s)) IS NOT TRUE", list(partitions)
            ).fetchone()
            outside = int(found[0]) if found else 0
        else:
            outside = staged.rows
        if outside:
            raise DataError(
                f"{outside} rows belong to none of the partitions being replaced",
                where=self.where,
                hint="Nothing was written; check the window of the read",
            )

    def insert_all(self, staged: Staged) -> int:
        """Inserts every staged row."""
        if not staged.columns:
            return 0
        return self._run(
            "INSERT INTO {target} ({names}) SELECT {values} FROM {stage} s",
            names=_list(_names(staged.columns)),
            values=_values(staged.columns),
        ).rowcount

    def merge(self, staged: Staged, keys: Sequence[str], newest_by: str | None) -> tuple[int, int]:
        """Merges the staged rows by key, see `Store.merge`; the numbers of rows inserted and updated.

        Keys are compared by the hash of the whole key, which an index on the target serves and for which NULL
        equals NULL, and then column by column.
        """
        parts = {
            "names": _list(_names(staged.columns)),
            "values": _values(staged.columns),
            "keys": _list(sql.Identifier(k) for k in keys),
            "same": _same_key(staged.columns, keys),
            "hash": sql.Identifier(HASH),
        }
        self._index(keys, parts["keys"])
        self._run(
            "DELETE FROM {stage} WHERE {order} IN (SELECT {order} FROM (SELECT {order},"
            " row_number() OVER (PARTITION BY {keys} ORDER BY {newest}{order} DESC) AS nth FROM {stage} s) n"
            " WHERE nth > 1)",
            newest=_newest_first(staged.columns, newest_by),
            **parts,
        )
        self._run("ANALYZE {stage}")
        assignments = [
            sql.SQL("{} = {}").format(sql.Identifier(c.name), _value(c))
            for c in staged.columns
            if c.name not in keys
        ]
        updated = self._run(
            "UPDATE {target} t SET {assignments} FROM {stage} s"
            " WHERE {same} AND t.{hash} IS DISTINCT FROM s.{hash}",
            assignments=_list(assignments),
            **parts,
        ).rowcount
        inserted = self._run(
            "INSERT INTO {target} ({names}) SELECT {values} FROM {stage} s"
            " WHERE NOT EXISTS (SELECT FROM {target} t WHERE {same})",
            **parts,
        ).rowcount
        return inserted, updated

    def _index(self, keys: Sequence[str], names: sql.Composable) -> None:
        text = f"{self.name.as_string(None)} {[*keys]}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._run(
            "CREATE INDEX IF NOT EXISTS {index} ON {target} ((hash_record_extended(ROW({names}), 0)))",
            index=sql.Identifier(f"_sis_key_{digest}"),
            names=names,
        )

    def _alter(self, table: sql.Identifier, what: str, column: str, type_: str = "") -> None:
        change = sql.SQL(what).format(sql.Identifier(column), sql.SQL(type_))
        self.connection.execute(sql.SQL("ALTER TABLE {} {}").format(table, change))

    def _run(self, query: str, *values: Any, **parts: sql.Composable) -> psycopg.Cursor[Any]:
        known = {
            "target": self.name,
            "stage": _STAGE,
            "order": _ORDER,
            "partition": sql.Identifier(PARTITION),
        }
        composed = sql.SQL(query).format(**known, **parts)
        return self.connection.execute(composed, values or None)


def merge_columns_missing(staged: Staged, keys: Sequence[str]) -> list[str]:
    """What a merge needs and the read lacks."""
    return [k for k in [*keys, HASH] if k not in staged.names]


def select(
    name: sql.Identifier,
    columns: Sequence[StoredColumn],
    *,
    partitions: Sequence[str] | None,
    load_ids: Sequence[str] | None,
) -> str:
    """The SELECT of a scan, for a driver that takes text."""
    values = [
        sql.SQL("{}::{}").format(sql.Identifier(c.name), sql.SQL(c.read_as_text))
        if c.read_as_text
        else sql.Identifier(c.name)
        for c in columns
    ]
    filters: list[sql.Composable] = [
        sql.SQL("{} = ANY({}::text[])").format(sql.Identifier(column), sql.Literal(list(wanted)))
        for column, wanted in ((PARTITION, partitions), (LOAD_ID, load_ids))
        if wanted is not None
    ]
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
        _list(values), name, sql.SQL(" AND ").join([sql.SQL("true"), *filters])
    )
    return query.as_string(None)


def _names(columns: Sequence[Column]) -> list[sql.Identifier]:
    return [sql.Identifier(c.name) for c in columns]


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _value(column: Column) -> sql.Composed:
    """The staged column in the target's type."""
    return sql.SQL("s.{}::{}").format(sql.Identifier(column.name), sql.SQL(column.type))


def _values(columns: Sequence[Column]) -> sql.Composed:
    return _list(_value(c) for c in columns)


def _newest_first(columns: Sequence[Column], newest_by: str | None) -> sql.Composable:
    """The beginning of an ORDER BY; texts are ordered as everywhere else here, by their code points."""
    column = next((c for c in columns if c.name == newest_by), None)
    if column is None:
        return sql.SQL("")
    order = sql.SQL(' COLLATE "C"' if column.type == "text" else "")
    return sql.SQL("{}{} DESC NULLS LAST, ").format(_value(column), order)


def _same_key(columns: Sequence[Column], keys: Sequence[str]) -> sql.Composed:
    mine = _list(sql.Identifier("t", k) for k in keys)
    theirs = _list(_value(c) for k in keys for c in columns if c.name == k)
    equal = [
        sql.SQL("{} IS NOT DISTINCT FROM {}").format(sql.Identifier("t", k), _value(c))
        for k in keys
        for c in columns
        if c.name == k
    ]
    hashed = sql.SQL("hash_record_extended(ROW({}), 0) = hash_record_extended(ROW({}), 0)")
    return sql.SQL(" AND ").join([hashed.format(mine, theirs), *equal])

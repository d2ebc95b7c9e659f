"""A captured raw table as it would be if all of its change log were merged: for readers who cannot wait for that."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.sql import quote
from superinsight_sync.lake.change_merge import Deletes, reached
from superinsight_sync.lake.change_sql import Span, collapsed_sql, incomplete_columns, span_of
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import COMMITTED_AT, DELETED_AT, OP, SEQ, TableRef, is_system

if TYPE_CHECKING:
    import duckdb

_NEWEST = 2**62


class ChangeView:
    """Reads captured tables of a lake.

    Args:
        scratch_dir: where what does not fit into `memory_limit_bytes` is spilled to.
    """

    def __init__(self, store: Store, scratch_dir: Path, memory_limit_bytes: int) -> None:
        self._store, self._scratch, self._memory = store, scratch_dir, memory_limit_bytes

    @contextmanager
    def current(
        self, table: TableRef, keys: Sequence[str], deletes: Deletes, limit: int | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """The rows of the raw table `table` with all changes that have landed, in no order. Raises ConfigError
        without a table."""
        log = table.at("changes")
        with open_duckdb(self._memory, self._scratch) as duck:
            at_most = "" if limit is None else f" LIMIT {limit:d}"
            has_base = self._store.exists(table)
            last = self._store.checkpoint(table) if has_base else None
            known = self._registered(duck, "base", table)
            told = self._registered(duck, "log", log)
            after, begun = reached(last)
            span = None
            if set(keys) <= set(told.names):
                span = span_of(duck, after, _NEWEST, begun)
            if span is None:
                base = known if has_base else self._store.schema(table)  # says that there is no table
                found = duck.sql(f"SELECT {_listed(base.names)} FROM base{at_most}").to_arrow_reader(65_536)  # noqa: S608
                yield _typed(found, base)
                return
            names = told.names
            data = [n for n in names if not is_system(n)]
            partial = incomplete_columns(duck, span)
            duck.execute(f"CREATE TEMP VIEW tail AS {collapsed_sql(data, keys, span, partial)}").fetchall()
            schema = _schema(known, told, data, deletes)
            both = _Both(tuple(keys), deletes, span, tuple(partial), tuple(known.names), tuple(names))
            sql = _sql(schema, both)
            yield _typed(duck.sql(sql + at_most).to_arrow_reader(65_536), schema)

    def _registered(self, duck: "duckdb.DuckDBPyConnection", name: str, table: TableRef) -> pa.Schema:
        """A table's newest version under a name; its columns. None of both if there is no such table."""
        version = self._store.version(table)
        if version is None:
            return pa.schema([])
        found = self._store.dataset(table, version=version)
        duck.register(name, found)
        return found.schema


def _schema(base: pa.Schema, log: pa.Schema, data: Sequence[str], deletes: Deletes) -> pa.Schema:
    fields = {n: log.field(n) for n in (*data, SEQ, COMMITTED_AT)}
    fields |= {f.name: f for f in base if f.name not in fields and not is_system(f.name)}
    if deletes == "soft":
        fields[DELETED_AT] = pa.field(DELETED_AT, pa.timestamp("us", "UTC"))
    return pa.schema(fields.values())


@dataclass(frozen=True)
class _Both:
    """What is known of table and log: `base` and `tail` are their columns."""

    keys: tuple[str, ...]
    deletes: Deletes
    span: Span
    partial: tuple[str, ...]
    base: tuple[str, ...]
    tail: tuple[str, ...]

    @property
    def same(self) -> str:
        return " AND ".join(f"b.{quote(k)} = t.{quote(k)}" for k in self.keys)

    def of_base(self, column: str) -> str:
        return f"b.{quote(column)}" if column in self.base else "NULL"

    def of_tail(self, column: str) -> str:
        if column not in self.tail:
            return "NULL"
        if column in self.partial and self.base:
            keep = f't."_sis_keep_{self.partial.index(column)}"'
            return f"CASE WHEN {keep} THEN {self.of_base(column)} ELSE t.{quote(column)} END"
        return f"t.{quote(column)}"


def _sql(schema: pa.Schema, both: _Both) -> str:
    there = f"t.{OP} <> 'delete'"
    changed = ", ".join(f"{both.of_tail(n)} AS {quote(n)}" for n in schema.names)
    if not both.base:
        return f"SELECT {changed} FROM tail t WHERE {there}"  # noqa: S608
    parts = [f"SELECT {changed} FROM tail t LEFT JOIN base b ON {both.same} WHERE {there}"]  # noqa: S608
    old = f"b.{SEQ} < {both.span.gone_before}"
    kept = {n: both.of_base(n) for n in schema.names}
    gone = "t." + OP + " = 'delete'"
    if both.deletes == "hard":
        rest = f"FROM base b ANTI JOIN tail t ON {both.same} WHERE NOT ({old})"
    elif both.deletes == "ignore":
        rest = f"FROM base b ANTI JOIN (FROM tail WHERE {OP} <> 'delete') t ON {both.same}"
    else:
        mark = f"CASE WHEN {gone} OR {old} THEN coalesce(t.{COMMITTED_AT}, now()) END"
        kept[DELETED_AT] = f"coalesce({both.of_base(DELETED_AT)}, {mark})"
        rest = f"FROM base b LEFT JOIN tail t ON {both.same} WHERE t.{OP} IS NULL OR {gone}"
    parts.append("SELECT " + ", ".join(f"{sql} AS {quote(n)}" for n, sql in kept.items()) + " " + rest)
    return " UNION ALL ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names))


def _typed(reader: pa.RecordBatchReader, schema: pa.Schema) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            arrays = [batch.column(f.name).cast(f.type) for f in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())

"""From a change log to the state that its changes made: the captured stream's raw table.

The changes since the last time are brought together to the last one of each key, and merged in one commit that says
up to which change the table is now. Readers who cannot wait for that see both: `current`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake.table import TableMerger

from superinsight_sync.core.arrow_values import number
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import quote
from superinsight_sync.lake.blob_opening import open_blobs
from superinsight_sync.lake.change_sql import Span, collapsed_sql, incomplete_columns, span_of
from superinsight_sync.lake.delta import DeltaStore
from superinsight_sync.lake.delta_compaction import tidy
from superinsight_sync.lake.delta_errors import LostRaceError, storage_errors, until_committed
from superinsight_sync.lake.delta_log import AFTER_COMMIT, CommitLog
from superinsight_sync.lake.delta_table import Address, arrow_schema
from superinsight_sync.lake.delta_write import commit_nothing
from superinsight_sync.lake.locations import storage_options, table_address
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.lake.types import storable_schema, widens
from superinsight_sync.model.tables import (
    COMMITTED_AT,
    DELETED_AT,
    HASH,
    LOAD_ID,
    OP,
    SEQ,
    Checkpoint,
    Commit,
    TableRef,
    is_system,
)

if TYPE_CHECKING:
    import duckdb

Deletes = Literal["ignore", "soft", "hard"]
MERGE_ROWS = 250_000
"""Changes brought into the table in one commit, at most; fewer if they are wide."""
_MERGE_BYTES, _LEAST_ROWS = 32 << 20, 1_000
"""As Parquet, of which memory takes several times as much."""
_MERGED, _BEGUN = "merged", "begun"
_MARK = pa.field(DELETED_AT, pa.timestamp("us", "UTC"))
_OTHER_HASH = f"-1 - t.{HASH}"
"""Of a row that is marked: for who compares by hashes, it is another one."""


@dataclass(frozen=True)
class Merged:
    """What one merge did.

    Attributes:
        seq: up to which change the table is now.
        more: whether there are more changes already.
    """

    load_id: str
    version: int
    seq: int
    changes: int
    inserted: int
    updated: int
    deleted: int
    more: bool

    def and_then(self, later: "Merged") -> "Merged":
        """Both, as if they were one."""
        return replace(
            later,
            changes=self.changes + later.changes,
            inserted=self.inserted + later.inserted,
            updated=self.updated + later.updated,
            deleted=self.deleted + later.deleted,
        )


class ChangeMerge:
    """Brings change logs of a lake into the tables beside them.

    Args:
        store: the same lake.
    """

    def __init__(
        self, store: DeltaStore, root_url: str, scratch_dir: Path, memory_limit_bytes: int = 1 << 30
    ) -> None:
        self._store = store
        self._root_url = root_url
        self._options = storage_options(root_url)
        self._blobs = open_blobs(root_url, self._options)
        self._scratch = scratch_dir
        self._memory = memory_limit_bytes

    def merge(
        self,
        table: TableRef,
        keys: Sequence[str],
        deletes: Deletes,
        load_id: str,
        metadata: Mapping[str, str],
        widen: Callable[[Mapping[str, pa.DataType]], None],
    ) -> Merged | None:
        """Brings the next changes of the log into the raw table `table`; None if there are none.

        Args:
            widen: gives columns of the table a wider type.

        A commit of another process makes it begin again. Raises ConfigError, TransientError, AccessError.
        """
        log = table.at("changes")

        def attempt() -> Merged | None:
            if not self._store.exists(log) or not set(keys) <= set(self._store.schema(log).names):
                return None  # nothing has come yet
            address = Address(table_address(self._root_url, table.path), self._options, str(table))
            commits = CommitLog(self._blobs, table.path)
            opened = address.open()
            last = None if opened is None else commits.checkpoint(opened, "")
            after, begun = reached(last)
            with open_duckdb(self._memory, self._scratch) as duck:
                landed = self._opened(log)  # columns and rows of one version: a new one may land meanwhile
                duck.register("log", self._store.dataset(log, version=landed.version()))
                span = span_of(duck, after, after + self._most(log, after), begun)
                if span is None:
                    return None
                source, partial = self._source(duck, arrow_schema(landed), keys, span, load_id, deletes)
            schema = _table_schema(source.schema)
            if opened is None:
                opened = address.create(schema)
            held = arrow_schema(opened)
            _check(held, keys, str(table))
            if wider := _unfit(schema, held):
                widen(wider)
                raise LostRaceError("its columns were widened", where=str(table))
            point = Checkpoint(
                load_id,
                utc_now(),
                cursor=span.committed_at,
                detail={_MERGED: span.last, _BEGUN: span.begun, "position": span.position},
            )
            counts = self._commit(
                opened,
                source,
                _How(
                    tuple(keys),
                    deletes,
                    span.gone_before,
                    tuple(partial),
                    span.committed_at or utc_now(),
                    load_id,
                ),
                commits.properties(
                    "merge" if deletes != "hard" or not _removes(source, span) else "changes",
                    Commit(load_id, {"": point}, metadata),
                    serial=True,
                    marked=False,
                ),
            )
            tidy(opened, commits, str(table))
            more = span.newest > span.last
            return Merged(load_id, opened.version(), span.last, span.count, *counts, more)

        return until_committed(attempt)

    def _opened(self, log: TableRef) -> DeltaTable:
        return Address(table_address(self._root_url, log.path), self._options, str(log)).opened()

    def _most(self, log: TableRef, after: int) -> int:
        """How many changes after a number are merged at once: so many that they fit into memory."""
        opened = self._opened(log)
        files = pa.RecordBatchReader.from_stream(opened.get_add_actions(flatten=True)).read_all()
        if f"max.{SEQ}" in files.column_names:
            files = files.filter(pc.greater(files[f"max.{SEQ}"], number(after, pa.int64())))
        rows, size = (pc.sum(files[n]).as_py() or 0 for n in ("num_records", "size_bytes"))
        return max(_LEAST_ROWS, min(MERGE_ROWS, _MERGE_BYTES * rows // max(size, 1)))

    def _source(
        self,
        duck: "duckdb.DuckDBPyConnection",
        log: pa.Schema,
        keys: Sequence[str],
        span: Span,
        load_id: str,
        deletes: Deletes,
    ) -> tuple[pa.Table, list[str]]:
        """The last change of each key, with the table's columns, `_sis_op`, and whether to keep what is not known;
        and the columns of which that is so."""
        partial = incomplete_columns(duck, span)
        data = [n for n in log.names if not is_system(n)]
        found = duck.sql(collapsed_sql(data, keys, span, partial)).to_arrow_reader(65_536).read_all()
        types = {f.name: f.type for f in log}
        found = found.cast(pa.schema([f.with_type(types.get(f.name, f.type)) for f in found.schema]))
        load = pa.chunked_array([pa.repeat(pa.scalar(load_id), found.num_rows)])
        hashes = [row_hash(b) for b in found.select(data).to_batches()] or [pa.nulls(0, pa.int64())]
        at = found.schema.get_field_index(HASH)
        found = found.set_column(at, HASH, pa.chunked_array(hashes, pa.int64()))
        found = found.set_column(found.schema.get_field_index(LOAD_ID), LOAD_ID, load)
        if deletes == "soft":
            found = found.append_column(_MARK, pa.nulls(found.num_rows, _MARK.type))
        return found, partial

    def _commit(
        self,
        table: DeltaTable,
        source: pa.Table,
        how: "_How",
        properties: CommitProperties,
    ) -> tuple[int, int, int]:
        done, before = dict[str, int](), table.version()
        with storage_errors(table.table_uri):
            if source.num_rows or how.gone_before:
                done = how.merger(table, source, properties).execute()
            if table.version() == before:
                commit_nothing(table, properties)
        inserted, updated, deleted = (
            int(done.get(f"num_target_rows_{what}", 0)) for what in ("inserted", "updated", "deleted")
        )
        return inserted, updated, deleted


@dataclass(frozen=True)
class _How:
    """How changes meet the table.

    Attributes:
        gone_before: rows whose last change is an earlier one are gone.
        partial: columns that some changes do not know.
        at: when rows that are gone are said to have gone.
    """

    keys: tuple[str, ...]
    deletes: Deletes
    gone_before: int
    partial: tuple[str, ...]
    at: datetime
    load_id: str

    def merger(self, table: DeltaTable, source: pa.Table, properties: CommitProperties) -> TableMerger:
        """Delta's merge, not begun."""
        columns = _table_schema(source.schema).names
        equal = " AND ".join(f"t.{quote(k)} = s.{quote(k)}" for k in self.keys)
        merger = table.merge(
            source,
            equal,
            source_alias="s",
            target_alias="t",
            merge_schema=True,
            streamed_exec=False,
            commit_properties=properties,
            post_commithook_properties=AFTER_COMMIT,
        )
        gone, there = f"s.{OP} = 'delete'", f"s.{OP} <> 'delete'"
        old = f"t.{SEQ} < {self.gone_before}"
        if self.deletes == "hard":
            merger = merger.when_matched_delete(gone)
        if self.deletes == "soft":
            merger = merger.when_matched_update(self._marks("s."), gone)
        merger = merger.when_matched_update({quote(c): self._value(c) for c in columns}, there)
        merger = merger.when_not_matched_insert({quote(c): f"s.{quote(c)}" for c in columns}, there)
        if self.gone_before and self.deletes == "hard":
            merger = merger.when_not_matched_by_source_delete(old)
        if self.gone_before and self.deletes == "soft":
            at = f"arrow_cast('{self.at.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
            load = f"'{self.load_id}'"
            marked = {
                quote(DELETED_AT): at,
                quote(SEQ): str(self.gone_before),
                quote(LOAD_ID): load,
                quote(HASH): _OTHER_HASH,
            }
            if DELETED_AT in arrow_schema(table).names:
                old += f" AND t.{DELETED_AT} IS NULL"
            merger = merger.when_not_matched_by_source_update(marked, old)
        return merger

    def _marks(self, source: str) -> dict[str, str]:
        kept = {quote(c): f"{source}{quote(c)}" for c in (SEQ, LOAD_ID, COMMITTED_AT)}
        return {**kept, quote(DELETED_AT): f"{source}{COMMITTED_AT}", quote(HASH): _OTHER_HASH}

    def _value(self, column: str) -> str:
        name = quote(column)
        if column == HASH and self.partial:
            kept = " OR ".join(f's."_sis_keep_{i}"' for i in range(len(self.partial)))
            return f"CASE WHEN {kept} THEN NULL ELSE s.{name} END"
        if column not in self.partial:
            return f"s.{name}"
        return f'CASE WHEN s."_sis_keep_{self.partial.index(column)}" THEN t.{name} ELSE s.{name} END'


def _table_schema(source: pa.Schema) -> pa.Schema:
    return pa.schema([f for f in source if f.name != OP and not f.name.startswith("_sis_keep_")])


def _removes(source: pa.Table, span: Span) -> bool:
    return bool(span.gone_before or pc.any(pc.equal(source.column(OP), "delete")).as_py())


def reached(last: Checkpoint | None) -> tuple[int, int]:
    """Up to which change a table is, and where the last snapshot began."""
    detail = last.detail if last else {}
    return int(detail.get(_MERGED, 0)), int(detail.get(_BEGUN, 0))


def _unfit(source: pa.Schema, held: pa.Schema) -> dict[str, pa.DataType]:
    """Columns whose values do not fit the table, and what they are."""
    stored = storable_schema(source)
    return {
        f.name: f.type for f in stored if f.name in held.names and not widens(f.type, held.field(f.name).type)
    }


def _check(schema: pa.Schema, keys: Sequence[str], where: str) -> None:
    missing = [k for k in (*keys, SEQ) if k not in schema.names]
    if missing:
        raise ConfigError(
            f"the raw table was not made by a capture: it has no column '{missing[0]}'",
            where=where,
            hint="Start the stream over with `sis reset`",
        )

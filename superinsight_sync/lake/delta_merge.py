"""Merging rows into a Delta table by key, always in one commit.

Up to a million rows are merged from memory by Delta's own MERGE, which then prunes files by the keys'
bounds. More are staged on the local disk and joined with the table by DuckDB, which spills, and the
result replaces the table in one commit. Merging chunk after chunk would be simpler, but would show half a
load to readers, would leave it there after a kill, and would copy every file once per chunk; so a load is
one commit, whatever its size."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable

from superinsight_sync.core.arrow_buffers import fixed
from superinsight_sync.core.arrow_values import number
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import quote
from superinsight_sync.lake.delta_log import AFTER_COMMIT
from superinsight_sync.lake.landing import Landing
from superinsight_sync.model.tables import HASH

CHUNK_ROWS = 1_000_000
CHUNK_BYTES = 512 << 20
MEMORY_LIMIT_BYTES = 1 << 30
_ORDER = "_sis_order"
_ACTION = "_sis_action"


@dataclass(frozen=True)
class MergeCounts:
    """Rows inserted and updated by a merge."""

    inserted: int = 0
    updated: int = 0


@dataclass(frozen=True)
class MergeKey:
    """The key columns, and the column whose greatest value makes one of several rows of a key win."""

    columns: tuple[str, ...]
    newest_by: str | None = None


def check_keys(keys: Sequence[str], schema: pa.Schema, where: str) -> None:
    """Raises ConfigError if a key or the row hash is not among the columns."""
    missing = [key for key in [*keys, HASH] if key not in schema.names]
    if missing or not keys:
        raise ConfigError(
            f"a merge needs its key columns and {HASH}; missing: {missing or 'any key'}",
            where=where,
            hint=f"Set primary_key to columns of the stream: {[n for n in schema.names if n[:5] != '_sis_']}",
        )


def newest_by_key(rows: pa.Table, key: MergeKey) -> pa.Table:
    """The row of each key that wins, in the rows' order; NULL equals NULL."""
    import polars as pl

    newest = [] if key.newest_by is None else [key.newest_by]
    found = pl.from_arrow(rows.select(list(dict.fromkeys([*key.columns, *newest]))))
    assert isinstance(found, pl.DataFrame)
    found = found.with_row_index(_ORDER)
    if newest:
        found = found.sort([*newest, _ORDER], nulls_last=False)
    order = found.unique(list(key.columns), keep="last")[_ORDER].sort()
    return rows if len(order) == rows.num_rows else rows.take(order.to_arrow())


class Staged(AbstractContextManager["Staged"]):
    """The rows to merge: in memory (`table`) up to a chunk, else in a file of a private folder in `scratch`."""

    def __init__(
        self, landing: Landing, reader: pa.RecordBatchReader, key: MergeKey, scratch: Path | None
    ) -> None:
        self._landing = landing
        self.key = key
        self._reader = reader
        self._scratch = scratch
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.table: pa.Table | None = None
        self.schema: pa.Schema = reader.schema

    def __enter__(self) -> "Staged":
        head: list[pa.RecordBatch] = []
        for batch in self._reader:
            head.append(batch)
            if self._landing.rows > CHUNK_ROWS or self._landing.size_bytes > CHUNK_BYTES:
                self._spill(head)
                return self
        self.table = pa.Table.from_batches(head, schema=self.schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder:
            self._folder.cleanup()

    @property
    def folder(self) -> Path:
        assert self._folder
        return Path(self._folder.name)

    @property
    def file(self) -> Path:
        return self.folder / "rows.arrow"

    def _spill(self, head: list[pa.RecordBatch]) -> None:
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="merge-", dir=self._scratch)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(self.file), "wb") as sink,
            pa.ipc.new_file(sink, self.schema, options=options) as file,
        ):
            while head:
                file.write_batch(head.pop(0))
            for batch in self._reader:
                file.write_batch(batch)


def merge_from_memory(table: DeltaTable, staged: Staged, properties: CommitProperties) -> MergeCounts:
    """Delta's MERGE of at most a chunk of rows. Commits nothing if it changes nothing."""
    if not staged.table:
        return MergeCounts()
    source = newest_by_key(staged.table, staged.key)
    merger = table.merge(
        source,
        " AND ".join(_equal(key, has_null=source[key].null_count > 0) for key in staged.key.columns),
        source_alias="s",
        target_alias="t",
        merge_schema=True,
        streamed_exec=False,
        commit_properties=properties,
        post_commithook_properties=AFTER_COMMIT,
    )
    changed = f't."{HASH}" IS DISTINCT FROM s."{HASH}"'
    done = merger.when_matched_update_all(predicate=changed).when_not_matched_insert_all().execute()
    return MergeCounts(int(done["num_target_rows_inserted"]), int(done["num_target_rows_updated"]))


def _equal(key: str, *, has_null: bool) -> str:
    """Without NULLs in the source plain equality is the same and lets Delta prune files."""
    column = quote(key)
    return f"(t.{column} {'IS NOT DISTINCT FROM' if has_null else '='} s.{column})"


class JoinedRows:
    """Table and staged rows, merged by DuckDB within a memory limit, as a stream of the whole result."""

    def __init__(self, staged: Staged, existing: Any, schema: pa.Schema) -> None:
        self._staged = staged
        self._keys = staged.key.columns
        self._existing = existing
        self._schema = schema
        self.inserted = 0
        self.updated = 0

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with open_duckdb(MEMORY_LIMIT_BYTES, self._staged.folder) as engine:
            with pa.memory_map(str(self._staged.file)) as mapped:
                engine.register("incoming", _numbered(pa.ipc.open_file(mapped), self._staged.schema))
                engine.execute("CREATE TEMP TABLE staged AS SELECT * FROM incoming")
            engine.register("existing", self._existing)
            for batch in engine.sql(self._query()).to_arrow_reader(65_536):
                actions = batch.column(_ACTION)
                self.inserted += pc.sum(pc.equal(actions, number(1, actions.type))).as_py() or 0
                self.updated += pc.sum(pc.equal(actions, number(2, actions.type))).as_py() or 0
                rows = [batch.column(f.name).cast(f.type) for f in self._schema]
                yield pa.RecordBatch.from_arrays(rows, schema=self._schema)

    def _query(self) -> str:
        keys = ", ".join(quote(k) for k in self._keys)
        on = " AND ".join(f"t.{quote(k)} IS NOT DISTINCT FROM s.{quote(k)}" for k in self._keys)
        keep = f'(s."{_ORDER}" IS NULL OR t."{HASH}" = s."{HASH}")'
        known = set(self._existing.schema.names)
        columns = ", ".join(self._column(f.name, keep, in_table=f.name in known) for f in self._schema)
        action = f'CASE WHEN {keep} THEN 0 WHEN t."_sis_here" IS NULL THEN 1 ELSE 2 END AS "{_ACTION}"'
        newest = self._staged.key.newest_by
        first = f'{quote(newest)} DESC NULLS LAST, "{_ORDER}" DESC' if newest else f'"{_ORDER}" DESC'
        return f"""
            WITH last AS (SELECT "{_ORDER}" FROM staged
                          QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {first}) = 1),
                 s AS (SELECT staged.* FROM staged SEMI JOIN last USING ("{_ORDER}")),
                 t AS (SELECT *, true AS "_sis_here" FROM existing)
            SELECT {columns}, {action} FROM t FULL OUTER JOIN s ON {on}"""  # noqa: S608

    def _column(self, name: str, keep: str, *, in_table: bool) -> str:
        column = quote(name)
        if name not in self._staged.schema.names:
            return f"t.{column} AS {column}"
        old = f"t.{column}" if in_table else "NULL"
        return f"CASE WHEN {keep} THEN {old} ELSE s.{column} END AS {column}"


def _numbered(file: Any, schema: pa.Schema) -> pa.RecordBatchReader:
    numbered = schema.append(pa.field(_ORDER, pa.int64()))

    def batches() -> Iterator[pa.RecordBatch]:
        import numpy as np

        start = 0
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            order = fixed(pa.int64(), np.arange(start, start + len(batch)), np.zeros(len(batch), bool))
            start += len(batch)
            yield pa.RecordBatch.from_arrays([*batch.columns, order], schema=numbered)

    return pa.RecordBatchReader.from_batches(numbered, batches())


def merged_schema(table: pa.Schema, incoming: pa.Schema) -> pa.Schema:
    """The table's columns and, after them, what the incoming rows add."""
    return pa.schema([*table, *(f for f in incoming if f.name not in table.names)])

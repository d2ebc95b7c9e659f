"""The lake: Delta tables below one root, with idempotent commits that carry their checkpoints.

A load is one commit. Delta checks a commit against those that came in between: commits to different
partitions go through side by side; what depends on rows another one changed fails, and is done anew here.
Two cases Delta lets pass are closed: a load id is looked up before every try, since Delta does not refuse
a repeat; and whatever replaces or rewrites a whole table commits only if nothing else was committed since
it was opened, because Delta would let two of them on an empty table both pass and keep the rows of both."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute
from deltalake import CommitProperties, DeltaTable

from superinsight_sync.core.arrow_values import texts
from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.lake import delta_maintenance as maintenance
from superinsight_sync.lake.blob_opening import open_blobs
from superinsight_sync.lake.delta_compaction import tidy
from superinsight_sync.lake.delta_errors import storage_errors, until_committed
from superinsight_sync.lake.delta_log import (
    CHECKPOINT_APP,
    HASH_PROPERTY,
    VERB_KEY,
    CommitLog,
    landed,
    versions,
)
from superinsight_sync.lake.delta_merge import (
    JoinedRows,
    MergeCounts,
    MergeKey,
    Staged,
    check_keys,
    merge_from_memory,
    merged_schema,
)
from superinsight_sync.lake.delta_table import Address, arrow_schema, in_list, without_date_bounds
from superinsight_sync.lake.delta_write import (
    commit_files,
    commit_nothing,
    commit_whole,
    keeps_partitioning,
    new_files,
    write_repartitioned,
)
from superinsight_sync.lake.landing import Landing, fitted_schema
from superinsight_sync.lake.locations import checked_path, storage_options, table_address
from superinsight_sync.lake.staged_rows import brought_to_rest
from superinsight_sync.lake.store import ReadBatches, TableVersion
from superinsight_sync.lake.system_columns import row_hash_algorithm
from superinsight_sync.lake.types import storable_schema
from superinsight_sync.model.tables import LOAD_ID, PARTITION, Checkpoint, Commit, CommitResult, TableRef

if TYPE_CHECKING:
    import pyarrow.dataset

_log = logging.getLogger(__name__)
_Write = Callable[[DeltaTable, Landing, pa.Schema], CommitResult]


class DeltaStore:
    """Implements `lake.store.Store` on Delta Lake.

    Args:
        root_url: a local path or ``s3://bucket/prefix``.
        storage_options: deltalake's options, over those the environment gives (``AWS_*`` for S3).
        scratch_dir: for rows on their way; None: the system's temporary folder.
    """

    def __init__(
        self,
        root_url: str,
        storage_options_: Mapping[str, str] | None = None,
        scratch_dir: Path | None = None,
    ) -> None:
        self._scratch_dir = scratch_dir
        self._root_url = root_url
        self._options = storage_options(root_url, storage_options_)
        self._blobs = open_blobs(root_url, self._options)

    # landing

    def replace(
        self, table: TableRef, read: ReadBatches, commit: Commit, *, partitions: Sequence[str] | None = None
    ) -> CommitResult:
        keys = None if partitions is None else list(partitions)

        def write(opened: DeltaTable, landing: Landing, schema: pa.Schema) -> CommitResult:
            if keys is not None and PARTITION not in schema.names:
                raise ConfigError(
                    f"the rows have no {PARTITION} column to replace partitions by", where=str(table)
                )
            if not keeps_partitioning(opened, schema):
                self._repartition(table, opened, landing, (schema, keys), commit)
                return _result(opened, landing)
            made = new_files(opened, self._blobs, table.path, schema)
            files = landing.files(made, partitions=keys, where=str(table))
            properties = self._log(table).properties("replace", commit, rows=landing.rows, serial=True)
            if keys is None:
                commit_whole(opened, files, properties)
            else:
                commit_files(opened, files, properties, partitions=keys)
            landing.keep_files()
            return _result(opened, landing)

        def noting_hash(opened: DeltaTable, landing: Landing, schema: pa.Schema) -> CommitResult:
            done = write(opened, landing, schema)
            if opened.metadata().configuration.get(HASH_PROPERTY) != row_hash_algorithm():
                maintenance.set_row_hash(opened, row_hash_algorithm())
            return done

        if keys is not None:
            return self._land(table, read, commit, write)
        return self._land(table, read, commit, noting_hash, whole=True)

    def _repartition(
        self,
        table: TableRef,
        opened: DeltaTable,
        landing: Landing,
        wanted: tuple[pa.Schema, list[str] | None],
        commit: Commit,
    ) -> None:
        schema, keys = wanted
        fitted = landing.fitted(schema, partitions=keys, where=str(table))
        with brought_to_rest(fitted, self._scratch_dir) as rows:
            properties = self._log(table).properties("replace", commit, serial=keys is None)
            write_repartitioned(opened, rows, properties, keys)

    def append(self, table: TableRef, read: ReadBatches, commit: Commit) -> CommitResult:
        def write(opened: DeltaTable, landing: Landing, schema: pa.Schema) -> CommitResult:
            files = landing.files(new_files(opened, self._blobs, table.path, schema), where=str(table))
            commit_files(opened, files, self._log(table).properties("append", commit, rows=landing.rows))
            landing.keep_files()
            return _result(opened, landing)

        return self._land(table, read, commit, write)

    def merge(
        self,
        table: TableRef,
        read: ReadBatches,
        commit: Commit,
        *,
        keys: Sequence[str],
        newest_by: str | None = None,
    ) -> CommitResult:
        def write(opened: DeltaTable, landing: Landing, schema: pa.Schema) -> CommitResult:
            check_keys(keys, schema, str(table))
            key = MergeKey(tuple(keys), newest_by if newest_by in schema.names else None)
            _warn_of_other_hash(opened, str(table))
            rows = landing.fitted(schema, partitions=None, where=str(table))
            with Staged(landing, rows, key, self._scratch_dir) as staged:
                if staged.table is None:
                    return self._merge_staged(table, commit, staged, landing)
                counts = self._merge_chunk(table, opened, commit, staged)
            return _result(opened, landing, counts)

        return self._land(table, read, commit, write)

    def _merge_chunk(
        self, table: TableRef, opened: DeltaTable, commit: Commit, staged: Staged
    ) -> MergeCounts:
        properties = self._log(table).properties("merge", commit)
        counts = merge_from_memory(opened, staged, properties)
        if not landed(opened, commit.load_id):
            commit_nothing(opened, properties)
        return counts

    def _merge_staged(
        self, table: TableRef, commit: Commit, staged: Staged, landing: Landing
    ) -> CommitResult:
        def attempt() -> CommitResult:
            opened = self._address(table).create(staged.schema)
            if landed(opened, commit.load_id):
                return self._repeated(opened, commit.load_id)
            schema = merged_schema(arrow_schema(opened), staged.schema)
            joined = JoinedRows(staged, opened.to_pyarrow_dataset(), schema)
            with storage_errors(str(table)), Landing(joined.reader) as whole:
                whole.open()
                made = new_files(opened, self._blobs, table.path, schema)
                files = whole.files(made, where=str(table))
                log = self._log(table)
                changed = joined.inserted + joined.updated
                commit_whole(opened, files, log.properties("merge", commit, rows=changed, serial=True))
                whole.keep_files()
            return _result(opened, landing, MergeCounts(joined.inserted, joined.updated))

        return until_committed(attempt)

    def _land(
        self, table: TableRef, read: ReadBatches, commit: Commit, write: _Write, *, whole: bool = False
    ) -> CommitResult:
        """Tries until the commit is in: opens the table anew, looks for the load, reads again if it must."""
        address = self._address(table)

        def attempt(landing: Landing) -> CommitResult:
            opened = address.open()
            if opened is not None and landed(opened, commit.load_id):
                return self._repeated(opened, commit.load_id)
            incoming = landing.open()
            stored = storable_schema(incoming)
            if opened is None:
                opened = address.create(stored)
                if landed(opened, commit.load_id):
                    return self._repeated(opened, commit.load_id)
            if not whole:
                stored = fitted_schema(incoming, arrow_schema(opened), str(table))
            with _first_cause(landing), storage_errors(str(table)):
                done = write(opened, landing, stored)
            tidy(opened, self._log(table), str(table))
            return done

        with Landing(read) as landing:
            return until_committed(lambda: attempt(landing))

    def _repeated(self, opened: DeltaTable, load_id: str) -> CommitResult:
        found = next((v for v in versions(opened, None) if v.load_id == load_id), None)
        rows = (found.rows or 0) if found else 0
        return CommitResult(found.version if found else opened.version(), rows, 0, repeated=True)

    # reading

    def row_hash(self, table: TableRef) -> str | None:
        """The algorithm of the table's `_sis_hash` when the table was last made anew."""
        found: str | None = self._address(table).opened().metadata().configuration.get(HASH_PROPERTY)
        return found

    def scan(
        self,
        table: TableRef,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        load_ids: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        opened = self._address(table).opened(version)
        schema = arrow_schema(opened)
        wanted = [(PARTITION, partitions), (LOAD_ID, load_ids)]
        used = [*(columns or []), *(name for name, values in wanted if values is not None)]
        if unknown := [name for name in used if name not in schema.names]:
            raise ConfigError(
                f"there are no columns {unknown}", where=str(table), hint=f"There are {schema.names}"
            )
        where = " AND ".join(in_list(name, list(values)) for name, values in wanted if values is not None)
        names = list(columns) if columns is not None else schema.names
        target = pa.schema([schema.field(name) for name in names])
        with storage_errors(str(table)):
            found = pa.RecordBatchReader.from_stream(opened.scan(columns=names, predicate=where or None))
        return pa.RecordBatchReader.from_batches(target, self._scanned(table, found, target))

    def _scanned(
        self, table: TableRef, found: pa.RecordBatchReader, target: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        with storage_errors(str(table)):
            for batch in found:
                arrays = [batch.column(f.name).cast(f.type) for f in target]
                yield pa.RecordBatch.from_arrays(arrays, schema=target)

    def dataset(self, table: TableRef, *, version: int | None = None) -> "pyarrow.dataset.Dataset":
        opened = self._address(table).opened(version)
        with storage_errors(str(table)):
            try:
                return opened.to_pyarrow_dataset()
            except ValueError:
                return without_date_bounds(opened)

    def exists(self, table: TableRef) -> bool:
        return self.version(table) is not None

    def schema(self, table: TableRef) -> pa.Schema:
        return arrow_schema(self._address(table).opened())

    def version(self, table: TableRef) -> int | None:
        opened = self._address(table).open()
        return opened.version() if opened is not None and opened.version() > 0 else None

    def count(self, table: TableRef, *, partitions: Sequence[str] | None = None) -> int:
        opened = self._address(table).open()
        if opened is None:
            return 0
        if partitions is not None and opened.metadata().partition_columns != [PARTITION]:
            return sum(len(b) for b in self.scan(table, columns=[LOAD_ID], partitions=partitions))
        with storage_errors(str(table)):
            files = pa.RecordBatchReader.from_stream(opened.get_add_actions(flatten=True)).read_all()
        if partitions is not None:
            keys = texts(list(partitions))
            files = files.filter(
                pyarrow.compute.is_in(files[f"partition.{PARTITION}"].cast(pa.string()), keys)
            )
        return int(pyarrow.compute.sum(files["num_records"]).as_py() or 0)

    # checkpoints

    def checkpoint(self, table: TableRef, partition: str = "") -> Checkpoint | None:
        opened = self._address(table).open()
        return None if opened is None else self._log(table).checkpoint(opened, partition)

    def checkpoints(self, table: TableRef) -> Mapping[str, Checkpoint]:
        opened = self._address(table).open()
        return {} if opened is None else self._log(table).checkpoints(opened.version())

    def set_checkpoint(self, table: TableRef, checkpoint: Checkpoint | None, partition: str = "") -> None:
        from deltalake import Transaction

        def attempt() -> None:
            opened = self._address(table).open()
            if opened is None and checkpoint is None:
                return
            if opened is None:
                raise ConfigError(
                    "there is no such table", where=str(table), hint="Load the stream once first"
                )
            mark = [Transaction(CHECKPOINT_APP + partition, 0)]
            if checkpoint is not None:
                mark = self._log(table).staged({partition: checkpoint})
            with storage_errors(str(table)):
                commit_nothing(opened, CommitProperties({VERB_KEY: "set_checkpoint"}, None, mark))

        until_committed(attempt)

    # history

    def history(self, table: TableRef, limit: int = 100) -> list[TableVersion]:
        opened = self._address(table).open()
        return [] if opened is None else [v for v in versions(opened, limit) if v.version > 0]

    def loads_since(self, table: TableRef, version: int) -> list[str] | None:
        opened = self._address(table).open()
        return [] if opened is None else maintenance.loads_since(opened, version)

    def rollback(self, table: TableRef, load_id: str) -> int:
        return until_committed(lambda: maintenance.rollback(self._address(table), self._log(table), load_id))

    def maintain(self, table: TableRef, *, retention: timedelta) -> Mapping[str, int]:
        if not self.exists(table):
            return {}
        return maintenance.maintain(self._address(table), self._log(table), retention)

    def expire(self, table: TableRef, *, older_than: datetime) -> int:
        return until_committed(lambda: maintenance.expire(self._address(table), older_than))

    def tables(self, tenant: str | None = None) -> Iterator[TableRef]:
        yield from maintenance.tables(self._root_url, self._options, tenant)

    def drop(self, table: TableRef) -> None:
        self._blobs.delete(checked_path(table.path))

    def _address(self, table: TableRef) -> Address:
        return Address(table_address(self._root_url, table.path), self._options, str(table))

    def _log(self, table: TableRef) -> CommitLog:
        return CommitLog(self._blobs, table.path)


def _warn_of_other_hash(opened: DeltaTable, name: str) -> None:
    made_by = opened.metadata().configuration.get(HASH_PROPERTY)
    if made_by != row_hash_algorithm():
        _log.warning(
            "%s: its rows were hashed by %s, new ones are by %s, so a merge updates every row it meets once; "
            "a full refresh ends that",
            name,
            made_by,
            row_hash_algorithm(),
        )


@contextmanager
def _first_cause(landing: Landing) -> Iterator[None]:
    """Raises what stopped the read instead of what Delta made of it."""
    try:
        yield
    except SisError:
        if landing.error is not None:
            raise landing.error from None
        raise


def _result(table: DeltaTable, landing: Landing, counts: MergeCounts | None = None) -> CommitResult:
    inserted = landing.rows if counts is None else counts.inserted
    return CommitResult(
        version=table.version(),
        rows=landing.rows,
        size_bytes=landing.size_bytes,
        rows_inserted=inserted,
        rows_updated=counts.updated if counts else 0,
    )

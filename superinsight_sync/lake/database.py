"""The `database` save strategy: a stream's rows in a table of a PostgreSQL database."""

import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from psycopg import sql

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.database_connection import connected, libpq_dsn
from superinsight_sync.lake.database_journal import Journal, tables_in
from superinsight_sync.lake.database_scan import open_scan
from superinsight_sync.lake.database_sql import Staged, Target, merge_columns_missing, select
from superinsight_sync.lake.database_types import StoredColumn
from superinsight_sync.lake.loads import loads_in
from superinsight_sync.lake.store import ReadBatches, TableVersion
from superinsight_sync.model.tables import (
    EXTRACTED_AT,
    LOAD_ID,
    PARTITION,
    Checkpoint,
    Commit,
    CommitResult,
    TableRef,
)

_Land = Callable[[Target, Staged], CommitResult]
_NAME_LIMIT_BYTES = 63


def default_place(table: TableRef) -> tuple[str, str]:
    """Schema and name of a table that `save.table` does not name."""
    schema = table.source if table.tenant == "default" else f"{table.tenant}__{table.source}"
    return schema, table.stream if table.stage == "refined" else f"{table.stream}_{table.stage}"


class DatabaseStore:
    """Tables in PostgreSQL (15 or newer), by bulk load.

    A write streams the read by binary COPY into a temporary table, outside of any lock, and then, in one
    transaction that only one writer of the table holds at a time, changes the rows and writes load id and
    checkpoints beside them (`_sis_loads`, `_sis_checkpoints` in the same schema). So runs read side by side,
    readers see the old rows or the new ones and never wait for rows, and a kill leaves the old ones. Only a
    new or wider column takes a short exclusive lock.

    Tables are `<source>.<stream>` for the refined and `<source>.<stream>_raw` for the raw rows, with
    `<tenant>__` before the schema of a tenant that is not `default`. Types: see `database_types`.
    Only the newest version is kept: `scan(version=…)` of an older one raises ConfigError, and so does the
    rollback of a load that updated or deleted rows.

    Args:
        dsn: ``postgresql://user:password@host:5432/database`` (SQLAlchemy driver names are taken) or
            key-value. Another database raises ConfigError.
        tables: ``schema.table`` (or ``table``, in `public`) by source and stream; else the default.
        scratch_dir: for copies that engines read; None: the system's temporary folder.
    """

    def __init__(
        self,
        dsn: str,
        *,
        tables: Mapping[tuple[str, str], str] | None = None,
        scratch_dir: Path | None = None,
    ) -> None:
        self._dsn = libpq_dsn(dsn)
        self._scratch_dir = scratch_dir
        self._named = dict(tables or {})

    def place(self, table: TableRef) -> tuple[str, str]:
        """Schema and name of the table. Raises ConfigError for a name that cannot be used."""
        named = self._named.get((table.source, table.stream))
        if named:
            schema, found, name = named.partition(".")
            schema, name = (schema, name) if found else ("public", schema)
        else:
            schema, name = default_place(table)
        wrong = [n for n in (schema, name) if not n or "%" in n or len(n.encode()) > _NAME_LIMIT_BYTES]
        if wrong:
            raise ConfigError(
                f"'{wrong[0]}' cannot name a table: empty, with a % or more than {_NAME_LIMIT_BYTES} bytes",
                where=str(table),
                hint="Name one in save.table, as schema.table",
            )
        return schema, name

    def replace(
        self, table: TableRef, read: ReadBatches, commit: Commit, *, partitions: Sequence[str] | None = None
    ) -> CommitResult:
        def land(target: Target, staged: Staged) -> CommitResult:
            if partitions is None:
                deleted = target.delete_all()
                target.adopt(staged)
            else:
                target.check_partitions(staged, partitions)
                target.evolve(staged)
                deleted = target.delete_partitions(partitions)
            return _result(staged, target.insert_all(staged), deleted=deleted)

        return self._write(table, read, commit, "replace", land)

    def append(self, table: TableRef, read: ReadBatches, commit: Commit) -> CommitResult:
        def land(target: Target, staged: Staged) -> CommitResult:
            target.evolve(staged)
            return _result(staged, target.insert_all(staged))

        return self._write(table, read, commit, "append", land)

    def merge(
        self,
        table: TableRef,
        read: ReadBatches,
        commit: Commit,
        *,
        keys: Sequence[str],
        newest_by: str | None = None,
    ) -> CommitResult:
        def land(target: Target, staged: Staged) -> CommitResult:
            missing = merge_columns_missing(staged, keys)
            if missing or not keys:
                raise ConfigError(
                    f"a merge needs the columns {', '.join(missing) or 'of a primary key'}",
                    where=str(table),
                    hint="Name a primary_key whose columns the stream has",
                )
            target.evolve(staged)
            inserted, updated = target.merge(staged, keys, newest_by)
            return _result(staged, inserted, updated=updated)

        return self._write(table, read, commit, "merge", land)

    def scan(
        self,
        table: TableRef,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        load_ids: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        with self._journal(table) as journal:
            newest = self._existing(journal)
            if version is not None and version != newest:
                raise ConfigError(
                    f"version {version} is not kept; a database holds its newest one, {newest}, only",
                    where=str(table),
                    hint="Use save: persistent to read older versions",
                )
            stored = self._columns(journal)
        names = [c.name for c in stored]
        needed = [*(columns or ()), *([PARTITION] if partitions is not None else [])]
        unknown = sorted(set(needed) - set(names))
        if unknown:
            raise ConfigError(f"there are no columns {unknown}", where=str(table), hint=f"There are {names}")
        wanted = stored if columns is None else [stored[names.index(c)] for c in columns]
        query = select(journal.target, wanted, partitions=partitions, load_ids=load_ids)
        return open_scan(self._dsn, query, wanted, str(table))

    def dataset(self, table: TableRef, *, version: int | None = None) -> pyarrow.dataset.Dataset:
        """A copy of the rows in a temporary Parquet file that goes away with the dataset."""
        if self._scratch_dir is not None:
            self._scratch_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=self._scratch_dir, prefix="table-", suffix=".parquet", delete=False
        ) as file:
            path = Path(file.name)
        try:
            with (
                self.scan(table, version=version) as reader,
                pyarrow.parquet.ParquetWriter(path, reader.schema, compression="zstd") as out,
            ):
                for batch in reader:
                    out.write_batch(batch)
            found = pyarrow.dataset.dataset(path, format="parquet")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        weakref.finalize(found, path.unlink, missing_ok=True)
        return found

    def exists(self, table: TableRef) -> bool:
        return self.version(table) is not None

    def schema(self, table: TableRef) -> pa.Schema:
        with self._journal(table) as journal:
            self._existing(journal)
            return pa.schema([pa.field(c.name, c.arrow) for c in self._columns(journal)])

    def version(self, table: TableRef) -> int | None:
        with self._journal(table) as journal:
            return journal.version()

    def count(self, table: TableRef, *, partitions: Sequence[str] | None = None) -> int:
        with self._journal(table) as journal:
            if journal.version() is None:
                return 0
            query = sql.SQL("SELECT count(*) FROM {}").format(journal.target)
            if partitions is not None:
                query += sql.SQL(" WHERE {} = ANY(%s)").format(sql.Identifier(PARTITION))
            values = None if partitions is None else [list(partitions)]
            found = journal.connection.execute(query, values).fetchone()
            return int(found[0]) if found else 0

    def checkpoint(self, table: TableRef, partition: str = "") -> Checkpoint | None:
        return self.checkpoints(table).get(partition)

    def set_checkpoint(self, table: TableRef, checkpoint: Checkpoint | None, partition: str = "") -> None:
        if checkpoint is None and not self.exists(table):
            return
        with self._changing(table) as journal:
            journal.set_checkpoint(partition, checkpoint)

    def checkpoints(self, table: TableRef) -> Mapping[str, Checkpoint]:
        with self._journal(table) as journal:
            return {} if journal.version() is None else journal.checkpoints()

    def history(self, table: TableRef, limit: int = 100) -> list[TableVersion]:
        with self._journal(table) as journal:
            return [] if journal.version() is None else journal.history(limit)

    def loads_since(self, table: TableRef, version: int) -> list[str] | None:
        with self._journal(table) as journal:
            newest = journal.version()
            if newest is None or version > newest:
                return None
            later = [v for v in journal.history(newest - version) if v.version > version]
            return loads_in(later) if len(later) == newest - version else None

    def rollback(self, table: TableRef, load_id: str) -> int:
        """Deletes the load's rows and puts the checkpoints back, if the load only added rows."""
        with self._changing(table) as journal:
            load = journal.load(load_id)
            if load is None:
                raise ConfigError(
                    f"the load '{load_id}' is not part of the table", where=str(table), hint="See its history"
                )
            later = journal.later_loads(load.version)
            if later:
                raise ConfigError(
                    f"load {load_id} is not the newest one; later: {', '.join(later)}",
                    where=str(table),
                    hint="Roll those back first",
                )
            query = sql.SQL("DELETE FROM {} WHERE {} = %s").format(journal.target, sql.Identifier(LOAD_ID))
            if not load.only_added or (
                load.result.rows and journal.connection.execute(query, [load_id]).rowcount != load.result.rows
            ):
                raise ConfigError(
                    f"load {load_id} updated or deleted rows, of which a database keeps no earlier version",
                    where=str(table),
                    hint="Run the stream again, or use save: persistent",
                )
            journal.undo_from(load.version)
            done = CommitResult(journal.next_version(), 0, 0, rows_deleted=load.result.rows)
            journal.write("rollback", done)
            return done.version

    def tables(self, tenant: str | None = None) -> Iterator[TableRef]:
        """Every table that a store of ours wrote in this database."""
        with connected(self._dsn, "save: database") as connection:
            paths = tables_in(connection)
        found = (TableRef(*path.split("/")) for path in paths)  # type: ignore[arg-type]
        return iter(sorted(t for t in found if tenant in (None, t.tenant)))

    def maintain(self, table: TableRef, *, retention: timedelta) -> Mapping[str, int]:
        """Gives the space of deleted rows back for use. Nothing older is kept, whatever `retention`."""
        with self._journal(table) as journal:
            if journal.version() is None:
                return {}
            journal.connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(journal.target))
            return {"tables_vacuumed": 1}

    def expire(self, table: TableRef, *, older_than: datetime) -> int:
        if not self.exists(table):
            return 0
        with self._changing(table) as journal:
            query = sql.SQL("DELETE FROM {} WHERE {} < %s")
            found = journal.connection.execute(
                query.format(journal.target, sql.Identifier(EXTRACTED_AT)), [older_than]
            )
            if found.rowcount:
                done = CommitResult(journal.next_version(), 0, 0, rows_deleted=found.rowcount)
                journal.write("expire", done)
            return found.rowcount

    def drop(self, table: TableRef) -> None:
        with self._journal(table) as journal, journal.connection.transaction():
            journal.lock()
            if journal.version() is not None:
                journal.connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(journal.target))
                journal.forget()

    def _write(
        self, table: TableRef, read: ReadBatches, commit: Commit, operation: str, land: _Land
    ) -> CommitResult:
        with self._journal(table) as journal:
            landed = journal.load(commit.load_id)
            if landed:
                return landed.result
            journal.set_up()
            target = Target(journal.connection, journal.target, str(table))
            with read() as reader:
                staged = target.stage(reader)
            with journal.connection.transaction():
                journal.lock()
                landed = journal.load(commit.load_id)
                if landed:
                    return landed.result
                journal.register()
                if not journal.table_exists():
                    target.create()
                done = replace(land(target, staged), version=journal.next_version())
                journal.write(operation, done, commit)
            return done

    @contextmanager
    def _journal(self, table: TableRef) -> Iterator[Journal]:
        schema, name = self.place(table)
        with connected(self._dsn, str(table)) as connection:
            yield Journal(connection, table, schema, name)

    @contextmanager
    def _changing(self, table: TableRef) -> Iterator[Journal]:
        """The journal of a table that exists, in a transaction that nobody else writes in."""
        with self._journal(table) as journal, journal.connection.transaction():
            journal.lock()
            self._existing(journal)
            yield journal

    def _existing(self, journal: Journal) -> int:
        version = journal.version()
        if version is None:
            raise ConfigError(
                f"there is no such table of ours in the target database ({journal.schema}.{journal.name})",
                where=str(journal.table),
                hint="Run the stream first",
            )
        return version

    def _columns(self, journal: Journal) -> list[StoredColumn]:
        return Target(journal.connection, journal.target, str(journal.table)).columns()


def _result(staged: Staged, inserted: int, *, updated: int = 0, deleted: int = 0) -> CommitResult:
    return CommitResult(0, inserted + updated, staged.size_bytes, inserted, updated, deleted)

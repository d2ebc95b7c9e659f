"""The `memory` save strategy: Arrow kept in this process, for the run's next steps only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock, RLock
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.loads import loads_in
from superinsight_sync.lake.memory_rows import aligned, check_partitions, evolved, merged, own, rows_where
from superinsight_sync.lake.store import ReadBatches, TableVersion
from superinsight_sync.lake.types import cast_batch, storable_schema
from superinsight_sync.model.tables import (
    EXTRACTED_AT,
    LOAD_ID,
    PARTITION,
    Checkpoint,
    Commit,
    CommitResult,
    TableRef,
)


@dataclass(frozen=True)
class _State:
    """A table at one version. A write makes the next one, so a failed write changes nothing."""

    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    history: tuple[TableVersion, ...] = ()
    results: Mapping[str, CommitResult] = field(default_factory=dict)
    before: "_State | None" = None
    """The state before, if the last load only added rows: the batches are shared, so it costs nothing."""

    @property
    def version(self) -> int:
        return self.history[-1].version if self.history else 0

    @property
    def size_bytes(self) -> int:
        return sum(b.nbytes for b in self.batches)

    @property
    def rows(self) -> int:
        return sum(b.num_rows for b in self.batches)

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches, self.schema)


class _Run:
    """What all stores of one run share."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.states: dict[TableRef, _State] = {}
        self.stores: dict[int, MemoryStore] = {}


_Change = Callable[[_State | None, pa.Table], tuple[_State, CommitResult]]
_EMPTY = _State(pa.schema([]), ())


class MemoryLimitError(ConfigError):
    """A write would hold more than the limit in memory."""


class MemoryStore:
    """Tables as Arrow batches in this process, gone with the run.

    Only the newest version is kept, so `scan(version=…)` of an older one and the rollback of a load that
    rewrote rows raise ConfigError. Types are the lake's (`lake.types`); sizes are Arrow's `nbytes`.

    Args:
        limit_bytes: most bytes one table may hold. A write that would pass it raises ConfigError and leaves
            the table as it was.
    """

    _runs: ClassVar[dict[str, _Run]] = {}
    _runs_lock: ClassVar[Lock] = Lock()

    def __init__(self, limit_bytes: int, *, _run: _Run | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._run = _run or _Run()

    @classmethod
    def for_run(cls, run_id: str, limit_bytes: int) -> "MemoryStore":
        """The run's store in this process: the same one each time, until `release_run`.

        Stores of one run with different limits see the same tables.
        """
        with cls._runs_lock:
            run = cls._runs.setdefault(run_id, _Run())
            store = run.stores.get(limit_bytes)
            if store is None:
                store = run.stores[limit_bytes] = cls(limit_bytes, _run=run)
            return store

    @classmethod
    def release_run(cls, run_id: str) -> None:
        """Frees everything kept for the run, also through stores that are still held. No error if unknown."""
        with cls._runs_lock:
            run = cls._runs.pop(run_id, None)
        if run is not None:
            with run.lock:
                run.states.clear()
                run.stores.clear()

    def replace(
        self, table: TableRef, read: ReadBatches, commit: Commit, *, partitions: Sequence[str] | None = None
    ) -> CommitResult:
        def whole(old: _State | None, new: pa.Table) -> tuple[_State, CommitResult]:
            before = old or _EMPTY
            state = replace(before, schema=new.schema, batches=_batches(new))
            return state, self._result(new, deleted=before.rows)

        def some(old: _State | None, new: pa.Table) -> tuple[_State, CommitResult]:
            before = old or _EMPTY
            check_partitions(table, new, partitions or ())
            kept = rows_where(before.table(), PARTITION, partitions or (), table, keep=False)
            schema = evolved(table, before.schema, new.schema)
            rows = pa.concat_tables([aligned(kept, schema), aligned(new, schema)])
            done = self._result(new, deleted=before.rows - kept.num_rows)
            return replace(before, schema=schema, batches=_batches(rows)), done

        return self._write(table, read, commit, "replace", whole if partitions is None else some)

    def append(self, table: TableRef, read: ReadBatches, commit: Commit) -> CommitResult:
        def change(old: _State | None, new: pa.Table) -> tuple[_State, CommitResult]:
            before = old or _EMPTY
            schema = evolved(table, before.schema, new.schema)
            if schema != before.schema:
                before = replace(before, schema=schema, batches=_batches(aligned(before.table(), schema)))
            batches = (*before.batches, *_batches(aligned(new, schema)))
            return replace(before, batches=batches), self._result(new)

        return self._write(table, read, commit, "append", change)

    def merge(
        self,
        table: TableRef,
        read: ReadBatches,
        commit: Commit,
        *,
        keys: Sequence[str],
        newest_by: str | None = None,
    ) -> CommitResult:
        def change(old: _State | None, new: pa.Table) -> tuple[_State, CommitResult]:
            before = old or _EMPTY
            rows, inserted, updated = merged(table, before.table(), new, keys, newest_by)
            done = CommitResult(0, inserted + updated, new.nbytes, inserted, updated)
            return replace(before, schema=rows.schema, batches=_batches(rows)), done

        return self._write(table, read, commit, "merge", change)

    def scan(
        self,
        table: TableRef,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        load_ids: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        state = self._at(table, version)
        schema = state.schema
        if columns is not None:
            unknown = sorted(set(columns) - set(schema.names))
            if unknown:
                raise ConfigError(
                    f"there are no columns {unknown}", where=str(table), hint=f"There are {schema.names}"
                )
            schema = pa.schema([schema.field(c) for c in columns], schema.metadata)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in state.batches:
                found = batch
                for column, wanted in ((PARTITION, partitions), (LOAD_ID, load_ids)):
                    if wanted is not None:
                        found = rows_where(found, column, wanted, table)
                yield found if columns is None else found.select(list(columns))

        return pa.RecordBatchReader.from_batches(schema, batches())

    def dataset(self, table: TableRef, *, version: int | None = None) -> pyarrow.dataset.Dataset:
        return pyarrow.dataset.dataset(self._at(table, version).table())

    def exists(self, table: TableRef) -> bool:
        return table in self._run.states

    def schema(self, table: TableRef) -> pa.Schema:
        return self._at(table).schema

    def version(self, table: TableRef) -> int | None:
        state = self._run.states.get(table)
        return state.version if state else None

    def count(self, table: TableRef, *, partitions: Sequence[str] | None = None) -> int:
        state = self._run.states.get(table)
        if state is None or partitions is None:
            return state.rows if state else 0
        return int(rows_where(state.table(), PARTITION, partitions, table).num_rows)

    def size_bytes(self, table: TableRef) -> int:
        """Bytes the table holds now; 0 if there is none."""
        state = self._run.states.get(table)
        return state.size_bytes if state else 0

    def checkpoint(self, table: TableRef, partition: str = "") -> Checkpoint | None:
        return self.checkpoints(table).get(partition)

    def set_checkpoint(self, table: TableRef, checkpoint: Checkpoint | None, partition: str = "") -> None:
        with self._run.lock:
            if checkpoint is None and not self.exists(table):
                return
            state = self._at(table)
            points = {k: v for k, v in state.checkpoints.items() if k != partition}
            if checkpoint is not None:
                points[partition] = checkpoint
            changed = replace(state, checkpoints=points, before=state)
            self._run.states[table] = _logged(changed, "set_checkpoint", state.version + 1)

    def checkpoints(self, table: TableRef) -> Mapping[str, Checkpoint]:
        state = self._run.states.get(table)
        return dict(state.checkpoints) if state else {}

    def history(self, table: TableRef, limit: int = 100) -> list[TableVersion]:
        state = self._run.states.get(table)
        return list(reversed(state.history))[:limit] if state else []

    def loads_since(self, table: TableRef, version: int) -> list[str] | None:
        state = self._run.states.get(table)
        if state is None or version > state.version:
            return None
        return loads_in(v for v in state.history if v.version > version)

    def rollback(self, table: TableRef, load_id: str) -> int:
        with self._run.lock:
            current = self._at(table)
            entries = {v.load_id: v for v in current.history if v.load_id in current.results}
            if load_id not in entries:
                raise ConfigError(
                    f"the load '{load_id}' is not part of the table", where=str(table), hint="See its history"
                )
            version = entries[load_id].version
            later = [v.load_id for v in current.history if v.version > version and v.load_id and v.rows]
            if later:
                raise ConfigError(
                    f"load {load_id} is not the newest one; later: {', '.join(later)}",
                    where=str(table),
                    hint="Roll those back first",
                )
            state: _State | None = current
            while state is not None and state.version >= version:
                state = state.before
            if state is None:
                raise ConfigError(
                    f"load {load_id} rewrote rows, and memory keeps no earlier version",
                    where=str(table),
                    hint="Run the stream again, or use save: persistent",
                )
            restored = replace(state, history=current.history)
            self._run.states[table] = _logged(restored, "rollback", current.version + 1)
            return current.version + 1

    def tables(self, tenant: str | None = None) -> Iterator[TableRef]:
        return iter(sorted(t for t in list(self._run.states) if tenant in (None, t.tenant)))

    def maintain(self, table: TableRef, *, retention: timedelta) -> Mapping[str, int]:
        """Joins small batches into one. Nothing is removed: only the newest version is kept anyway."""
        with self._run.lock:
            if not self.exists(table):
                return {}
            state = self._at(table)
            rows = state.table().combine_chunks()
            self._run.states[table] = replace(state, batches=tuple(rows.to_batches()), before=None)
            return {"batches_compacted": len(state.batches)}

    def expire(self, table: TableRef, *, older_than: datetime) -> int:
        with self._run.lock:
            if not self.exists(table):
                return 0
            state = self._at(table)
            rows = state.table()
            fresh = pc.greater_equal(rows[EXTRACTED_AT], pa.scalar(older_than))
            kept = rows.filter(pc.fill_null(fresh, True))
            gone = rows.num_rows - kept.num_rows
            if gone:
                changed = replace(state, batches=_batches(kept), before=None)
                self._run.states[table] = _logged(changed, "expire", state.version + 1)
            return int(gone)

    def drop(self, table: TableRef) -> None:
        with self._run.lock:
            self._run.states.pop(table, None)

    def _at(self, table: TableRef, version: int | None = None) -> _State:
        state = self._run.states.get(table)
        if state is None:
            raise ConfigError(
                "there is no such table in memory",
                where=str(table),
                hint="Memory lasts for one run in one process: run the stream in the same run, "
                "or use save: persistent",
            )
        if version is not None and version != state.version:
            raise ConfigError(
                f"version {version} is not kept; memory holds version {state.version} only",
                where=str(table),
                hint="Use save: persistent to read older versions",
            )
        return state

    def _write(
        self, table: TableRef, read: ReadBatches, commit: Commit, operation: str, change: _Change
    ) -> CommitResult:
        landed = self._landed(table, commit)
        if landed:
            return landed
        new = self._collect(table, read)
        with self._run.lock:
            landed = self._landed(table, commit)
            if landed:
                return landed
            old = self._run.states.get(table)
            state, done = change(old, new)
            if state.size_bytes > self.limit_bytes:
                raise self._too_large(table)
            before = old or _EMPTY
            done = replace(done, version=before.version + 1)
            self._run.states[table] = _logged(
                replace(
                    state,
                    checkpoints={**before.checkpoints, **commit.checkpoints},
                    results={**before.results, commit.load_id: done},
                    before=None if done.rows_updated or done.rows_deleted else before,
                ),
                operation,
                done.version,
                commit=commit,
                rows=done.rows,
            )
            return done

    def _landed(self, table: TableRef, commit: Commit) -> CommitResult | None:
        state = self._run.states.get(table)
        done = state.results.get(commit.load_id) if state else None
        return replace(done, repeated=True) if done else None

    def _collect(self, table: TableRef, read: ReadBatches) -> pa.Table:
        size_bytes, batches = 0, []
        with read() as reader:
            schema = storable_schema(reader.schema)
            for batch in reader:
                kept = cast_batch(own(batch), schema)
                size_bytes += kept.nbytes
                if size_bytes > self.limit_bytes:
                    raise self._too_large(table)
                batches.append(kept)
            return pa.Table.from_batches(batches, schema)

    def _too_large(self, table: TableRef) -> MemoryLimitError:
        return MemoryLimitError(
            f"the rows pass the memory limit of {self.limit_bytes:,} bytes",
            where=str(table),
            hint="Raise `max_memory`, or use save: hybrid (memory below it, the lake above), "
            "persistent (the lake) or database",
        )

    def _result(self, new: pa.Table, *, deleted: int = 0) -> CommitResult:
        return CommitResult(0, new.num_rows, new.nbytes, rows_inserted=new.num_rows, rows_deleted=deleted)


release_run = MemoryStore.release_run


def _logged(
    state: _State, operation: str, version: int, *, commit: Commit | None = None, rows: int | None = None
) -> _State:
    entry = TableVersion(
        version,
        utc_now(),
        operation,
        commit.load_id if commit else None,
        rows,
        dict(commit.metadata) if commit else {},
    )
    return replace(state, history=(*state.history, entry))


def _batches(table: pa.Table) -> tuple[pa.RecordBatch, ...]:
    return tuple(b for b in table.to_batches() if b.num_rows)

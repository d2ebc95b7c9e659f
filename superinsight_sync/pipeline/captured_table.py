"""What a log told of one stream, on its way into the lake: numbered, fitted to the contract, landed."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.capture.protocol import ChangeBatch, Settled, SnapshotStep
from superinsight_sync.core.clock import utc_now
from superinsight_sync.lake.staged_rows import StagedRows
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.lake.types import cast_array, cast_batch, storable_schema
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.tables import (
    COMMITTED_AT,
    OP,
    POSITION,
    SEQ,
    UNCHANGED,
    Checkpoint,
    Commit,
    is_system,
)
from superinsight_sync.pipeline.alert import alert_schema_changed
from superinsight_sync.pipeline.contract import Conformer, drift_between
from superinsight_sync.pipeline.engine import Engine, new_load_id, table_of
from superinsight_sync.pipeline.unreadable import keep_unreadable
from superinsight_sync.pipeline.widening import widen_table

_KEYLESS = ("truncate", "snapshot_begin", "snapshot_end")
_CHANGE = pa.schema(
    [
        pa.field(OP, pa.string()),
        pa.field(POSITION, pa.string()),
        pa.field(COMMITTED_AT, pa.timestamp("us", "UTC")),
        pa.field(UNCHANGED, pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Progress:
    """How far a stream came, as its checkpoint says.

    Attributes:
        position: every change before it has landed.
        seq: the number of the last change that landed.
        anew: how often its snapshot was asked for when it began.
        step: how far the snapshot is; None before it begins.
        unsettled: see `Settled`.
        shape: what the source's columns were when the snapshot began.
    """

    position: str = ""
    seq: int = 0
    anew: int = 0
    step: SnapshotStep | None = None
    unsettled: tuple[int, ...] = ()
    load_id: str | None = None
    shape: str = ""

    @classmethod
    def of(cls, point: Checkpoint | None) -> "Progress":
        if point is None:
            return cls()
        d = point.detail
        after = d.get("after")
        step = None
        if "done" in d:
            again = tuple(tuple(key) for key in d.get("again", ()))
            step = SnapshotStep(None if after is None else tuple(after), bool(d["done"]), again)
        unsettled, shape = tuple(d.get("unsettled", ())), d.get("shape", "")
        return cls(d["position"], d["seq"], d["anew"], step, unsettled, point.load_id, shape)

    @property
    def detail(self) -> dict[str, Any]:
        found: dict[str, Any] = {"position": self.position, "seq": self.seq, "anew": self.anew}
        if self.step is not None:
            after = None if self.step.after is None else list(self.step.after)
            found |= {"after": after, "done": self.step.done}
            if self.step.again:
                found["again"] = [list(key) for key in self.step.again]
        if self.shape:
            found["shape"] = self.shape
        if self.unsettled:
            found["unsettled"] = list(self.unsettled)
        return found


@dataclass(frozen=True)
class LandedChanges:
    """What one commit brought."""

    rows: int
    size_bytes: int
    version: int
    committed_at: datetime | None


class CapturedTable:
    """One stream's changes: those that wait are in memory or, beyond a few megabytes, on disk."""

    def __init__(self, engine: Engine, source: SourceSpec, stream: StreamSpec) -> None:
        self.stream = stream
        self.table = table_of(source, stream, "changes")
        self._engine, self._source = engine, source
        self.progress = Progress.of(
            engine.lake.checkpoint(self.table) if engine.lake.exists(self.table) else None
        )
        self._next = self.progress
        self._held = engine.lake.schema(self.table) if engine.lake.exists(self.table) else None
        self._parts: list[StagedRows] = []
        self._conformers: dict[str, Conformer] = {}
        self._columns: pa.Schema | None = None
        self._files = ExitStack()
        self._load_id = new_load_id()
        self._told: str | None = None

    @property
    def waiting(self) -> int:
        """Rows that have not landed."""
        return sum(part.rows for part in self._parts)

    def forget_position(self) -> None:
        """The log is another one from now on: what it tells has not landed, whatever its positions look like."""
        self.progress = self._next = replace(self.progress, position="", unsettled=())

    def begin_snapshot(self, anew: int, position: str, shape: str) -> None:
        """From here on every record is given once more."""
        self._next = replace(self._next, step=SnapshotStep(), anew=anew, shape=shape)
        self._add_marker("snapshot_begin", position)

    def add(self, batch: ChangeBatch) -> None:
        """Takes changes, and leaves out those that have landed. Raises ConfigError, DataError by the contract."""
        rows = batch.rows
        if (stored := storable_schema(rows.schema)) != rows.schema:
            rows = cast_batch(rows, stored)
        if self.progress.position and rows.num_rows and batch.step is None:
            fresh = pc.greater_equal(rows.column(POSITION), self.progress.position)
            rows = rows.filter(fresh)
        self._stage(rows)
        if batch.step is not None:
            self._columns = rows.schema
            self._next = replace(self._next, step=batch.step)
            if batch.step.done:
                self._add_marker("snapshot_end", self._place(rows))

    def land(self, settled: Settled) -> LandedChanges | None:
        """Commits what waits, with the position; None if nothing does."""
        if not self._parts:
            return None
        point = replace(self._next, position=settled.position, unsettled=settled.unsettled)
        load_id, now = self._load_id, utc_now()
        schema = self._schema()
        self._keep_rejects(load_id)

        def read() -> pa.RecordBatchReader:
            rows = pa.RecordBatchReader.from_batches(schema, self._rows(schema))
            return add_system_columns(rows, load_id=load_id, extracted_at=now)

        commit = Commit(
            load_id,
            {"": Checkpoint(load_id, now, cursor=settled.committed_at, detail=point.detail)},
            {"run_id": self._engine.run_id, "verb": "capture"},
        )
        done = self._engine.change_log.append(self.table, read, commit, following=self.progress.load_id)
        self.progress = self._next = replace(point, load_id=load_id)
        found = LandedChanges(done.rows, done.size_bytes, done.version, settled.committed_at)
        self._files.close()
        self._parts.clear()
        self._conformers.clear()
        self._columns = None
        self._held = self._engine.lake.schema(self.table)
        self._load_id = new_load_id()
        return found

    def close(self) -> None:
        """Forgets what waits."""
        self._files.close()
        self._parts.clear()

    def _place(self, rows: pa.RecordBatch) -> str:
        return rows.column(POSITION)[-1].as_py() if rows.num_rows else self._next.position

    def _stage(self, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        first = self._next.seq + 1
        numbers = pa.array(range(first, first + rows.num_rows), pa.int64())
        self._next = replace(self._next, seq=first + rows.num_rows - 1)
        numbered = rows.append_column(pa.field(SEQ, pa.int64()), numbers)
        keyless = pc.is_in(numbered.column(OP), pa.array(_KEYLESS))
        changes = numbered.filter(pc.invert(keyless))
        conformer = self._conformer(numbered.schema)
        fitted = conformer.conform(changes)
        self._put(fitted)
        if changes.num_rows < numbered.num_rows:
            self._put(_only_system(numbered.filter(keyless), fitted.schema))

    def _add_marker(self, op: str, position: str) -> None:
        self._next = replace(self._next, seq=self._next.seq + 1)
        schema = pa.schema([*_CHANGE, pa.field(SEQ, pa.int64())])
        row = {
            OP: [op],
            POSITION: [position or None],
            COMMITTED_AT: [utc_now()],
            UNCHANGED: [None],
            SEQ: [self._next.seq],
        }
        self._put(pa.RecordBatch.from_pydict(row, schema=schema))

    def _put(self, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        if not self._parts or self._parts[-1].schema != rows.schema:
            staged = StagedRows(rows.schema, self._engine.settings.scratch_dir)
            self._parts.append(self._files.enter_context(staged))
        self._parts[-1].add(rows)

    def _conformer(self, schema: pa.Schema) -> Conformer:
        """By the columns that the changes have. One that differs is told once."""
        name = str(schema)
        if name in self._conformers:
            return self._conformers[name]
        held = self._known()
        drift = drift_between(held, schema) if held is not None else drift_between(schema, schema)
        if drift.mark is not None and drift.mark != self._told:
            alert_schema_changed(self._engine, self._source.name, self.stream.name, drift.texts)
            self._told = drift.mark
        found = self._conformers[name] = Conformer(self.stream, drift)
        if found.widened:
            self._widen(found)
        return found

    def _known(self) -> pa.Schema | None:
        """The table's columns, and those that wait to be added to it."""
        if self._held is None and not self._parts:
            return None
        fields = {f.name: f for f in self._held or ()}
        for part in self._parts:
            for f in storable_schema(part.schema):
                fields.setdefault(f.name, f)
        known = pa.schema(fields.values())
        return known if any(not is_system(n) for n in known.names) else None

    def _widen(self, conformer: Conformer) -> None:
        lake = self._engine.lake
        if lake.exists(self.table):
            types = {n: t for n, t in conformer.widened.items() if n in lake.schema(self.table).names}
            widen_table(lake, self.table, types, self._engine.run_id)
            self._held = lake.schema(self.table)

    def _schema(self) -> pa.Schema:
        """Of all that waits; of a snapshot that found nothing, too."""
        fields: dict[str, pa.Field] = {}
        if self._columns is not None:
            fields = {f.name: f for f in self._conformer(self._columns).schema(self._columns)}
        for part in self._parts:
            for f in part.schema:
                fields[f.name] = f
        for name, kind in ((n, t) for c in self._conformers.values() for n, t in c.widened.items()):
            fields[name] = pa.field(name, kind)
        return pa.schema(fields.values())

    def _rows(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for part in self._parts:
            for batch in part.open():
                arrays = [
                    cast_array(batch.column(f.name), f.type, f.name)
                    if f.name in batch.schema.names
                    else pa.nulls(batch.num_rows, f.type)
                    for f in schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _keep_rejects(self, load_id: str) -> None:
        for conformer in self._conformers.values():
            rejects = conformer.rejects()
            if rejects.num_rows:
                raw = self.table.at("raw")
                keep_unreadable(self._engine, raw, rejects, load_id=load_id, anew=False)


def _only_system(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [rows.column(f.name) if is_system(f.name) else pa.nulls(rows.num_rows, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

"""Following a PostgreSQL log: transactions become batches of their tables, in the log's order."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa

from superinsight_sync.capture.postgres.catalogue import JsonAsker, columns_of, not_in_log, texts_of
from superinsight_sync.capture.postgres.connecting import Address, Connection, LogConnection, driver_errors
from superinsight_sync.capture.postgres.looking import Tables
from superinsight_sync.capture.postgres.messages import (
    UNCHANGED,
    Begin,
    Committed,
    Delete,
    Insert,
    Marked,
    Relation,
    Row,
    Truncate,
    Update,
    message_of,
    moment_of,
)
from superinsight_sync.capture.postgres.rows import CHANGE_FIELDS, TableRows, place_of, place_text
from superinsight_sync.capture.postgres.snapshot import MARK_PREFIX, Chunk, Decoded, Snapshot, visibility
from superinsight_sync.capture.protocol import ChangeBatch, Op, Pace, Reread, Resume, Settled, SnapshotStep
from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.core.stopping import check_stop
from superinsight_sync.databases.postgres_types import Converter
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest

_MOST_UNSETTLED = 200
_ALIVE_S = 5.0
_LOOK_AGAIN_S = 0.05


class PostgresSession:
    """Implements `capture.protocol.Session`.

    Args:
        log: has been started.
        db: for questions, and for snapshots.
        tables: those that are captured.
    """

    def __init__(
        self,
        log: LogConnection,
        db: Connection,
        tables: Tables,
        resume: Resume,
        pace: Pace,
        address: Address,
    ) -> None:
        self._log, self._db, self._pace = log, db, pace
        self._captured, self._streams = tables, tables.streams
        self._looked_at_s = float("-inf")
        self._special = address.special_values
        self._to_json = JsonAsker(address)
        self._decoded = Decoded(resume.unsettled)
        self._position = place_of(resume.position) if resume.position else 0
        self._tables: dict[int, TableRows] = {}
        self._begin: Begin | None = None
        self._place = ""
        self._newest_us: int | None = None
        self._first_at_s = 0.0
        self._in_window = 0
        self._window_s = pace.window_s  # or longer, if landing takes longer: a slow lake gets bigger pieces
        self._ready: list[ChangeBatch] = []
        self._snapshot: Snapshot | None = None
        self._chunk: Chunk | None = None
        self._look_again_at_s = 0.0
        self._locked = threading.Lock()

    # what the pipeline calls

    @property
    def snapshotting(self) -> str | None:
        return self._snapshot.stream.name if self._snapshot else None

    def snapshot(self, stream: StreamSpec, step: SnapshotStep) -> None:
        self._snapshot = Snapshot(self._db, stream, step, self._pace.chunk_rows, self._special)

    def shape(self, stream: StreamSpec) -> str:
        return self._captured.shape(stream)

    def acknowledge(self, position: str) -> None:
        with self._locked:
            self._log.confirm(place_of(position))

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        over = threading.Event()

        def keep() -> None:
            while not over.wait(_ALIVE_S):
                with self._locked, suppress(SisError):  # who reads next is told
                    self._log.stay_alive(_ALIVE_S)

        thread = threading.Thread(target=keep, name="log-alive", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def items(self) -> Iterator[ChangeBatch | Settled | Reread]:
        idle_since_s = time.monotonic()
        while True:
            check_stop()
            if time.monotonic() - self._looked_at_s >= self._pace.look_s:
                yield from self._captured.look()
                self._looked_at_s = time.monotonic()
            self._read_chunk()
            data = self._log.take(self._wait_s())
            if data:
                self._take(data)
                yield from self._given()
            if self._begin is None and self._is_due():
                self._flush()
                yield from self._given()
                given_at_s = time.monotonic()
                yield self._settled()
                idle_since_s = time.monotonic()
                self._window_s = max(self._pace.window_s, idle_since_s - given_at_s)
            elif self._is_idle and time.monotonic() - idle_since_s >= self._pace.idle_s:
                self._position = max(self._position, self._log.sent_lsn)
                yield self._settled()
                idle_since_s = time.monotonic()

    @property
    def _is_idle(self) -> bool:
        return self._begin is None and not self._in_window

    def _wait_s(self) -> float:
        if self._begin is None and self._in_window:
            return max(0.0, self._first_at_s + self._window_s - time.monotonic())
        return self._pace.idle_s if self._snapshot is None else 0.05

    def _is_due(self) -> bool:
        if not self._in_window:
            return False
        old = time.monotonic() - self._first_at_s >= self._window_s
        return old or self._in_window >= self._pace.window_rows

    def _given(self) -> Iterator[ChangeBatch]:
        while self._ready:
            yield self._ready.pop(0)

    def _settled(self) -> Settled:
        if len(self._decoded) > _MOST_UNSETTLED or self._snapshot is not None:
            with driver_errors():
                self._decoded.settle(visibility(self._db))
        newest = None if self._newest_us is None else moment_of(self._newest_us)
        self._in_window, self._newest_us = 0, None
        return Settled(place_text(self._position), newest, self._decoded.unsettled)

    # what the log says

    def _take(self, data: bytes) -> None:
        message = message_of(data)
        match message:
            case Insert(relation, new):
                self._add(relation, "insert", new)
            case Update():
                self._update(message)
            case Delete(relation, old, _):
                self._add(relation, "delete", old)
            case Begin():
                self._begin, self._place = message, place_text(message.lsn)
            case Committed():
                self._commit(message)
            case Relation():
                self._relation(message)
            case Truncate(relations):
                for oid in relations:
                    self._add(oid, "truncate", None)
            case Marked(prefix, content) if prefix == MARK_PREFIX:
                self._marked(content)

    def _commit(self, message: Committed) -> None:
        assert self._begin is not None
        self._decoded.add(self._begin.xid)
        self._position, self._begin = message.end_lsn, None

    def _relation(self, relation: Relation) -> None:
        stream = self._streams.get(relation.oid)
        if stream is None:
            return
        known = self._tables.get(relation.oid)
        if known is not None:
            if known.relation == relation:
                return
            self._flush_table(known)
        _check_key(stream, relation)
        with driver_errors():
            columns = columns_of(self._db, relation)
            absent = not_in_log(self._db, stream)
        if absent & {c.name for c in columns}:  # a publication may tell of them, and of others it does not
            raise ConfigError(
                f"the publication tells of computed columns: {', '.join(sorted(absent))}",
                where=f"stream '{stream.name}'",
                hint="Set publish_generated_columns = none on it",
            )
        converter = Converter(columns, ReadRequest(stream), self._special)
        self._tables[relation.oid] = TableRows(stream, relation, columns, converter, self._to_json)

    def _update(self, message: Update) -> None:
        table = self._tables.get(message.relation)
        if table is None:
            return
        new, old = message.new, message.old
        if old is None:
            self._add(message.relation, "update", new)
            return
        if message.whole_old:
            new = [was if now is UNCHANGED else now for was, now in zip(old, new, strict=True)]
        new = [old[i] if i in table.key and v is UNCHANGED else v for i, v in enumerate(new)]
        if any(new[i] != old[i] for i in table.key):
            self._add(message.relation, "delete", old)
            new = self._moved(table, new)
        self._add(message.relation, "update", new)

    def _moved(self, table: TableRows, new: Row) -> Row:
        """A record under a new key. What the log leaves out of it our table has under the old key only, so it is asked
        for. If it was changed since, the log tells that later; if it is gone, too."""
        names = [c.name for c in table.relation.columns]
        missing = [i for i, v in enumerate(new) if v is UNCHANGED]
        if missing:
            key = {names[i]: v.decode() for i in table.key if isinstance(v := new[i], bytes)}
            with driver_errors():
                found = texts_of(self._db, table.stream, [names[i] for i in missing], key)
            for i, text in zip(missing, found or [None] * len(missing), strict=True):
                new[i] = None if text is None else text.encode()
        return new

    def _add(self, oid: int, op: Op, row: Row | None) -> None:
        table = self._tables.get(oid)
        if table is None:
            return
        assert self._begin is not None
        chunk = self._chunk
        if chunk is not None and self._snapshot is not None and table.stream is self._snapshot.stream:
            if row is None:
                chunk.note_truncate(self._begin.xid)
            else:
                chunk.note(self._begin.xid, table.key_of(row), whole=UNCHANGED not in row)
        table.add(op, row, self._place, self._begin.at_us)
        self._count(1)
        self._newest_us = self._begin.at_us
        if len(table) >= self._pace.batch_rows or table.size_bytes >= self._pace.batch_bytes:
            self._flush_table(table)

    def _count(self, rows: int) -> None:
        if not self._in_window:
            self._first_at_s = time.monotonic()
        self._in_window += rows

    def _flush(self) -> None:
        for table in self._tables.values():
            self._flush_table(table)

    def _flush_table(self, table: TableRows) -> None:
        if len(table):
            self._ready.append(ChangeBatch(table.stream.name, table.take()))

    # the snapshot that goes on

    def _read_chunk(self) -> None:
        if self._snapshot is None or self._chunk is not None or self._begin is not None:
            return
        if time.monotonic() < self._look_again_at_s:
            return
        with driver_errors(), self.kept_alive():
            self._chunk = self._snapshot.read(self._decoded)
        self._look_again_at_s = time.monotonic() + (0 if self._chunk else _LOOK_AGAIN_S)

    def _marked(self, content: bytes) -> None:
        chunk, snapshot = self._chunk, self._snapshot
        if chunk is None or snapshot is None or content != chunk.mark:
            return
        for table in self._tables.values():
            if table.stream is snapshot.stream:
                self._flush_table(table)
        assert self._begin is not None
        rows = _as_changes(chunk.left(), self._place, self._begin.at_us)
        step = snapshot.reached(chunk)
        self._ready.append(ChangeBatch(snapshot.stream.name, rows, step))
        self._count(max(1, rows.num_rows))
        self._chunk = None
        if step.done:
            self._snapshot = None


def _as_changes(rows: pa.RecordBatch, place: str, at_us: int) -> pa.RecordBatch:
    at = pa.scalar(moment_of(at_us), CHANGE_FIELDS[2].type)
    count = rows.num_rows
    arrays = [
        *rows.columns,
        pa.repeat(pa.scalar("snapshot"), count),
        pa.repeat(pa.scalar(place), count),
        pa.repeat(at, count),
        pa.nulls(count, CHANGE_FIELDS[3].type),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*rows.schema, *CHANGE_FIELDS]))


def _check_key(stream: StreamSpec, relation: Relation) -> None:
    names = [c.name for c in relation.columns]
    there = [c.name for c in relation.columns if c.is_key or relation.identity == "f"]
    if missing := [k for k in stream.primary_key if k not in there]:
        what = (
            "is gone from the table" if missing[0] not in names else "is not in the table's replica identity"
        )
        raise ConfigError(
            f"column '{missing[0]}' of the primary_key {what}, so that changes cannot be told apart",
            where=f"stream '{stream.name}'",
            hint="Declare the table's primary key, or run ALTER TABLE … REPLICA IDENTITY FULL",
        )

"""Following a MariaDB binlog: transactions become batches of their tables, in the log's order."""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pymysqlreplication.event import MariadbGtidEvent, QueryEvent, XAPrepareEvent, XidEvent
from pymysqlreplication.row_event import DeleteRowsEvent, RowsEvent, UpdateRowsEvent, WriteRowsEvent

from superinsight_sync.capture.mariadb.catalogue import place_of, shape_of, table_columns
from superinsight_sync.capture.mariadb.connecting import LogStream, Sessions, Special, driver_errors
from superinsight_sync.capture.mariadb.places import GtidState
from superinsight_sync.capture.mariadb.rows import TableRows, as_changes, moment_of
from superinsight_sync.capture.mariadb.snapshot import Chunk, Snapshot
from superinsight_sync.capture.mariadb.statements import does, keeps_values
from superinsight_sync.capture.protocol import (
    ChangeBatch,
    LogLostError,
    Pace,
    Reread,
    Settled,
    SnapshotStep,
)
from superinsight_sync.core.stopping import check_stop, pause
from superinsight_sync.model.declaration import StreamSpec

_STANDALONE, _PREPARED = 1, 64
_XA_START, _XA_COMMIT = "XA START ", "XA COMMIT "
_TRIES, _BETWEEN_S, _LOOK_AGAIN_S = 20, 0.005, 0.2
_COMMITS = ("COMMIT", "ROLLBACK", "XA COMMIT", "XA ROLLBACK")


class MariadbSession:
    """Implements `capture.protocol.Session`.

    Args:
        shapes: see `Resume`.
    """

    def __init__(
        self,
        log: LogStream,
        sessions: Sessions,
        streams: tuple[StreamSpec, ...],
        shapes: Mapping[str, str],
        pace: Pace,
        special: Special,
    ) -> None:
        self._log, self._db, self._sessions, self._pace = log, sessions.ask, sessions, pace
        self._special = special
        self._streams = {place_of(self._db, s): s for s in streams}
        self._shapes = dict(shapes)
        self._state = GtidState.of(log.begins_at)
        self._tables: dict[str, tuple[str, TableRows]] = {}
        self._gtid: MariadbGtidEvent | None = None
        self._prepared: dict[str, set[str]] = {}
        self._preparing: set[str] = set()
        self._newest_s: int | None = None
        self._first_at_s = 0.0
        self._in_window = 0
        self._window_s = pace.window_s
        self._ready: list[ChangeBatch | Reread] = []
        self._snapshot: Snapshot | None = None
        self._chunk: Chunk | None = None
        self._look_again_at_s = 0.0

    # what the pipeline calls

    @property
    def snapshotting(self) -> str | None:
        return self._snapshot.stream.name if self._snapshot else None

    @property
    def place(self) -> tuple[int, int]:
        """Where in the server's files it has read to."""
        return self._log.place

    def snapshot(self, stream: StreamSpec, step: SnapshotStep) -> None:
        self._snapshot = Snapshot(self._sessions, stream, step, self._pace.chunk_rows, self._special)

    def shape(self, stream: StreamSpec) -> str:
        with driver_errors():
            found = shape_of(table_columns(self._db, place_of(self._db, stream)))
        self._shapes[stream.name] = found
        return found

    def acknowledge(self, position: str) -> None:
        """The server keeps its log as long as it was told to, whoever has read it."""

    def kept_alive(self) -> AbstractContextManager[None]:
        """The server waits for an hour."""
        return nullcontext()

    def items(self) -> Iterator[ChangeBatch | Settled | Reread]:
        idle_since_s = time.monotonic()
        while True:
            check_stop()
            self._read_chunk()
            self._place_chunk()
            yield from self._given()
            event = self._log.take()
            if event is not None:
                self._take(event)
                self._place_chunk()
                yield from self._given()
            if self._gtid is not None:
                continue
            if self._is_due():
                self._flush()
                yield from self._given()
                given_at_s = time.monotonic()
                yield self._settled()
                idle_since_s = time.monotonic()
                self._window_s = max(self._pace.window_s, idle_since_s - given_at_s)
            elif not self._in_window and time.monotonic() - idle_since_s >= self._pace.idle_s:
                yield self._settled()
                idle_since_s = time.monotonic()

    def _is_due(self) -> bool:
        if not self._in_window:
            return False
        old = time.monotonic() - self._first_at_s >= self._window_s
        return old or self._in_window >= self._pace.window_rows

    def _given(self) -> Iterator[ChangeBatch | Reread]:
        while self._ready:
            yield self._ready.pop(0)

    def _settled(self) -> Settled:
        newest = None if self._newest_s is None else moment_of(self._newest_s)
        self._in_window, self._newest_s = 0, None
        return Settled(self._state.behind, newest)

    # what the log says

    def _take(self, event: Any) -> None:
        match event:
            case MariadbGtidEvent():
                self._begin(event)
            case RowsEvent():
                self._rows(event)
            case XidEvent() | XAPrepareEvent():
                self._gtid = None
            case QueryEvent():
                self._query(event)

    def _begin(self, event: MariadbGtidEvent) -> None:
        if not self._state.advance(event.domain_id, event.server_id, event.gtid_seq_no):
            raise LogLostError(
                f"the numbers of transactions in domain {event.domain_id} of the log go backwards",
                hint="Set gtid_strict_mode = ON; then take new snapshots with `sis capture resnapshot`",
            )
        self._gtid = event

    def _query(self, event: QueryEvent) -> None:
        statement = event.query if isinstance(event.query, str) else event.query.decode("utf-8", "replace")
        database = event.schema.decode() if isinstance(event.schema, bytes) else str(event.schema)
        word = statement.strip()
        if word.startswith(_XA_START):
            self._preparing = self._prepared[word[len(_XA_START) :]] = set()
        elif word.startswith(_XA_COMMIT):
            # What it changed was in the log when it was prepared: perhaps before this session.
            everything = {s.name for s in self._streams.values()}
            names = self._prepared.pop(word[len(_XA_COMMIT) :], everything)
            self._ready += [Reread(name) for name in sorted(names)]
        elif self._gtid is not None:
            for place, stream in self._streams.items():
                self._did(statement, database, place, stream)
        if self._gtid is not None and (self._gtid.flags & _STANDALONE or word.upper().startswith(_COMMITS)):
            self._gtid = None

    def _did(self, statement: str, database: str, place: tuple[str, str], stream: StreamSpec) -> None:
        done = does(statement, database, *place)
        if done == "empties":
            self._empty(stream)
        if done != "changes":
            return
        with driver_errors():
            columns = table_columns(self._db, place)
        if not columns:
            raise LogLostError(
                f"the table of stream '{stream.name}' was dropped or renamed",
                hint="Take the stream out of the declaration, or make the table again and take a new snapshot with "
                "`sis capture resnapshot`",
            )
        shape, known = shape_of(columns), self._shapes.get(stream.name)
        self._shapes[stream.name] = shape
        if shape != known or not keeps_values(statement):
            self._ready.append(Reread(stream.name))

    def _empty(self, stream: StreamSpec) -> None:
        assert self._gtid is not None
        found = self._tables.get(stream.name)
        if found is None:  # the log has told nothing of it in this session
            self._ready.append(Reread(stream.name))
            return
        found[1].add("truncate", None, self._state.at, self._gtid.timestamp)
        self._count(1)

    def _rows(self, event: Any) -> None:
        stream = self._streams.get((event.schema, event.table)) if hasattr(event, "schema") else None
        if stream is None or self._gtid is None:
            return
        if self._gtid.flags & _PREPARED:
            self._preparing.add(stream.name)
            return
        table = self._table(stream, event)
        data = event.packet.read(event.event_size - event.packet.read_bytes)
        present = [event.columns_present_bitmap]
        if isinstance(event, UpdateRowsEvent):
            present.append(event.columns_present_bitmap2)
        at, place = self._gtid.timestamp, self._state.at
        images = table.images(bytes(data), present)
        size = len(data) // max(len(images), 1)
        for image in images:
            if isinstance(event, WriteRowsEvent):
                table.add("insert", image[0], place, at, size)
            elif isinstance(event, DeleteRowsEvent):
                table.add("delete", image[0], place, at, size)
            else:
                if table.key_of(image[0]) != table.key_of(image[1]):
                    table.add("delete", image[0], place, at)
                    self._count(1)
                table.add("update", image[1], place, at, size)
            self._count(1)
        self._newest_s = at
        if len(table) >= self._pace.batch_rows or table.size_bytes >= self._pace.batch_bytes:
            self._flush_table(table)

    def _table(self, stream: StreamSpec, event: Any) -> TableRows:
        signature = repr([sorted(c.data.items()) for c in event.columns])
        known = self._tables.get(stream.name)
        if known is not None and known[0] == signature:
            return known[1]
        if known is not None:
            self._flush_table(known[1])
        with driver_errors():
            now = table_columns(self._db, (event.schema, event.table))
        table = TableRows(stream, event.columns, now, self._special)
        self._tables[stream.name] = signature, table
        return table

    def _count(self, rows: int) -> None:
        if not self._in_window:
            self._first_at_s = time.monotonic()
        self._in_window += rows

    def _flush(self) -> None:
        for _, table in self._tables.values():
            self._flush_table(table)

    def _flush_table(self, table: TableRows) -> None:
        if len(table):
            self._ready.append(ChangeBatch(table.stream.name, table.take()))

    # the snapshot that goes on

    def _read_chunk(self) -> None:
        if self._snapshot is None or self._chunk is not None or self._gtid is not None:
            return
        if time.monotonic() < self._look_again_at_s:
            return
        with driver_errors():
            # A commit stands in the log a moment before others see it, or longer while a replica has to confirm it.
            for _ in range(_TRIES):
                self._chunk = self._snapshot.read(self._log.place)
                if self._chunk is not None:
                    return
                pause(_BETWEEN_S)
        self._look_again_at_s = time.monotonic() + _LOOK_AGAIN_S

    def _place_chunk(self) -> None:
        chunk, snapshot = self._chunk, self._snapshot
        if chunk is None or snapshot is None or self._gtid is not None or self._log.place < chunk.place:
            return
        known = self._tables.get(snapshot.stream.name)
        if known is not None:
            self._flush_table(known[1])
        at = None if self._newest_s is None else moment_of(self._newest_s)
        self._ready.append(
            ChangeBatch(snapshot.stream.name, as_changes(chunk.rows, self._state.at, at), chunk.step)
        )
        self._count(max(1, chunk.rows.num_rows))
        self._chunk = None
        if chunk.step.done:
            self._snapshot = None

"""Puts deliveries into the inbox, many in one transaction: a sync to disk costs the same for one and for all.

Order numbers grow in the order in which deliveries become visible, however many gateways write: on SQLite
because one transaction writes at a time, on PostgreSQL because each holds one advisory lock from before its
first number until its commit is seen. Then whoever has read up to a number has missed none below it. (Rows
above the oldest running transaction alone do not give this: a sequence's numbers and transactions' ids are
not handed out in the same order.)
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.state.database import Database

ORDER_LOCK = 7_305_113_482  # any fixed number will do
_MOST_ROWS = 100
_MOST_BYTES = 8 << 20
_GATHER_S = 0.008
"""A delivery that comes among many waits at most so long for others: they share a commit, which costs most."""
_SQLITE_SETTINGS = ("PRAGMA synchronous = FULL", "PRAGMA busy_timeout = 10000")
_POSTGRES_SETTINGS = (
    # An answer promises that the delivery is on the disk, whatever the server's default is.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    "SET lock_timeout = '10s'",
    # A gateway that stands still must not keep the others from writing.
    "SET idle_in_transaction_session_timeout = '10s'",
)


class Delivery(NamedTuple):
    """One accepted push, as it is stored.

    Attributes:
        id: made by the gateway, unique: what senders are told and people look for.
        stream: empty if it is found out when the delivery is landed.
        key: by which a repeated delivery is known, unique within tenant and source.
        fingerprint: SHA-256 of the bytes as they came, 64 hex digits.
        format: of `model.push.PushFormat`. encoding: ``""``, ``gzip`` or ``deflate``.
        body: the bytes as they came; None if they are a landing file.
        metadata: a JSON object.
    """

    id: str
    tenant: str
    source: str
    stream: str
    key: str
    fingerprint: str
    format: str
    encoding: str
    body: bytes | None
    size_bytes: int
    records: int
    metadata: str = "{}"


class Outcome(NamedTuple):
    """What became of a delivery. `id` is that of the stored one: its own, or the first with that key."""

    kind: Literal["stored", "duplicate", "conflict"]
    id: str


class InboxFullError(TransientError):
    """More deliveries wait for the disk than memory is meant to hold; come again in a moment."""


Result = Outcome | SisError
Sink = Callable[[list[tuple[Any, Result]]], None]
"""Takes the results of one transaction: (what `submit` was given as token, result) each."""


class InboxWriter:
    """One thread that writes. Anything may submit from any thread.

    Args:
        seal: makes of a delivery what its row is written with; None: nothing.
        max_waiting, max_waiting_bytes: how much may wait in memory for the next transaction.
    """

    def __init__(
        self,
        database: Database,
        seal: Callable[[Delivery], Delivery] | None = None,
        *,
        max_waiting: int = 20_000,
        max_waiting_bytes: int = 256 << 20,
    ) -> None:
        self._seal = seal
        self._is_sqlite = database.url.get_backend_name() == "sqlite"
        self._kept = database.keep(*(_SQLITE_SETTINGS if self._is_sqlite else _POSTGRES_SETTINGS))
        self._max_waiting, self._max_waiting_bytes = max_waiting, max_waiting_bytes
        self._queue: deque[tuple[Delivery, Sink, Any]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._closing = False
        self._wanted = 1  # so many in the queue wake the thread
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Deliveries that wait for a transaction."""
        return len(self._queue)

    @property
    def is_usable(self) -> bool:
        """False once it was closed, or has ended by an error nobody foresaw."""
        return not self._closing

    def submit(self, delivery: Delivery, sink: Sink, token: Any) -> None:
        """Queues a delivery. `sink` is called from the writing thread once it is committed, or failed.

        Raises InboxFullError; then `sink` is never called for it.
        """
        with self._lock:
            if (
                self._closing
                or len(self._queue) >= self._max_waiting
                or self._bytes >= self._max_waiting_bytes
            ):
                raise InboxFullError("the inbox cannot take more at once", hint="Send again in a moment")
            self._queue.append((delivery, sink, token))
            self._bytes += delivery.size_bytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
                self._thread.start()
            if len(self._queue) >= self._wanted:
                self._wake.notify()

    def accept(self, delivery: Delivery) -> Outcome:
        """Stores one delivery and waits for its commit.

        Raises: InboxFullError, TransientError, AccessError, ConfigError: it may or may not be stored, and can
        be sent again.
        """
        future: Future[Outcome] = Future()
        self.submit(delivery, settle, future)
        return future.result()

    def close(self) -> None:
        """Commits what is queued, and ends the thread. Nothing is taken afterwards."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        batch: list[tuple[Delivery, Sink, Any]] = []
        try:
            while batch := self._next():
                _tell(batch, self._commit([delivery for delivery, _, _ in batch]))
        finally:
            with self._wake:
                self._closing = True
                left = [*batch, *self._queue]  # none after an orderly end
                self._queue.clear()
            self._kept.close()
            _tell(left, [TransientError("the inbox's writer has ended")] * len(left))

    def _next(self) -> list[tuple[Delivery, Sink, Any]]:
        """What is written next. Where many came lately, as many are waited for, but not for long."""
        with self._wake:
            many = self._wanted
            if many > 1:
                self._wake.wait_for(lambda: self._closing or len(self._queue) >= many, _GATHER_S)
            self._wanted = 1
            self._wake.wait_for(lambda: self._closing or len(self._queue) > 0)
            batch = self._take()
            self._wanted = max(len(batch), many // 2)
            return batch

    def _take(self) -> list[tuple[Delivery, Sink, Any]]:
        batch: list[tuple[Delivery, Sink, Any]] = []
        size_bytes = 0
        while self._queue and len(batch) < _MOST_ROWS and size_bytes < _MOST_BYTES:
            entry = self._queue.popleft()
            size_bytes += entry[0].size_bytes
            batch.append(entry)
        self._bytes -= size_bytes
        return batch

    def _commit(self, batch: list[Delivery]) -> Sequence[Result]:
        try:
            rows = batch if self._seal is None else [self._seal(d) for d in batch]
            with self._kept.single() if self._is_sqlite else self._kept.write() as connection:
                return self._store(connection, rows)
        except SisError as error:
            return [error] * len(batch)
        except (SQLAlchemyError, ArithmeticError, LookupError, TypeError, ValueError, OSError) as error:
            if len(batch) > 1:  # one that cannot be stored must not take the others with it
                return [self._commit([d])[0] for d in batch]
            failed = TransientError(f"the delivery could not be stored: {type(error).__name__}")
            failed.__cause__ = error
            return [failed]

    def _store(self, connection: Connection, batch: list[Delivery]) -> Sequence[Outcome]:
        insert = _insert_sqlite if self._is_sqlite else _insert_postgres
        if insert(connection, batch, utc_now()) == len(batch):
            return [Outcome("stored", d.id) for d in batch]
        kept = _kept_under(connection, batch)
        return [_outcome(d, kept[d.tenant, d.source, d.key]) for d in batch]


def _tell(batch: list[tuple[Delivery, Sink, Any]], results: Sequence[Result]) -> None:
    by_sink: dict[Sink, list[tuple[Any, Result]]] = {}
    for (_, sink, token), result in zip(batch, results, strict=True):
        by_sink.setdefault(sink, []).append((token, result))
    for sink, pairs in by_sink.items():
        sink(pairs)


def _outcome(delivery: Delivery, kept: tuple[str, str, str]) -> Outcome:
    first, fingerprint, stream = kept
    if first == delivery.id:
        return Outcome("stored", first)
    # A webhook's stream follows from its body and the declaration, which may have changed since it came first.
    is_there = stream == delivery.stream or delivery.key.startswith("webhook:")
    return Outcome("duplicate" if is_there and fingerprint == delivery.fingerprint else "conflict", first)


def settle(pairs: list[tuple[Any, Result]]) -> None:
    """A sink for futures, of threads or of an event loop."""
    for future, result in pairs:
        if future.done():
            continue
        if isinstance(result, SisError):
            future.set_exception(result)
        else:
            future.set_result(result)


_COLUMNS = (
    "id, tenant, source, stream, key, fingerprint, format, encoding, body, size_bytes, records, metadata, "
    "received_at, state"
)
_ROW = "(?,?,?,?,?,?,?,?,?,?,?,?,?,'received')"
_POSTGRES_LOCK = f"SELECT pg_advisory_xact_lock({ORDER_LOCK})"
_POSTGRES_INSERT = (
    f"INSERT INTO sis_inbox ({_COLUMNS}) "  # noqa: S608 - made of constants
    "SELECT d.id, d.tenant, d.source, d.stream, d.key, d.fingerprint, d.format, d.encoding, d.body, "
    "d.size_bytes, d.records, d.metadata, %s, 'received' "
    "FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], "
    "%s::text[], %s::bytea[], %s::bigint[], %s::bigint[], %s::text[]) WITH ORDINALITY "
    "AS d(id, tenant, source, stream, key, fingerprint, format, encoding, body, size_bytes, records, "
    "metadata, place) ORDER BY d.place ON CONFLICT DO NOTHING"
)


def lock_order(connection: Connection) -> None:
    """Waits for the right to give out order numbers; held until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_POSTGRES_LOCK)


def _insert_sqlite(connection: Connection, batch: list[Delivery], at: datetime) -> int:
    """How many were new. One long statement: each one gives up the interpreter's lock and has to wait for it."""
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    values = tuple([value for d in batch for value in (*d, text)])
    return connection.exec_driver_sql(_sqlite_insert(len(batch)), values).rowcount


@cache
def _sqlite_insert(rows: int) -> str:
    return f"INSERT INTO sis_inbox ({_COLUMNS}) VALUES {','.join([_ROW] * rows)} ON CONFLICT DO NOTHING"  # noqa: S608 - as above


def _insert_postgres(connection: Connection, batch: list[Delivery], at: datetime) -> int:
    lock_order(connection)
    columns = [list(column) for column in zip(*batch, strict=True)]
    return connection.exec_driver_sql(_POSTGRES_INSERT, (at, *columns)).rowcount


def _kept_under(
    connection: Connection, batch: list[Delivery]
) -> dict[tuple[str, str, str], tuple[str, str, str]]:
    """(tenant, source, key) of the batch → (id, fingerprint, stream) of the row that has it."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    kept: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    wanted = sorted({(d.tenant, d.source, d.key) for d in batch})
    for start in range(0, len(wanted), 256):
        some = wanted[start : start + 256]
        # Each by itself: for a list of them SQLite would go through the whole table.
        one = (
            "SELECT tenant, source, key, id, fingerprint, stream FROM sis_inbox "  # noqa: S608 - `mark` is a constant
            f"WHERE tenant = {mark} AND source = {mark} AND key = {mark}"
        )
        statement = " UNION ALL ".join([one] * len(some))
        flat = tuple(value for entry in some for value in entry)
        for tenant, source, key, *row in connection.exec_driver_sql(statement, flat):
            kept[tenant, source, key] = (row[0], row[1], row[2])
    return kept

"""Connections to a PostgreSQL server: for questions, and for its log."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from struct import Struct
from typing import Any, Literal

import psycopg
from psycopg import pq
from pydantic import BaseModel, ConfigDict

from superinsight_sync.capture.postgres.messages import lsn_text
from superinsight_sync.capture.protocol import LogLostError
from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.databases.errors import mapped
from superinsight_sync.databases.postgres_session import conninfo
from superinsight_sync.model.declaration import Duration

Connection = psycopg.Connection[Any]
Special = Literal["fail", "null"]
_STATUS = Struct("!cqqqqB")
_HEADER = Struct("!qqq")
_EPOCH_S = 946_684_800
_LOST = ("can no longer access", "cannot read from logical replication slot", "has been invalidated")


class Address(BaseModel):
    """What a declaration's `connection` says that matters here; all of it is checked when the project is loaded."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dsn: str
    connect_timeout: Duration = timedelta(seconds=10)
    special_values: Special = "fail"

    def for_questions(self) -> str:
        """The DSN of a session that can write no table."""
        # Marks that a server writes to its log when it likes would make each chunk of a snapshot wait.
        # Rows that a policy hides would be missing without a word: then it is an error.
        own = "-c default_transaction_read_only=on -c synchronous_commit=local -c row_security=off"
        return conninfo(
            self.dsn,
            connect_timeout=self.connect_timeout,
            settings=f"{own} -c statement_timeout=0",
            keepalives_idle="30",
        )

    def for_the_log(self) -> str:
        """The DSN of a replication connection."""
        return conninfo(
            self.dsn,
            connect_timeout=self.connect_timeout,
            settings="-c statement_timeout=0",
            keepalives_idle="30",
            replication="database",
        )


@contextmanager
def driver_errors() -> Iterator[None]:
    """Errors of the driver in the block become ours."""
    try:
        yield
    except psycopg.Error as error:
        if any(words in str(error) for words in _LOST):
            raise LogLostError(
                "the server has thrown away the part of its log that was not read yet",
                hint="Changes are missing: take new snapshots with `sis capture resnapshot`, and raise "
                "max_slot_wal_keep_size",
            ) from error
        raise mapped(error) from error


@contextmanager
def asking(address: Address) -> Iterator[Connection]:
    """A session for questions, in autocommit; it can write no table."""
    with driver_errors(), psycopg.connect(address.for_questions(), autocommit=True) as connection:
        connection.prepare_threshold = None
        yield connection


@contextmanager
def writing(address: Address) -> Iterator[Connection]:
    """A session that may make a publication."""
    with asking(address) as connection:
        connection.execute("SET default_transaction_read_only = off")
        yield connection


class LogConnection:
    """A replication connection. Used by one thread at a time.

    Attributes:
        sent_lsn: everything in the log before it has been given.
    """

    def __init__(self, address: Address) -> None:
        with driver_errors():
            self._connection = psycopg.connect(address.for_the_log(), autocommit=True)
        self._pg = self._connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._pg.socket, select.POLLIN)
        self._confirmed = 0
        self._told_at_s = 0.0
        self.sent_lsn = 0

    def start(self, slot: str, publication: str, lsn: int) -> None:
        """Begins to follow the log from a place, or from the slot's if that is later.

        Raises LogLostError, TransientError (another process follows this slot), ConfigError.
        """
        quoted = publication.replace('"', '""').replace("'", "''")
        query = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL {lsn_text(lsn)} '
            f"(proto_version '1', publication_names '\"{quoted}\"', messages 'true')"
        )
        self._confirmed = lsn
        with driver_errors():
            result = self._pg.exec_(query.encode())
            if result.status != pq.ExecStatus.COPY_BOTH:
                raise _start_error(result, slot)

    def take(self, wait_s: float) -> bytes | None:
        """The next message; None if there is none within the time, empty if it is none for us."""
        size, data = self._next()
        if not size:
            deadline = time.monotonic() + wait_s
            while not size and (left_s := deadline - time.monotonic()) > 0:
                if self._poll.poll(1000 * left_s):
                    with driver_errors():
                        self._pg.consume_input()
                    size, data = self._next()
                self.stay_alive()
        return self._payload(bytes(data)) if size else None

    def _next(self) -> tuple[int, memoryview]:
        """What has been received; without a `with`, since it is called for each change."""
        try:
            size, data = self._pg.get_copy_data(1)
        except psycopg.Error as error:
            raise mapped(error) from error
        if size < 0:
            raise self._ended()
        return size, data

    def stay_alive(self, every_s: float = 10.0) -> None:
        """Tells the server again what is confirmed, if that was long ago."""
        if time.monotonic() - self._told_at_s >= every_s:
            self.confirm(self._confirmed)

    def confirm(self, lsn: int) -> None:
        """Everything before it has landed."""
        self._confirmed = max(self._confirmed, lsn)
        at_us = int((time.time() - _EPOCH_S) * 1_000_000)
        status = _STATUS.pack(b"r", self._confirmed, self._confirmed, self._confirmed, at_us, 0)
        with driver_errors():
            self._pg.put_copy_data(status)
            self._pg.flush()
        self._told_at_s = time.monotonic()

    def close(self) -> None:
        """Ends the connection; the slot is free then."""
        self._connection.close()

    def _payload(self, data: bytes) -> bytes:
        if data[0] == ord("w"):
            return data[1 + _HEADER.size :]
        if data[0] == ord("k"):
            self.sent_lsn = max(self.sent_lsn, int.from_bytes(data[1:9], "big"))
            if data[17]:
                self.confirm(self._confirmed)
        return b""

    def _ended(self) -> SisError:
        result = self._pg.get_result()
        if result is not None and result.error_message:
            error = psycopg.errors.error_from_result(result)
            with driver_errors():
                raise error
        return TransientError("the server ended the connection to its log")


def _start_error(result: Any, slot: str) -> SisError:
    error = psycopg.errors.error_from_result(result)
    if isinstance(error, psycopg.errors.ObjectInUse):
        return TransientError(
            f"the replication slot '{slot}' is followed by another process",
            hint="End that one, or give this source a slot of its own (`sync: {slot: …}`)",
        )
    if isinstance(error, psycopg.errors.UndefinedObject):
        return LogLostError(
            f"the replication slot '{slot}' is gone",
            hint="Changes are missing: take new snapshots with `sis capture resnapshot`",
        )
    with driver_errors():
        raise error

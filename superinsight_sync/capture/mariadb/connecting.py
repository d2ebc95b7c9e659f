"""Sessions on a MariaDB server: for questions, and for its binlog."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import pymysql
from pydantic import BaseModel, ConfigDict
from pymysqlreplication import BinLogStreamReader, binlogstream
from pymysqlreplication.event import (
    BinLogEvent,
    FormatDescriptionEvent,
    HeartbeatLogEvent,
    MariadbGtidEvent,
    MariadbGtidListEvent,
    QueryEvent,
    RotateEvent,
    StopEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from superinsight_sync.capture.protocol import LogLostError
from superinsight_sync.core.errors import TransientError
from superinsight_sync.databases.errors import mapped
from superinsight_sync.databases.mysql_catalogue import Connection
from superinsight_sync.databases.mysql_session import Access, Place, access_of
from superinsight_sync.model.declaration import Duration
from superinsight_sync.security.secrets import resolve

Special = Literal["fail", "null"]
_NO_SUCH_PLACE = 1236
_PATIENCE_S = 3600
"""How long the server waits for a reader that lands what it has read."""
_SILENCE_S = 30
_EVENTS = (
    MariadbGtidEvent, XidEvent, QueryEvent, WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, HeartbeatLogEvent,
    RotateEvent, FormatDescriptionEvent, MariadbGtidListEvent, StopEvent, XAPrepareEvent,
)  # fmt: skip


class Address(BaseModel):
    """What a declaration's `connection` says that matters here; all of it is checked when the project is loaded."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dsn: str
    connect_timeout: Duration = timedelta(seconds=10)
    statement_timeout: Duration = timedelta(hours=1)
    special_values: Special = "fail"

    @property
    def access(self) -> Access:
        return access_of(
            resolve(self.dsn), self.connect_timeout.total_seconds(), self.statement_timeout.total_seconds()
        )


@contextmanager
def driver_errors() -> Iterator[None]:
    """Errors of the driver in the block become ours."""
    try:
        yield
    except pymysql.Error as error:
        if error.args and error.args[0] == _NO_SUCH_PLACE and "GTID" in str(error):
            raise LogLostError(
                "the server's binlog does not have the place up to which changes have landed: it was purged, or it "
                "is another server's",
                hint="Changes are missing: take new snapshots with `sis capture resnapshot`, and raise "
                "binlog_expire_logs_seconds",
            ) from error
        raise mapped(error) from error


@contextmanager
def asking(access: Access) -> Iterator[Connection]:
    """A session for questions, in autocommit; it can write nothing."""
    with driver_errors():
        connection = access.driver().connect()
        try:
            yield connection
        finally:
            connection.close()


@dataclass(frozen=True)
class Sessions:
    """`ask` is for questions, `read` for records, whose values it gives as texts and bytes."""

    ask: Connection
    read: Connection


@contextmanager
def sessions(access: Access) -> Iterator[Sessions]:
    """Both, on one server."""
    with asking(access) as ask, driver_errors():
        read = access.connect_to(Place(ask.host, ask.port))
        vars(read)["decoders"] = {}
        try:
            yield Sessions(ask, read)
        finally:
            read.close()


class LogStream:
    """The binlog from a place on. Used by one thread.

    Args:
        place: the server that was asked for `gtids`.
        quiet_s: when nothing happens, `take` returns after so long.
    """

    def __init__(self, access: Access, place: Place, gtids: str, quiet_s: float) -> None:
        self.begins_at = gtids
        # Else the library connects anew by itself, from where it began at first, and all comes twice.
        binlogstream.MYSQL_EXPECTED_ERROR_CODES = []
        self._stream = BinLogStreamReader(
            connection_settings={
                "host": place.host,
                "port": place.port,
                "user": access.user,
                "password": access.password.encode(),
                "connect_timeout": max(1, int(access.connect_timeout_s)),
                "read_timeout": _SILENCE_S,
                "init_command": f"SET SESSION net_write_timeout = {_PATIENCE_S}",
                "charset": "utf8mb4",
            },
            server_id=random.randint(2**31, 2**32 - 1),  # two with one number would end each other
            blocking=True,
            only_events=_EVENTS,
            auto_position=gtids,
            is_mariadb=True,
            slave_heartbeat=quiet_s,
            enable_logging=False,
        )

    def take(self) -> BinLogEvent | None:
        """The next event; None if nothing has happened."""
        with driver_errors():
            event = self._stream.fetchone()
        if event is None:
            raise TransientError("the server ended the connection to its log")
        return None if isinstance(event, HeartbeatLogEvent) else event

    @property
    def place(self) -> tuple[int, int]:
        """Number of the file, and the place in it behind the last event."""
        return file_number(self._stream.log_file), int(self._stream.log_pos or 0)

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()


def file_number(name: Any) -> int:
    """Of a binlog's file, such as ``bin.000012``."""
    return int(str(name).rpartition(".")[2]) if name else 0

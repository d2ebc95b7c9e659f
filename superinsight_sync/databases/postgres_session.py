"""Sessions on a PostgreSQL server that can write nothing, as a pool keeps them."""

import contextlib
import os
import socket
from functools import partial
from typing import Any

import psycopg

from superinsight_sync.databases.pool import Driver

Connection = psycopg.Connection[Any]
_CANCEL_S = 2.0


def driver(dsn: str) -> Driver[Connection]:
    """Of sessions that have what the DSN's options set, in transactions that are read-only."""
    return Driver(partial(_connect, dsn), _is_alive, _reset, psycopg.Error, _cancel)


def _connect(dsn: str) -> Connection:
    # What is prepared would be gone after DISCARD ALL.
    connection = psycopg.connect(dsn, prepare_threshold=None)
    connection.read_only = True
    return connection


def _cancel(connection: Connection) -> None:
    """Asks the server to end the statement, then ends the connection: the server may not answer."""
    with contextlib.suppress(psycopg.Error, OSError):
        connection.cancel_safe(timeout=_CANCEL_S)
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


def _is_alive(connection: Connection) -> bool:
    try:
        connection.autocommit = True
        connection.execute("")
        connection.autocommit = False
    except psycopg.Error:
        return False
    return True


def _reset(connection: Connection) -> None:
    connection.rollback()
    connection.autocommit = True
    connection.execute("DISCARD ALL")  # settings become those of the DSN's options again
    connection.autocommit = False
    connection.isolation_level = None
    connection.read_only = True

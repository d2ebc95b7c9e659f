"""Sessions on a PostgreSQL server that can write nothing, as a pool keeps them."""

import contextlib
import os
import socket
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.pool import Driver
from superinsight_sync.security.secrets import resolve

Connection = psycopg.Connection[Any]
_CANCEL_S = 2.0
_WRITTEN = (
    "-c timezone=UTC -c datestyle=ISO -c intervalstyle=iso_8601 -c extra_float_digits=1 -c bytea_output=hex"
)
"""How the server writes values as text."""


def conninfo(dsn: str, *, connect_timeout: timedelta, settings: str, **more: str) -> str:
    """A DSN with what our sessions need.

    Args:
        dsn: a reference, or with references in it.
        settings: the session's own, as the server's command line has them.
        more: further parameters of libpq.

    Raises ConfigError for a DSN that cannot be read.
    """
    try:
        params: dict[str, Any] = dict(conninfo_to_dict(resolve(dsn)))
    except psycopg.ProgrammingError:
        raise ConfigError(
            "the DSN cannot be read",
            where="connection.dsn",
            hint="Write postgresql://user:password@host:5432/database; escape special characters as %XX",
        ) from None
    params["options"] = f"{params.get('options') or ''} {settings} {_WRITTEN}".strip()
    params["connect_timeout"] = str(max(1, int(connect_timeout.total_seconds())))
    params["client_encoding"] = "UTF8"
    params.setdefault("application_name", "superinsight-sync")
    # A network that swallows everything must not make the look at an idle connection hang.
    params.setdefault("tcp_user_timeout", str(int(connect_timeout.total_seconds() * 1000)))
    return make_conninfo(**params, **more)


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

"""Sessions on a PostgreSQL server that can write nothing, as a pool keeps them."""

from functools import partial
from typing import Any

import psycopg

from superinsight_sync.sources.sql.pool import Driver

Connection = psycopg.Connection[Any]


def driver(dsn: str) -> Driver[Connection]:
    """Of sessions that have what the DSN's options set, in transactions that are read-only."""
    return Driver(partial(_connect, dsn), _is_alive, _reset, psycopg.Error)


def _connect(dsn: str) -> Connection:
    # What is prepared would be gone after DISCARD ALL.
    connection = psycopg.connect(dsn, prepare_threshold=None)
    connection.read_only = True
    return connection


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

"""Sessions on a MySQL or MariaDB server that can write nothing, as a pool keeps them."""

import contextlib
import struct
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pymysql

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.mysql_catalogue import Connection, version_of
from superinsight_sync.databases.pool import Driver

_DEFAULT_PORT = 3306
_SLOW_CONSUMER_S = 3600
"""The server would drop a connection whose reader is busy writing for a minute."""
_REFUSED = frozenset({1044, 1045, 1049, 1698, 1820, 3118})
"""Account or database are wrong: the next host is not asked, as with libpq."""
_RESET_CONNECTION = 0x1F
"""COM_RESET_CONNECTION, of MySQL 5.7 and MariaDB 10.2 on."""


@dataclass(frozen=True)
class Place:
    """Where one server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Access:
    """How sessions are made. `places` are tried in their order."""

    places: tuple[Place, ...]
    user: str
    password: str
    database: str | None
    connect_timeout_s: float
    statement_timeout_s: float

    def driver(self) -> Driver[Connection]:
        """For a pool of such sessions."""
        return Driver(
            self._connect, partial(_is_alive, self), partial(_reset, self), pymysql.Error, self._cancel
        )

    def _cancel(self, connection: Connection) -> None:
        """Ends the connection's statement at the server, by another connection."""
        number = int(connection.thread_id())
        place = Place(connection.host, connection.port)
        with contextlib.suppress(pymysql.Error), self.connect_to(place) as other, other.cursor() as cursor:
            cursor.execute(f"KILL CONNECTION {number}")

    def url(self, place: Place) -> str:
        """One server's, with the password, for connectorx."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        host = f"[{place.host}]" if ":" in place.host else place.host
        return f"mysql://{user}:{password}@{host}:{place.port}/{quote(self.database or '', safe='')}"

    def statements(self, server: str) -> list[str]:
        """What makes a session read-only, in UTC, and bounded in time.

        Args:
            server: its version.
        """
        limit = (
            f"max_statement_time = {self.statement_timeout_s:g}"
            if "mariadb" in server.lower()
            else f"max_execution_time = {int(self.statement_timeout_s * 1000)}"
        )
        return [
            "SET SESSION TRANSACTION READ ONLY",
            f"SET time_zone = '+00:00', sql_mode = '', net_write_timeout = {_SLOW_CONSUMER_S}, {limit}",
        ]

    def connect_to(self, place: Place) -> Connection:
        """A session on this server. Raises pymysql.Error."""
        timeout_s = max(1, int(self.connect_timeout_s))
        try:
            connection = pymysql.connect(
                host=place.host,
                port=place.port,
                user=self.user,
                password=self.password.encode(),  # of a str, pymysql sends latin-1
                database=self.database,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=timeout_s,
                read_timeout=timeout_s,  # of the greeting too: a port may listen and say nothing
            )
            self._prepare(connection)
        except (struct.error, LookupError, ValueError):
            raise pymysql.OperationalError(
                2013, "lost connection: the server speaks another protocol"
            ) from None
        return connection

    def _connect(self) -> Connection:
        """To the first of several servers that gives a session; if none does, the last one's error is told."""
        for place in self.places[:-1]:
            try:
                return self.connect_to(place)
            except pymysql.Error as error:
                if error.args and error.args[0] in _REFUSED:
                    raise
        return self.connect_to(self.places[-1])

    def _prepare(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            for statement in self.statements(version_of(connection)):
                cursor.execute(statement)
        _bound(connection, None)


def access_of(dsn: str, connect_timeout_s: float, statement_timeout_s: float) -> Access:
    """What the resolved DSN says. Raises ConfigError, without the DSN's text."""
    try:
        parts = urlsplit(dsn)
        account, _, listed = parts.netloc.rpartition("@")
        who = urlsplit(f"//{account}@")
        hosts = [urlsplit(f"//{place}") for place in listed.split(",")]
        places = tuple(Place(at.hostname or "", at.port or _DEFAULT_PORT) for at in hosts)
    except ValueError:
        parts = who = urlsplit("")
        places = (Place("", 0),)
    if parts.scheme not in ("mysql", "mariadb") or not all(place.host for place in places):
        raise ConfigError(
            "the DSN is no URL of a MySQL or MariaDB database",
            where="connection.dsn",
            hint="Write mysql://user:password@host:3306/database, or several hosts with commas between;"
            " escape special characters as %XX",
        )
    if parts.query:
        raise ConfigError("the DSN's options after ? are not supported", where="connection.dsn")
    return Access(
        places,
        unquote(who.username or ""),
        unquote(who.password or ""),
        unquote(parts.path.lstrip("/")) or None,
        connect_timeout_s,
        statement_timeout_s,
    )


def _bound(connection: Connection, seconds: float | None) -> None:
    """How long the server may be silent."""
    vars(connection)["_read_timeout"] = seconds


def _is_alive(access: Access, connection: Connection) -> bool:
    _bound(connection, access.connect_timeout_s)
    try:
        connection.ping(reconnect=False)
    except pymysql.Error:
        return False
    _bound(connection, None)
    return True


def _reset(access: Access, connection: Connection) -> None:
    low: Any = connection
    _bound(connection, access.connect_timeout_s)
    low._execute_command(_RESET_CONNECTION, b"")
    low._read_ok_packet()
    connection.set_character_set("utf8mb4")
    connection.autocommit(True)
    access._prepare(connection)

"""MySQL and MariaDB, read through connectorx in a session that can write nothing."""

import contextlib
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.protocol import (
    Capabilities,
    FoundStream,
    Probe,
    ReadRequest,
    StreamShape,
)
from superinsight_sync.sources.sql.config import ServerConfig

if TYPE_CHECKING:
    import pyarrow as pa
    import pymysql

_DEFAULT_PORT = 3306
_SLOW_CONSUMER_S = 3600
"""The server would drop a connection whose reader is busy writing for a minute."""


class Config(ServerConfig):
    """How to reach a MySQL or MariaDB database."""

    dsn: str = Field(
        description='mysql://user:password@host:port/database, by reference: "{{ env.SHOP_DSN }}".'
    )
    databases: tuple[str, ...] = Field(
        default=(), description="Databases that discovery lists. Default: the one of the DSN, else all."
    )
    special_values: Literal["fail", "null"] = Field(
        default="fail",
        description="Zero dates, which no Arrow value can hold: stop with an error, or read NULL and "
        "count them.",
    )


class MysqlSource:
    """A MySQL or MariaDB server. Types: `docs/reference/types.md`.

    A read is one statement, so with InnoDB it sees one state; closing it early kills it at the server.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"table", "query"}), snapshot=True, cancel=True, late_commits=timedelta(minutes=10)
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    def _address(self) -> dict[str, Any]:
        """Host, port, user, password and database of the DSN. Raises ConfigError, without the DSN's text."""
        from urllib.parse import unquote, urlsplit

        try:
            parts = urlsplit(resolve(self._config.dsn))
            account, _, listed = parts.netloc.rpartition("@")
            who = urlsplit(f"//{account}@")
            places = [urlsplit(f"//{place}") for place in listed.split(",")]
            hosts = [(at.hostname or "", at.port or _DEFAULT_PORT) for at in places]
        except ValueError:
            parts = who = urlsplit("")
            hosts = [("", 0)]
        if parts.scheme not in ("mysql", "mariadb") or not all(host for host, _ in hosts):
            raise ConfigError(
                "the DSN is no URL of a MySQL or MariaDB database",
                where="connection.dsn",
                hint="Write mysql://user:password@host:3306/database, or several hosts with commas between;"
                " escape special characters as %XX",
            )
        if parts.query:
            raise ConfigError("the DSN's options after ? are not supported", where="connection.dsn")
        host, port = self._first_alive(hosts)
        return {
            "host": host,
            "port": port,
            "user": unquote(who.username or ""),
            "password": unquote(who.password or ""),
            "database": unquote(parts.path.lstrip("/")) or None,
        }

    def _first_alive(self, hosts: list[tuple[str, int]]) -> tuple[str, int]:
        """The first of several hosts that listens; the last if none does, whose error is the one told."""
        for host in hosts[:-1]:
            with contextlib.suppress(OSError):
                socket.create_connection(host, self._config.connect_timeout.total_seconds()).close()
                return host
        return hosts[-1]

    def _session(self, server: str) -> list[str]:
        """Statements that make a session read-only, in UTC, and bounded in time."""
        timeout_s = self._config.statement_timeout.total_seconds()
        limit = (
            f"max_statement_time = {timeout_s:g}"
            if "mariadb" in server.lower()
            else f"max_execution_time = {int(timeout_s * 1000)}"
        )
        return [
            "SET SESSION TRANSACTION READ ONLY",
            f"SET time_zone = '+00:00', sql_mode = '', net_write_timeout = {_SLOW_CONSUMER_S}, {limit}",
        ]

    @contextmanager
    def _catalogue(self) -> "Iterator[pymysql.Connection[pymysql.cursors.Cursor]]":
        """A read-only connection for the catalogue and counts."""
        import pymysql

        from superinsight_sync.sources.sql.errors import mapped
        from superinsight_sync.sources.sql.mysql_catalogue import version_of

        timeout_s = max(1, int(self._config.connect_timeout.total_seconds()))
        address = self._address()
        address["password"] = address["password"].encode()  # of a str, pymysql sends latin-1
        try:
            with pymysql.connect(
                **address,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=timeout_s,
                read_timeout=timeout_s,  # of the greeting too: a port may listen and say nothing
            ) as connection:
                vars(connection)["_read_timeout"] = None
                with connection.cursor() as cursor:
                    for statement in self._session(version_of(connection)):
                        cursor.execute(statement)
                yield connection
        except pymysql.Error as error:
            raise mapped(error) from error

    def probe(self) -> Probe:
        from superinsight_sync.sources.sql.mysql_catalogue import can_write, version_of

        started = time.perf_counter()
        with self._catalogue() as db:
            version = version_of(db)
            latency_ms = 1000 * (time.perf_counter() - started)
            writable = can_write(db)
        name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        warnings = ("the account can write; give it read rights only",) if writable else ()
        return Probe(f"{name} {version.split('-')[0]}", latency_ms, warnings)

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.sources.sql.mysql_catalogue import found_streams

        with self._catalogue() as db:
            yield from found_streams(db, self._config.databases)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.sources.sql.mysql_catalogue import describe

        with self._catalogue() as db:
            return describe(db, stream)[0]

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa

        from superinsight_sync.sources.batches import schema_of, shaped
        from superinsight_sync.sources.sql.mysql_catalogue import describe, select_sql, version_of
        from superinsight_sync.sources.sql.mysql_types import Converter

        marker = f"sis-{uuid.uuid4().hex}"
        with self._catalogue() as db:
            shape, columns = describe(db, request.stream)
            sql, session = select_sql(db, request, columns, marker), self._session(version_of(db))
        needed = request.needed(shape.columns)
        converter = Converter(request, self._config.special_values)
        with self._stream(sql, session, request.batch_rows, marker) as batches:
            typed = shaped(
                batches,
                needed,
                converter.convert,
                batch_rows=request.batch_rows,
                limit=request.limit,
            )
            yield pa.RecordBatchReader.from_batches(schema_of(needed), typed)

    @contextmanager
    def _stream(
        self, sql: str, session: list[str], batch_rows: int, marker: str
    ) -> "Iterator[Iterator[pa.RecordBatch]]":
        """The statement's batches; the server stops it if they are not read to the end."""
        import connectorx

        from superinsight_sync.sources.sql.errors import from_panic

        with from_panic():
            reader: Any = connectorx.read_sql(
                self._url(),
                sql,
                return_type="arrow_stream",
                protocol="binary",
                batch_size=batch_rows,
                pre_execution_query=session,
            )
        done = False

        def batches() -> "Iterator[pa.RecordBatch]":
            nonlocal done
            with from_panic():
                yield from reader
            done = True

        try:
            yield batches()
        finally:
            if not done:
                self._kill(marker)
            reader.close()

    def _url(self) -> str:
        from urllib.parse import quote

        at = self._address()
        user, password = quote(at["user"], safe=""), quote(at["password"], safe="")
        host = f"[{at['host']}]" if ":" in at["host"] else at["host"]
        return f"mysql://{user}:{password}@{host}:{at['port']}/{quote(at['database'] or '', safe='')}"

    def _kill(self, marker: str) -> None:
        """Ends the statement that carries the marker, if it still runs and the server can be reached."""
        from superinsight_sync.sources.sql.mysql_catalogue import rows_of

        find = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE %s AND ID <> CONNECTION_ID()"
        with contextlib.suppress(SisError), self._catalogue() as db:
            for (number,) in rows_of(db, find, (f"%{marker}%",)):
                rows_of(db, f"KILL CONNECTION {int(number)}")

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.sources.sql.mysql_catalogue import count_sql, describe, rows_of

        with self._catalogue() as db:
            describe(db, request.stream)
            found = int(rows_of(db, count_sql(db, request))[0][0])
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        """None: no table-wide counter of changes is kept for InnoDB."""
        return None


PLUGIN = MysqlSource

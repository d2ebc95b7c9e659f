"""MySQL and MariaDB, read through connectorx in sessions that can write nothing."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from superinsight_sync.core.settings import Settings
from superinsight_sync.core.stopping import ends_by
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.protocol import Owner
from superinsight_sync.sources.server_config import ServerConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.databases.mysql_catalogue import Connection
    from superinsight_sync.databases.mysql_session import Access, Place


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
        self._owner = Owner()

    def pool_for(self, owner: Owner) -> None:
        self._owner = owner

    def _access(self) -> "Access":
        from superinsight_sync.databases.mysql_session import access_of

        config = self._config
        return access_of(
            resolve(config.dsn),
            config.connect_timeout.total_seconds(),
            config.statement_timeout.total_seconds(),
        )

    @contextmanager
    def _connection(self) -> "Iterator[Connection]":
        """A session for the catalogue and counts that can write nothing. It is the caller's only one."""
        import pymysql

        from superinsight_sync.databases.errors import mapped
        from superinsight_sync.databases.pool import Pool, pool_of

        access, owner = self._access(), self._owner
        pool = pool_of(
            ("mysql", owner, access),
            lambda: Pool(access.driver(), owner.streams_at_once, access.connect_timeout_s),
        )
        try:
            with pool.connection() as connection:
                yield connection
        except pymysql.Error as error:
            raise mapped(error) from error

    def probe(self) -> Probe:
        from superinsight_sync.databases.mysql_catalogue import can_write, version_of

        started = time.perf_counter()
        with self._connection() as db:
            version = version_of(db)
            latency_ms = 1000 * (time.perf_counter() - started)
            writable = can_write(db)
        name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        warnings = ("the account can write; give it read rights only",) if writable else ()
        return Probe(f"{name} {version.split('-')[0]}", latency_ms, warnings)

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.databases.mysql_catalogue import found_streams

        with self._connection() as db:
            yield from found_streams(db, self._config.databases)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.databases.mysql_catalogue import describe

        with self._connection() as db:
            return describe(db, stream)[0]

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa

        from superinsight_sync.databases.mysql_catalogue import describe, select_sql, version_of
        from superinsight_sync.databases.mysql_session import Place
        from superinsight_sync.databases.mysql_types import Converter
        from superinsight_sync.records.batches import schema_of, shaped

        access, marker = self._access(), f"sis-{uuid.uuid4().hex}"
        with self._connection() as db:
            shape, columns = describe(db, request.stream)
            sql, session = select_sql(db, request, columns, marker), access.statements(version_of(db))
            place = Place(db.host, db.port)
        needed = request.needed(shape.columns)
        converter = Converter(request, self._config.special_values)
        with self._stream(sql, session, place, request.batch_rows, marker) as batches:
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
        self, sql: str, session: list[str], place: "Place", batch_rows: int, marker: str
    ) -> "Iterator[Iterator[pa.RecordBatch]]":
        """The statement's batches; the server stops it if they are not read to the end."""
        from superinsight_sync.databases.connectorx_process import read_by_connectorx
        from superinsight_sync.databases.errors import from_panic

        with read_by_connectorx(
            conn=self._access().url(place),
            query=sql,
            protocol="binary",
            batch_size=batch_rows,
            pre_execution_query=session,
        ) as reading:

            def stop() -> None:
                reading.kill()
                self._kill(place, marker)

            def batches() -> "Iterator[pa.RecordBatch]":
                with from_panic(), ends_by(stop):
                    yield from reading.batches()

            try:
                yield batches()
            finally:
                if not reading.done:
                    self._kill(place, marker)

    def _kill(self, place: "Place", marker: str) -> None:
        """Ends the statement that carries the marker, if it still runs and the server can be reached."""
        import pymysql

        from superinsight_sync.databases.mysql_catalogue import rows_of

        find = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE %s AND ID <> CONNECTION_ID()"
        with contextlib.suppress(pymysql.Error), self._access().connect_to(place) as db:
            for (number,) in rows_of(db, find, (f"%{marker}%",)):
                rows_of(db, f"KILL CONNECTION {int(number)}")

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.databases.mysql_catalogue import count_sql, describe, rows_of

        with self._connection() as db:
            describe(db, request.stream)
            found = int(rows_of(db, count_sql(db, request))[0][0])
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        """None: no table-wide counter of changes is kept for InnoDB."""
        return None


PLUGIN = MysqlSource

"""SQL Server 2016 and newer and Azure SQL, read through mssql-python's Arrow fetch, and never committed."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import Duration, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.server_config import ServerConfig

if TYPE_CHECKING:
    import mssql_python
    import pyarrow as pa

_DEFAULT_PORT = 1433
_MAX_ROWS = 20_000


class Config(ServerConfig):
    """How to reach a SQL Server database."""

    dsn: str = Field(
        description='mssql://user:password@host:port/database, by reference: "{{ env.ERP_DSN }}".'
    )
    schemas: tuple[str, ...] = Field(default=(), description="Schemas that discovery lists. Default: all.")
    trust_certificate: bool = Field(
        default=False, description="Accept any certificate of the server. The connection is encrypted always."
    )
    certificate_host: str | None = Field(
        default=None, description="The name in the server's certificate, if it is not the host of `dsn`."
    )
    read_only_replica: bool = Field(
        default=True, description="Ask an availability group for a readable replica (ApplicationIntent)."
    )
    multi_subnet_failover: bool = Field(
        default=True, description="Try all addresses of the host at once, for quick failover."
    )
    statement_timeout: Duration = timedelta(hours=1)
    """Longest wait for a statement. 0 for no limit."""
    special_values: Literal["fail", "null"] = Field(
        default="fail",
        description="Times finer than a microsecond, which no Arrow value can hold: stop with an error, or "
        "read NULL and count them.",
    )


class MssqlSource:
    """A SQL Server database. Types: `docs/reference/types.md`.

    A read is one transaction, of one snapshot where the database allows it, and is rolled back.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"table", "query"}), cancel=True, late_commits=timedelta(minutes=10)
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    def _connection_string(self) -> str:
        """For the driver. Raises ConfigError, without the DSN's text."""
        from urllib.parse import unquote, urlsplit

        c = self._config
        try:
            parts = urlsplit(resolve(c.dsn))
            port = parts.port or _DEFAULT_PORT
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme not in ("mssql", "sqlserver") or not parts.hostname or parts.query:
            raise ConfigError(
                "the DSN is no URL of a SQL Server database",
                where="connection.dsn",
                hint="Write mssql://user:password@host:1433/database; escape special characters as %XX",
            )
        values = {
            "Server": f"tcp:{parts.hostname},{port}",
            "Database": unquote(parts.path.lstrip("/")),
            "UID": unquote(parts.username or ""),
            "PWD": unquote(parts.password or ""),
            "Encrypt": "yes",
            "TrustServerCertificate": "yes" if c.trust_certificate else "no",
            "HostnameInCertificate": c.certificate_host or "",
            "ApplicationIntent": "ReadOnly" if c.read_only_replica else "",
            "MultiSubnetFailover": "yes" if c.multi_subnet_failover else "",
        }
        return "".join(f"{key}={braced(value)};" for key, value in values.items() if value)

    @contextmanager
    def _session(self, isolation: str = "READ COMMITTED") -> "Iterator[mssql_python.Connection]":
        """A connection in a transaction that is rolled back whatever it did."""
        import mssql_python

        from superinsight_sync.databases.mssql_errors import mapped_mssql

        timeout_s = max(1, int(self._config.connect_timeout.total_seconds()))
        try:
            db = mssql_python.connect(self._connection_string(), autocommit=False, timeout=timeout_s)
        except mssql_python.exceptions.ConnectionStringParseError:
            raise ConfigError("the DSN cannot be read", where="connection.dsn") from None
        except (mssql_python.Error, RuntimeError) as error:
            raise mapped_mssql(error) from error
        try:
            db.timeout = int(self._config.statement_timeout.total_seconds())
            with db.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            yield db
            db.rollback()
        except (mssql_python.Error, RuntimeError) as error:
            raise mapped_mssql(error) from error
        finally:
            db.close()  # rolls back what is still open

    def probe(self) -> Probe:
        from superinsight_sync.databases.mssql_catalogue import can_write, has_snapshots, rows_of

        started = time.perf_counter()
        with self._session() as db:
            version = rows_of(db, "SELECT CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion'))")[0][0]
            latency_ms = 1000 * (time.perf_counter() - started)
            writable, snapshots = can_write(db), has_snapshots(db)
        return Probe(f"SQL Server {version}", latency_ms, warnings_of(writable, snapshots))

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.databases.mssql_catalogue import found_streams

        with self._session() as db:
            yield from found_streams(db, self._config.schemas)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.databases.mssql_catalogue import describe

        with self._session() as db:
            return describe(db, stream)[0]

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa

        from superinsight_sync.databases.mssql_catalogue import describe, has_snapshots, select_sql
        from superinsight_sync.databases.mssql_types import Converter
        from superinsight_sync.records.batches import schema_of, shaped

        with self._session() as db:
            shape, columns, at = describe(db, request.stream)
            isolation = "SNAPSHOT" if has_snapshots(db) else "READ COMMITTED"
        sql, needed = select_sql(request, columns, at), request.needed(shape.columns)
        with self._session(isolation) as db, db.cursor() as cursor:
            batches = _batches(cursor, sql, min(request.batch_rows, _MAX_ROWS))
            typed = shaped(
                batches,
                needed,
                Converter(request, self._config.special_values).convert,
                batch_rows=request.batch_rows,
                limit=request.limit,
            )
            try:
                yield pa.RecordBatchReader.from_batches(schema_of(needed), typed)
            finally:
                batches.close()

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.databases.mssql_catalogue import count_sql, describe, rows_of

        with self._session() as db:
            _, columns, at = describe(db, request.stream)
            found = int(rows_of(db, count_sql(request, columns, at))[0][0])
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        """None: the server keeps no count of changes that a reader may see."""
        return None


def braced(value: str) -> str:
    """A value of a connection string, so that nothing in it ends it."""
    return "{" + value.replace("}", "}}") + "}"


def warnings_of(writable: bool, snapshots: bool) -> tuple[str, ...]:
    """What a person should change."""
    found = []
    if writable:
        found.append("the account can write; give it read rights only (db_datareader)")
    if not snapshots:
        found.append(
            "the database allows no snapshots, so a long read may miss or repeat rows that change meanwhile; "
            "ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON"
        )
    return tuple(found)


def _batches(cursor: "mssql_python.Cursor", sql: str, size: int) -> "Generator[pa.RecordBatch]":
    import mssql_python

    from superinsight_sync.databases.mssql_errors import mapped_mssql

    try:
        cursor.execute(sql)
        reader: Any = cursor.arrow_reader(batch_size=size)
        try:
            yield from reader
        finally:
            reader.close()
    except (mssql_python.Error, RuntimeError) as error:
        raise mapped_mssql(error, "read") from error


PLUGIN = MssqlSource

"""Oracle Database 12.1 and newer, read through python-oracledb's Arrow fetch in one read-only snapshot."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.core.stopping import ends_by
from superinsight_sync.model.declaration import Duration, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.server_config import ServerConfig

if TYPE_CHECKING:
    import oracledb
    import pyarrow as pa

_MAX_ROWS = 20_000
_MAX_LOB_ROWS = 500
"""Fetched at once: the driver holds a whole batch, and values of lobs besides."""


class Config(ServerConfig):
    """How to reach an Oracle database."""

    dsn: str = Field(
        description="Where it is, without account: host:port/service, host1,host2:port/service, "
        "tcps://host:port/service, or a (DESCRIPTION=…) with several addresses for failover."
    )
    user: str = Field(description='The account, best with SELECT rights only: "{{ env.ERP_USER }}".')
    password: str = Field(description='By reference: "{{ env.ERP_PASSWORD }}".')
    schemas: tuple[str, ...] = Field(
        default=(), description="Schemas that discovery lists. Default: all but Oracle's own."
    )
    wallet_dir: str | None = Field(default=None, description="Folder with ewallet.pem, for mutual TLS.")
    wallet_password: str | None = Field(default=None, description="The wallet's password, by reference.")
    statement_timeout: Duration = timedelta(hours=1)
    """Longest wait for the server's answer. 0 for no limit."""
    special_values: Literal["fail", "null"] = Field(
        default="fail",
        description="Timestamps finer than a microsecond, which no Arrow value can hold: stop with an error, "
        "or read NULL and count them.",
    )


class OracleSource:
    """An Oracle database. Types: `docs/reference/types.md`. A read is one read-only transaction."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"table", "query"}), snapshot=True, cancel=True, late_commits=timedelta(minutes=10)
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    def _connect(self) -> "oracledb.Connection":
        """A connection in time. The driver bounds the TCP connect alone, not a server that says nothing."""
        import oracledb

        c = self._config
        timeout_s = max(1.0, c.connect_timeout.total_seconds())
        options: dict[str, Any] = {"tcp_connect_timeout": timeout_s, "program": "superinsight-sync"}
        if c.wallet_dir:
            options |= {"config_dir": c.wallet_dir, "wallet_location": c.wallet_dir}
        if c.wallet_password:
            options["wallet_password"] = resolve(c.wallet_password)
        account = {"user": resolve(c.user), "password": resolve(c.password), "dsn": resolve(c.dsn)}
        made: queue.SimpleQueue[oracledb.Connection | oracledb.Error] = queue.SimpleQueue()

        def connect() -> None:
            try:
                made.put(oracledb.connect(**account, **options))
            except oracledb.Error as error:
                made.put(error)

        threading.Thread(target=connect, daemon=True, name="oracle-connect").start()
        try:
            found = made.get(timeout=timeout_s + 1)
        except queue.Empty:
            raise TransientError(
                f"the database did not answer within {timeout_s:g} s",
                where="connection",
                hint="Check that host and port of `dsn` are those of an Oracle listener",
            ) from None
        if isinstance(found, oracledb.Error):
            raise found
        return found

    @contextmanager
    def _session(self) -> "Iterator[oracledb.Connection]":
        """A connection in a transaction that reads one snapshot and can write nothing."""
        import oracledb

        from superinsight_sync.databases.oracle_errors import mapped_oracle

        try:
            with self._connect() as db:
                db.call_timeout = int(self._config.statement_timeout.total_seconds() * 1000)
                with ends_by(partial(_cancel, db)):
                    with db.cursor() as cursor:
                        cursor.execute("SET TRANSACTION READ ONLY")
                    yield db
        except oracledb.Error as error:
            raise mapped_oracle(error) from error

    def probe(self) -> Probe:
        from superinsight_sync.databases.oracle_catalogue import can_write

        started = time.perf_counter()
        with self._session() as db:
            version = db.version
            latency_ms = 1000 * (time.perf_counter() - started)
            writable = can_write(db)
        warnings = ("the account can write; give it read rights only",) if writable else ()
        return Probe(f"Oracle {version}", latency_ms, warnings)

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.databases.oracle_catalogue import found_streams

        with self._session() as db:
            yield from found_streams(db, self._config.schemas)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.databases.oracle_catalogue import describe

        with self._session() as db:
            return describe(db, stream)[0]

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa

        from superinsight_sync.databases.oracle_catalogue import describe, located, select_sql
        from superinsight_sync.databases.oracle_types import Converter
        from superinsight_sync.records.batches import schema_of, shaped

        with self._session() as db:
            shape, columns = describe(db, request.stream)
            sql = select_sql(request, columns, located(db, request.stream))
            needed = request.needed(shape.columns)
            large = any(c.family == "lob" or c.base == "BLOB" for c in request.needed(columns))
            typed = shaped(
                _batches(db, sql, min(request.batch_rows, _MAX_LOB_ROWS if large else _MAX_ROWS)),
                needed,
                Converter(request, self._config.special_values).convert,
                batch_rows=request.batch_rows,
                limit=request.limit,
            )
            # Fetched batch by batch: between two of them no call runs, and closing the session ends the cursor.
            yield pa.RecordBatchReader.from_batches(schema_of(needed), typed)

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.databases.oracle_catalogue import count_sql, describe, located, rows_of

        with self._session() as db:
            _, columns = describe(db, request.stream)
            found = int(rows_of(db, count_sql(request, columns, located(db, request.stream)))[0][0])
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        """None: the change number of a table needs rights that a reader does not have."""
        return None


def _cancel(db: "oracledb.Connection") -> None:
    import oracledb

    with suppress(oracledb.Error):
        db.cancel()


def _batches(db: "oracledb.Connection", sql: str, size: int) -> "Iterator[pa.RecordBatch]":
    import oracledb
    import pyarrow as pa

    from superinsight_sync.databases.oracle_errors import mapped_oracle

    try:
        for frame in db.fetch_df_batches(sql, size=size, fetch_decimals=True):
            yield from pa.table(frame).to_batches()
    except oracledb.Error as error:
        raise mapped_oracle(error, "read") from error


PLUGIN = OracleSource

"""PostgreSQL 12 and newer, read by binary COPY in one read-only snapshot."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.sources.opening import options_of
from superinsight_sync.sources.protocol import Owner, StreamOptions
from superinsight_sync.sources.server_config import ServerConfig

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    from superinsight_sync.databases.pool import Pool
    from superinsight_sync.databases.postgres_types import PgColumn


class Config(ServerConfig):
    """How to reach a PostgreSQL database."""

    dsn: str = Field(description='URL or key=value DSN, by reference: "{{ env.CRM_DSN }}".')
    schemas: tuple[str, ...] = Field(
        default=(), description="Schemas that discovery lists. Default: all but the system's."
    )
    special_values: Literal["fail", "null"] = Field(
        default="fail",
        description="infinity and NaN of dates and numerics, which no Arrow value can hold: stop with an "
        "error, or read NULL and count them.",
    )


class Options(StreamOptions):
    """How a stream of PostgreSQL is read."""

    parallel: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Into how many parts a big table is split, read at once on one snapshot.",
    )


class PostgresSource:
    """A PostgreSQL database. Types: `docs/reference/types.md`."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"table", "query"}), snapshot=True, cancel=True
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._owner = Owner()

    def _dsn(self) -> str:
        from superinsight_sync.databases.postgres_session import conninfo

        timeout_ms = int(self._config.statement_timeout.total_seconds() * 1000)
        settings = f"-c default_transaction_read_only=on -c statement_timeout={timeout_ms}"
        return conninfo(self._config.dsn, connect_timeout=self._config.connect_timeout, settings=settings)

    def pool_for(self, owner: Owner) -> None:
        self._owner = owner

    def _pool(self) -> "Pool[psycopg.Connection[Any]]":
        from superinsight_sync.databases.pool import Pool, pool_of
        from superinsight_sync.databases.postgres_session import driver

        dsn, wait_s = self._dsn(), self._config.connect_timeout.total_seconds()
        return pool_of(
            ("postgres", self._owner, dsn), lambda: Pool(driver(dsn), self._owner.streams_at_once, wait_s)
        )

    @contextmanager
    def _connection(self) -> "Iterator[psycopg.Connection[Any]]":
        """A session that can write nothing. It is the caller's only one."""
        import psycopg

        from superinsight_sync.databases.errors import mapped

        try:
            with self._pool().connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise mapped(error) from error

    def probe(self) -> Probe:
        started = time.perf_counter()
        with self._connection() as db:
            version = db.execute("SHOW server_version").fetchone()
            latency_ms = 1000 * (time.perf_counter() - started)
            from superinsight_sync.databases.postgres_catalogue import can_write
            from superinsight_sync.databases.postgres_late_commits import blindness

            found = (
                "the account can write; give it read rights only" if can_write(db) else None,
                blindness(db),
            )
        warnings = tuple(w for w in found if w is not None)
        return Probe(f"PostgreSQL {version[0].split()[0] if version else '?'}", latency_ms, warnings)

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.databases.postgres_catalogue import found_streams

        with self._connection() as db:
            yield from found_streams(db, self._config.schemas)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.databases.postgres_catalogue import describe

        with self._connection() as db:
            return describe(db, stream)[0]

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import pyarrow as pa

        from superinsight_sync.databases.errors import mapped
        from superinsight_sync.databases.postgres_catalogue import describe
        from superinsight_sync.databases.postgres_late_commits import Lateness
        from superinsight_sync.databases.postgres_types import Converter
        from superinsight_sync.records.batches import schema_of, shaped

        with self._connection() as db:
            shape, columns = describe(db, request.stream)
            late = Lateness(db, request)
            needed = request.needed(shape.columns)
            converter = Converter(columns, request, self._config.special_values)

            def typed(batches: Any) -> Iterator[pa.RecordBatch]:
                try:
                    for batch in shaped(
                        batches,
                        needed,
                        converter.convert,
                        batch_rows=request.batch_rows,
                        limit=request.limit,
                    ):
                        late.see(batch)
                        yield batch
                except pa.ArrowException as error:
                    raise mapped(error) from error
                late.finish()

            db.commit()
            readers: list[int] = []
            with self._batches(db, late.request, columns, readers) as batches:
                if late.watches:
                    with self._pool().one_more() as beside:
                        late.snapshot_taken(beside, readers)
                yield pa.RecordBatchReader.from_batches(schema_of(needed), typed(batches))

    @contextmanager
    def _batches(
        self,
        db: "psycopg.Connection[Any]",
        request: ReadRequest,
        columns: "Sequence[PgColumn]",
        readers: list[int],
    ) -> "Iterator[Any]":
        """The request's batches as the driver gives them: of one statement, or of several on one snapshot.

        Args:
            readers: gets the backends that read.
        """
        import pyarrow as pa
        from psycopg import IsolationLevel

        from superinsight_sync.databases.postgres_catalogue import block_ranges, select_sql
        from superinsight_sync.sources.parallel_parts import side_by_side

        schema = pa.schema([(c.name, c.sent) for c in request.needed(columns)])
        wanted = options_of("postgres", request.stream).parallel
        ranges = block_ranges(db, request.stream, wanted) if wanted > 1 and request.limit is None else []
        statements = [select_sql(db, request, columns, blocks) for blocks in ranges or (None,)]
        db.commit()
        readers.append(db.info.backend_pid)
        db.isolation_level = IsolationLevel.REPEATABLE_READ
        if not ranges:
            with self._stream(db, schema, statements[0]) as batches:
                yield batches
            return
        row = db.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        parts = [partial(self._part, schema, statement, readers, row[0]) for statement in statements]
        with side_by_side(parts, ahead=len(parts)) as batches:
            yield batches

    @contextmanager
    def _part(
        self, schema: "pa.Schema", sql: str, readers: list[int], snapshot: str
    ) -> "Iterator[Iterator[pa.RecordBatch]]":
        """The statement's batches, read by a connection of its own that sees this snapshot."""
        from psycopg import Error, IsolationLevel

        from superinsight_sync.databases.errors import mapped

        try:
            with self._pool().beside() as db:
                readers.append(db.info.backend_pid)
                db.isolation_level = IsolationLevel.REPEATABLE_READ
                db.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())
                with self._stream(db, schema, sql) as batches:
                    yield batches
        except Error as error:
            raise mapped(error) from error

    @contextmanager
    def _stream(
        self, db: "psycopg.Connection[Any]", schema: "pa.Schema", sql: str
    ) -> "Iterator[Iterator[pa.RecordBatch]]":
        """The statement's batches. A connection whose statement was broken off is closed."""
        from psycopg import Error

        from superinsight_sync.core.postgres_copy import copied
        from superinsight_sync.databases.errors import mapped
        from superinsight_sync.databases.postgres_types import several_dimensions

        done = False
        try:
            with copied(db, sql, schema) as rows:

                def batches() -> "Iterator[pa.RecordBatch]":
                    nonlocal done
                    try:
                        yield from rows
                    except Error as error:
                        raise several_dimensions(error) or mapped(error) from error
                    done = True

                yield batches()
        finally:
            if not done:
                db.close()

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.databases.postgres_catalogue import count_sql, describe

        with self._connection() as db:
            _, columns = describe(db, request.stream)
            row = db.execute(count_sql(db, request, columns)).fetchone()
        found = int(row[0]) if row else 0
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        return None


PLUGIN = PostgresSource

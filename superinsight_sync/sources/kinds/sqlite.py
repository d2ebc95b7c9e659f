"""SQLite files, opened read-only."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from superinsight_sync.core.errors import AccessError, ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.protocol import KindConfig

if TYPE_CHECKING:
    import sqlite3

    import pyarrow as pa


_LAST_COMMIT = slice(16, 40)
"""In the header of the log's index: frames, pages, last checksum, salts (sqlite.org/walformat.html, 2.1)."""


class Config(KindConfig):
    """Which file."""

    path: str = Field(description="The database file, relative to the project's folder.")


class SqliteSource:
    """A SQLite database file. Types: `docs/reference/types.md`."""

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({"table", "query"}), snapshot=True)

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    @property
    def _path(self) -> Path:
        return (self._settings.project_dir / resolve(self._config.path)).resolve()

    @property
    def _uri(self) -> str:
        from urllib.parse import quote

        if not self._path.is_file():
            raise ConfigError(f"there is no database file {self._path}", hint="Check `path`")
        return f"file:{quote(str(self._path))}?mode=ro"

    @contextmanager
    def _open(self) -> "Iterator[sqlite3.Connection]":
        import sqlite3

        from superinsight_sync.databases.errors import mapped

        try:
            with closing(sqlite3.connect(self._uri, uri=True, timeout=30)) as db:
                db.execute("PRAGMA query_only = ON")
                yield db
        except sqlite3.Error as error:
            raise mapped(error) from error

    def probe(self) -> Probe:
        import os
        import sqlite3

        started = time.perf_counter()
        with self._open() as db:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not os.access(self._path, os.R_OK):
            raise AccessError(f"{self._path} cannot be read", hint="Give the account read rights")
        return Probe(
            f"SQLite {sqlite3.sqlite_version}",
            1000 * (time.perf_counter() - started),
            details={"writable": os.access(self._path, os.W_OK)},
        )

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.databases.sqlite_catalogue import found_streams

        with self._open() as db:
            yield from found_streams(db)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.databases.sqlite_catalogue import describe

        with self._open() as db:
            return describe(db, stream)

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import adbc_driver_manager
        import adbc_driver_sqlite.dbapi as adbc
        import pyarrow as pa

        from superinsight_sync.databases.errors import mapped
        from superinsight_sync.databases.sqlite_catalogue import describe, mixed_values, select_sql, untimed
        from superinsight_sync.databases.sqlite_types import as_declared
        from superinsight_sync.records.batches import schema_of, shaped

        with self._open() as db:
            shape = describe(db, request.stream)
            wrong_cursor = untimed(db, request)
        if wrong_cursor:
            raise wrong_cursor
        sql, columns = select_sql(request, shape.columns), request.needed(shape.columns)

        def typed(batches: Any) -> Iterator[pa.RecordBatch]:
            try:
                yield from shaped(
                    _without_first_row(batches),
                    columns,
                    as_declared,
                    batch_rows=request.batch_rows,
                    limit=request.limit,
                )
            except (OSError, pa.ArrowException) as error:
                with self._open() as db:
                    found = mixed_values(db, request, shape.columns)
                raise found or mapped(error) from error

        try:
            with adbc.connect(self._uri) as connection, connection.cursor() as cursor:
                cursor.execute(sql)
                yield pa.RecordBatchReader.from_batches(
                    schema_of(columns), typed(cursor.fetch_record_batch())
                )
        except (adbc_driver_manager.Error, OSError) as error:
            with self._open() as db:
                found = mixed_values(db, request, shape.columns)
            raise found or mapped(error) from error

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.databases.sqlite_catalogue import count_sql, describe

        with self._open() as db:
            row = db.execute(count_sql(request, describe(db, request.stream).columns)).fetchone()
        found = int(row[0])
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        """Change counter, size and time of the file; size and time of its log; checksum of the log's
        last commit: they differ after any commit, also if the log is written anew within a clock's tick."""
        if not self._path.is_file():
            return None
        with self._path.open("rb") as file:
            header = file.read(100)
        log = self._path.with_name(self._path.name + "-wal")
        stats = [self._path.stat()] + ([log.stat()] if log.exists() else [])
        index = self._path.with_name(self._path.name + "-shm")
        if log.exists() and index.exists():
            with index.open("rb") as file:
                header += file.read(_LAST_COMMIT.stop)[_LAST_COMMIT]
        return f"{header[24:28].hex()}{header[100:].hex()}:" + ",".join(
            f"{s.st_size}.{s.st_mtime_ns}" for s in stats
        )


def _without_first_row(batches: Any) -> "Iterator[pa.RecordBatch]":
    """All rows but the sentinel, which only fixed the types."""
    for number, batch in enumerate(batches):
        yield batch if number else batch.slice(1)


PLUGIN = SqliteSource

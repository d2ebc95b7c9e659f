"""DuckDB files, opened read-only and cut off from everything else."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.core.stopping import ends_by
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.protocol import KindConfig

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


_INFINITY = "Invalid Input Error: infinity in column "
_CAST_COLUMN = re.compile(r"when casting from source column ([^'\"\n]+)(?:\n\nLINE |\Z)")


class Config(KindConfig):
    """Which file."""

    path: str = Field(description="The database file, relative to the project's folder.")


class DuckdbSource:
    """A DuckDB database file. Hugeint, UUID, interval, enum and bit are read as text; maps and unions as JSON."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"table", "query"}), snapshot=True, cancel=True
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    @property
    def _path(self) -> Path:
        path = (self._settings.project_dir / resolve(self._config.path)).resolve()
        if not path.is_file():
            raise ConfigError(f"there is no database file {path}", hint="Check `path`")
        return path

    @contextmanager
    def _open(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """A connection that can read this file and nothing else."""
        import duckdb

        limit = f"{self._settings.memory_limit_bytes // 1024}KiB"
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        spill = self._settings.scratch_dir / f"duckdb-{os.getpid()}"
        config: dict[str, Any] = {
            "memory_limit": limit,
            "temp_directory": str(spill),
            "python_enable_replacements": "false",
        }
        path = self._path
        try:
            with duckdb.connect(str(path), read_only=True, config=config) as db:
                db.execute(
                    "SET enable_external_access = false"
                )  # in `config` it would forbid the temp_directory
                db.execute("SET TimeZone = 'UTC'")
                yield db
        except duckdb.Error as error:
            raise _mapped(error) from error

    def probe(self) -> Probe:
        started = time.perf_counter()
        with self._open() as db:
            version = db.execute("SELECT version()").fetchall()[0][0]
        return Probe(
            f"DuckDB {version}",
            1000 * (time.perf_counter() - started),
            details={"writable": os.access(self._path, os.W_OK)},
        )

    def discover(self) -> Iterator[FoundStream]:
        from superinsight_sync.databases.duckdb_catalogue import found_streams

        with self._open() as db:
            yield from found_streams(db)

    def describe(self, stream: StreamSpec) -> StreamShape:
        from superinsight_sync.databases.duckdb_catalogue import describe

        with self._open() as db:
            return describe(db, stream)

    @contextmanager
    def read(self, request: ReadRequest) -> "Iterator[pa.RecordBatchReader]":
        import duckdb
        import pyarrow as pa

        from superinsight_sync.databases.duckdb_catalogue import describe, select_sql
        from superinsight_sync.records.batches import schema_of, shaped

        with self._open() as db, ends_by(db.interrupt):
            shape = describe(db, request.stream)
            columns = request.needed(shape.columns)
            statement, values = select_sql(request, shape.columns)
            batches: pa.RecordBatchReader = db.execute(statement, values).to_arrow_reader(request.batch_rows)

            def typed() -> Iterator[pa.RecordBatch]:
                try:
                    yield from shaped(
                        batches, columns, _as_declared, batch_rows=request.batch_rows, limit=request.limit
                    )
                except (duckdb.Error, OSError, pa.ArrowException) as error:
                    raise _mapped(error) from error

            try:
                yield pa.RecordBatchReader.from_batches(schema_of(columns), typed())
            finally:
                batches.close()

    def count(self, request: ReadRequest) -> int:
        from superinsight_sync.databases.duckdb_catalogue import count_sql, describe

        with self._open() as db:
            statement, values = count_sql(request, describe(db, request.stream).columns)
            found = int(db.execute(statement, values).fetchall()[0][0])
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        """Sizes and times of the file and of its write-ahead log."""
        path = self._path
        parts = [path, path.with_name(path.name + ".wal")]
        return ",".join(f"{s.st_size}.{s.st_mtime_ns}" for s in (p.stat() for p in parts if p.exists()))


def _as_declared(array: "pa.Array", column: Any) -> "pa.Array":
    import pyarrow as pa

    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    return array if array.type == column.arrow else array.cast(column.arrow)


def _mapped(error: BaseException) -> SisError:
    """DuckDB's error as one of ours, by its class and words. Of errors about values the words are not told:
    these hold the value in many forms, also without quotes."""
    import duckdb
    import pyarrow as pa

    from superinsight_sync.databases.errors import error_as

    text = str(error)
    lowered = text.lower()
    if text.startswith(_INFINITY):
        name = text.removeprefix(_INFINITY).split()[0]
        return DataError(
            f"column '{name}' holds infinity, which no Arrow value can",
            hint="Select it with a query that converts it",
        )
    if "conflicting lock" in lowered or "could not set lock" in lowered:
        return TransientError(
            "another process has the database file open for writing",
            hint="It is read when that process has closed it",
        )
    if "permission denied" in lowered:
        return AccessError("the database file may not be read", hint="Give this process the right to read it")
    if "out of memory" in lowered or "interrupt" in lowered:
        return error_as(TransientError, error, hint="It is tried again; give DuckDB less to hold at once")
    if isinstance(error, duckdb.DataError | pa.ArrowInvalid):
        column = _CAST_COLUMN.search(text)
        return DataError(
            f"Could not convert a value{f' of column {column[1]!r}' if column else ''}",
            hint="Check the values, or select them with a query that converts them",
        )
    if isinstance(error, duckdb.InvalidInputException):
        return ConfigError(
            "DuckDB refuses what the query computes with", hint="Check the query, and the values it takes"
        )
    return error_as(ConfigError, error)


PLUGIN = DuckdbSource

"""Kind `files`: text, JSON, XML, Excel, Avro, ORC and Parquet files, compressed or not, of a folder: local, or
on an FTP, SFTP, S3 or web server.

A file is read whole, as it was when it was listed; one that changes meanwhile fails the read, to be tried
again. The cursor ``_sis_file_modified_at`` reads only files that are new or changed: by their modification times
and, on this machine, by when they were put there. Servers tell the former alone, so a file that is put there with
an older time is not new to it.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from superinsight_sync.core.errors import ConfigError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import Duration, FormatSpec, Size, StreamSpec
from superinsight_sync.model.read import Capabilities, Column, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.files.listing import (
    MODIFIED_AT,
    UNKNOWN,
    Files,
    Folder,
    FoundFile,
    is_asked_for,
    token_of,
)
from superinsight_sync.sources.files.remote.options import RemoteConfig
from superinsight_sync.sources.files.streams import Limits

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.sources.files.reading import FileRead, Table
    from superinsight_sync.sources.files.remote.folder import RemoteFolder


SETTLE = timedelta(seconds=3)
_APPEAR_WHOLE = ("s3", "http", "https")


class Config(RemoteConfig):
    """A folder on this machine or a server."""

    path: str
    """The folder or the one file, relative to the project, or a URL: `ftp://`, `ftps://`, `sftp://`,
    `s3://bucket/prefix`, `https://`; may refer to the environment: "{{ env.X }}"."""
    settle: Duration | None = None
    """A file modified more recently than this is taken to be still in the making. A read by the cursor
    `_sis_file_modified_at` leaves it for the next one if there are others; else up to 10 s are waited, and a
    longer `settle` leaves it alone. Default: 3 s; 0 s on S3 and web servers, whose files appear whole."""
    max_decompressed: Size = 100 * 10**9
    """A file that grows to more bytes than this when decompressed is refused."""
    max_ratio: int = Field(default=1000, ge=1)
    """A file that grows by more than this factor (and beyond 100 MB) is refused."""


class FilesSource:
    """Reads the files of a folder. Never writes."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        places=frozenset({"path"}),
        snapshot=True,
        cancel=True,
        gives_bound=False,
        own_columns=frozenset({"_sis_file", "_sis_file_modified_at"}),
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._project_dir = settings.project_dir
        self._scratch_dir = settings.scratch_dir
        self._limits = Limits(config.max_decompressed, config.max_ratio)
        self._tables: dict[str, tuple[str, Table]] = {}
        self._described: dict[str, pa.Schema] = {}
        self._landed: dict[str, pa.Schema] = {}
        self._lock = threading.Lock()
        self._remote: RemoteFolder | None = None

    def probe(self) -> Probe:
        """Lists the folder. Raises ConfigError if it is not there, AccessError if it cannot be read."""
        began = time.perf_counter()
        folder = self._folder()
        with self._kept():
            files = folder.everything()
            warnings = [] if files else ["no file was found"]
            details = {"files": len(files), "size_bytes": sum(max(f.size_bytes, 0) for f in files)}
            if self._remote is None:
                server = f"folder {self._config.path}"
                hidden = [f.name for f in files if not os.access(f.path, os.R_OK)]
                details["writable"] = any(os.access(f.path, os.W_OK) for f in files)
                if hidden:
                    warnings.append(f"{len(hidden)} files may not be read, the first is '{hidden[0]}'")
            else:
                server = self._remote.where
                warnings += self._remote.warnings()
        return Probe(
            server=server,
            latency_ms=(time.perf_counter() - began) * 1000,
            warnings=tuple(warnings),
            details=details,
        )

    def discover(self) -> Iterator[FoundStream]:
        """A stream for each group of files of one folder, extension and set of columns."""
        from superinsight_sync.sources.files.discovery import discover

        folder = self._folder()
        with self._kept():
            yield from discover(folder.everything(), self._limits)

    def prepare(self, stream: StreamSpec, known: "pa.Schema", position: Any) -> None:
        """Takes the columns of the table: where it holds fractions, whole numbers of a workbook are of their type."""
        self._landed[_key(stream)] = known
        self._tables.pop(_key(stream), None)

    def landed(self, stream: StreamSpec, position: Any, load_id: str) -> Mapping[str, int | float]:
        """Files are told nothing."""
        return {}

    def failed(self, stream: StreamSpec, error: SisError) -> None:
        """Files are told nothing."""

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The columns of all files together, then `_sis_file`. Estimates rows where the files say them."""
        table = self._table(stream)
        self._described[_key(stream)] = table.schema
        columns = tuple(Column(c.name, c.source_type, c.arrow) for c in table.columns)
        return StreamShape(columns=columns, row_estimate=table.rows(table.members))

    def read(self, request: ReadRequest) -> "FileRead":
        """Streams the rows. `set_aside` and `rejects` of what it returns deal with broken records.

        Raises:
            TransientError: if files came or changed since `describe` so that the columns are others.
        """
        from superinsight_sync.sources.files.reading import FileRead

        table = self._table(request.stream)
        if self._described.get(_key(request.stream), table.schema) != table.schema:
            raise TransientError(
                "the files' columns changed since they were described", where=_where(request.stream)
            )
        return FileRead(table, request, self._kept)

    def count(self, request: ReadRequest) -> int:
        """Counts by reading, except for whole Parquet files. Records that cannot be read do not count."""
        table = self._table(request.stream)
        rows = table.rows(table.selected(request)) if table.reads_whole_files(request) else None
        if rows is not None:
            return rows if request.limit is None else min(rows, request.limit)
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """A hash of the listing: names, sizes, modification times, versions. Take it before `describe` and `read`."""
        return token_of(f for f in self._files(request.stream) if is_asked_for(f, request))

    def _folder(self) -> Files:
        path = resolve(self._config.path)
        if "://" not in path:
            if self._config.model_fields_set & set(RemoteConfig.model_fields):
                from superinsight_sync.sources.files.remote.opening import check_keys

                check_keys(self._config, "")
            return Folder(self._project_dir / Path(path).expanduser(), self._settle(""))
        with self._lock:
            if self._remote is None:
                from superinsight_sync.sources.files.remote.file import LocalRoom
                from superinsight_sync.sources.files.remote.opening import open_folder, scheme_of

                config = self._config
                settle = self._settle(scheme_of(path))
                room = LocalRoom(self._scratch_dir, config.max_decompressed)
                self._remote = open_folder(config, path, settle, room)
        return self._remote

    def _settle(self, scheme: str) -> timedelta:
        if self._config.settle is not None:
            return self._config.settle
        return timedelta(0) if scheme in _APPEAR_WHOLE else SETTLE

    def _kept(self) -> AbstractContextManager[None]:
        """Within it connections to the server are used again; afterwards none is open."""
        return nullcontext() if self._remote is None else self._remote.kept()

    def _files(self, stream: StreamSpec) -> tuple[FoundFile, ...]:
        if stream.path is None:
            raise ConfigError("a stream of files needs `path`", where=_where(stream))
        try:
            files = self._folder().files(stream.path, leave_young=stream.sync.cursor == MODIFIED_AT)
        except (ConfigError, TransientError) as error:
            raise error.at(_where(stream)) from error
        timeless = [f.name for f in files if f.modified_ns == UNKNOWN]
        if timeless and stream.sync.cursor == MODIFIED_AT:
            raise ConfigError(
                f"the server does not tell when '{timeless[0]}' was modified",
                where=_where(stream),
                hint=f"Choose another cursor than {MODIFIED_AT}, or sync: {{mode: full}}",
            )
        return files

    def _table(self, stream: StreamSpec) -> "Table":
        """The stream's files as they are now; looked at again only if one changed."""
        self._folder()
        with self._kept():
            return self._looked_at(stream, self._files(stream))

    def _looked_at(self, stream: StreamSpec, files: "tuple[FoundFile, ...]") -> "Table":
        from superinsight_sync.sources.files.reading import Table

        spec = stream.format or FormatSpec()
        if not files and not spec.columns:
            raise ConfigError(
                f"no file matches '{stream.path}'",
                where=_where(stream),
                hint="Correct `path`, or declare format.columns so that an empty folder has columns",
            )
        listing = token_of(files)
        known = self._tables.get(_key(stream))
        if known is None or known[0] != listing:
            try:
                landed = self._landed.get(_key(stream)) if stream.sync.mode == "incremental" else None
                table = Table(files, spec, self._limits, stream.sync.cursor, landed)
                table.check_columns(stream, spec)
            except SisError as error:
                raise error.at(_where(stream)) from None
            known = self._tables[_key(stream)] = (listing, table)
        return known[1]


def _key(stream: StreamSpec) -> str:
    return stream.model_dump_json(include={"name", "path", "format", "sync", "primary_key"})


def _where(stream: StreamSpec) -> str:
    return f"stream '{stream.name}'"


PLUGIN = FilesSource

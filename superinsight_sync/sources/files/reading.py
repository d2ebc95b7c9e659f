"""The rows of a stream's files as record batches: filtered, cut to size, with the file they came from."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, date, datetime
from difflib import get_close_matches
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError, DataError, TransientError
from superinsight_sync.model.declaration import FormatSpec, StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.avro import AvroLayout
from superinsight_sync.sources.files.columnar import OrcLayout
from superinsight_sync.sources.files.delimited import DelimitedLayout
from superinsight_sync.sources.files.detection import FAMILIES, detect_all
from superinsight_sync.sources.files.excel import ExcelLayout
from superinsight_sync.sources.files.folders import FolderColumns
from superinsight_sync.sources.files.jsonrows import JsonLayout
from superinsight_sync.sources.files.layout import FileColumn, Layout, Member, Reading
from superinsight_sync.sources.files.listing import (
    FILE,
    MODIFIED_AT,
    PUT_NS,
    UNKNOWN,
    FoundFile,
    is_asked_for,
    reaching_back,
)
from superinsight_sync.sources.files.parquet import ParquetLayout
from superinsight_sync.sources.files.streams import Limits
from superinsight_sync.sources.files.xmlrows import XmlLayout
from superinsight_sync.sources.record_read import RecordRead

_MODIFIED_TYPE = pa.timestamp("us", tz="UTC")
_BATCH_BYTES = 32 << 20
_LAYOUTS: dict[str, Any] = {
    "delimited": DelimitedLayout, "json": JsonLayout, "parquet": ParquetLayout, "orc": OrcLayout,
    "avro": AvroLayout, "excel": ExcelLayout, "xml": XmlLayout,
}  # fmt: skip


class Table:
    """A stream's files, looked at: the columns, and the rows on demand.

    Args:
        cursor: the stream's cursor; ``_sis_file_modified_at`` becomes a column only if it is that.
        landed: the columns of the stream's table, if rows come to others there.
    """

    def __init__(
        self,
        files: Sequence[FoundFile],
        spec: FormatSpec,
        limits: Limits,
        cursor: str | None,
        landed: pa.Schema | None = None,
    ) -> None:
        self.members = detect_all(files, spec, limits)
        family = FAMILIES[self.members[0].format.type if self.members else spec.type or "csv"]
        self._layout: Layout = _LAYOUTS[family](Reading(self.members, spec, limits, landed))
        self.cursor = cursor
        own = [FileColumn(MODIFIED_AT, _MODIFIED_TYPE, "file's mtime")] if cursor == MODIFIED_AT else []
        own.append(FileColumn(FILE, pa.string(), "file's name"))
        reading, inside = Reading(self.members, spec, limits), self._layout.columns
        self._folders = FolderColumns(self.members if spec.folders else (), reading.declared(), inside)
        self.columns = (*inside, *self._folders.columns, *own)
        self.schema = pa.schema([(c.name, c.arrow) for c in self.columns])

    def rows(self, members: Sequence[Member]) -> int | None:
        """How many rows the files have, if each says so itself."""
        rows = [self._layout.rows(m) for m in members]
        return None if None in rows else sum(r for r in rows if r is not None)

    def check_columns(self, stream: StreamSpec, spec: FormatSpec) -> None:
        """Raises ConfigError for a declared column that no file has, or a cursor that cannot be one."""
        if not self._layout.columns:
            raise ConfigError("the files hold no columns", hint="Correct `path`, or declare format.columns")
        for what, wanted in (
            ("format.columns", tuple(spec.columns or ())),
            ("sync.cursor", (self.cursor,) if self.cursor else ()),
            ("primary_key", stream.primary_key),
        ):
            for name in wanted:
                if name not in self.schema.names:
                    close = get_close_matches(name, self.schema.names, n=1)
                    hint = f"Did you mean '{close[0]}'? " if close else ""
                    raise ConfigError(
                        f"{what}: no file has a column '{name}'",
                        hint=f"{hint}Columns: {', '.join(self.schema.names)}",
                    )
        if self.cursor and stream.sync.mode == "incremental":
            self._check_cursor_type(self.cursor, stream.sync.by)

    def _check_cursor_type(self, cursor: str, by: str) -> None:
        dtype = self.schema.field(cursor).type
        is_time = pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)
        is_number = pa.types.is_integer(dtype) or pa.types.is_decimal(dtype)
        if (by == "timestamp" and not is_time) or (by == "version" and not is_number):
            wanted = "timestamp" if by == "timestamp" else "int64"
            raise ConfigError(
                f"cursor '{cursor}' is {dtype}, which cannot be the cursor of an incremental read by {by}",
                hint=f"Declare its type: format: {{columns: {{{cursor}: {wanted}}}}}",
            )

    def reads_whole_files(self, request: ReadRequest) -> bool:
        """Whether the request's bounds, if it has any, choose files and not rows."""
        return self.cursor in (None, MODIFIED_AT) or (request.window is None and request.after is None)

    def selected(self, request: ReadRequest) -> list[Member]:
        """The files that a request reads: all, or those within its bounds on the modification time."""
        if self.cursor != MODIFIED_AT:
            return list(self.members)
        request = reaching_back((m.file for m in self.members), request)
        return [m for m in self.members if is_asked_for(m.file, request)]

    def batches(self, request: ReadRequest, rejects: Rejects) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a request, in the order of file names and of the rows in them."""
        keep = self._filter(request)
        for member in self.selected(request):
            try:
                for batch in self._layout.batches(member, rejects, request.batch_rows):
                    kept = keep(self._with_own(member, batch))
                    if kept.num_rows:
                        yield kept
            except DataError:
                # A file that is written anew looks damaged to who reads the rest of the old one.
                _check_unchanged(member)
                raise
            _check_unchanged(member)
            rejects.finish(f"file '{member.file.name}'")
        if self.cursor == MODIFIED_AT and request.window is None:
            put_ns = (m.file.put_ns for m in self.members)
            request.next_position[PUT_NS] = max([*put_ns, (request.position or {}).get(PUT_NS, UNKNOWN)])

    def _with_own(self, member: Member, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [*batch.columns, *self._folders.arrays(member, batch.num_rows)]
        if self.cursor == MODIFIED_AT:
            modified = pa.scalar(member.file.modified_at, _MODIFIED_TYPE)
            arrays.append(pa.repeat(modified, batch.num_rows))
        arrays.append(pa.repeat(pa.scalar(_printable(member.file.name)), batch.num_rows))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _filter(self, request: ReadRequest) -> Any:
        window, after, cursor = request.window, request.after, self.cursor
        if cursor is None or self.reads_whole_files(request):
            return lambda batch: batch
        bounds = [] if after is None else [(pc.greater_equal, after)]
        if window is not None:
            bounds += [(pc.greater_equal, window.start), (pc.less, window.end)]

        def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
            values = comparable(batch.column(cursor))
            for compare, bound in bounds:
                mask = compare(values, _bound(bound, values.type, cursor))
                mask = mask if window is not None else pc.fill_null(mask, True)
                batch, values = batch.filter(mask), values.filter(mask)
            return batch

        return keep


def _check_unchanged(member: Member) -> None:
    if member.file.changed():
        raise TransientError("it changed while it was read", where=member.where)


def comparable(values: pa.Array) -> pa.Array:
    """Cursor values as they are compared: times in UTC microseconds."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(values.type) and values.type.tz is None:
        values = values.cast(_MODIFIED_TYPE)
    return values


def _bound(value: Any, dtype: pa.DataType, cursor: str) -> pa.Scalar:
    if type(value) is date:
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        return pa.scalar(value, dtype) if not pa.types.is_decimal(dtype) else pa.scalar(value)
    except (pa.ArrowException, TypeError, ValueError):
        raise ConfigError(
            f"cursor '{cursor}' is {dtype}, but its bounds are {type(value).__name__}",
            hint=f"Declare format.columns: {{{cursor}: timestamp}}, or reset the checkpoint",
        ) from None


def sized(
    batches: Generator[pa.RecordBatch, None, None], most_rows: int, limit: int | None
) -> Generator[pa.RecordBatch, None, None]:
    """The same rows in batches of at most `most_rows` and about 32 MB; small ones are joined."""
    held: list[pa.RecordBatch] = []
    rows = size_bytes = given = 0
    for batch in batches:
        if limit is not None:
            batch = batch.slice(0, limit - given)
        given += batch.num_rows
        held.append(batch)
        rows += batch.num_rows
        size_bytes += batch.get_total_buffer_size()
        done = limit is not None and given >= limit
        if rows >= most_rows or size_bytes >= _BATCH_BYTES or done:
            *whole, last = _cut(held, most_rows)
            yield from whole
            held, rows, size_bytes = [last], last.num_rows, last.nbytes
            if rows >= most_rows or size_bytes >= _BATCH_BYTES:
                yield last
                held, rows, size_bytes = [], 0, 0
        if done:
            break
    if rows:
        yield from _cut(held, most_rows)


def _cut(held: list[pa.RecordBatch], most_rows: int) -> list[pa.RecordBatch]:
    joined = held[0] if len(held) == 1 else pa.concat_batches(held)
    return [joined.slice(at, most_rows) for at in range(0, max(joined.num_rows, 1), most_rows)]


def _printable(name: str) -> str:
    """A file name as valid Unicode: bytes that are none of the file system's encoding become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class FileRead(RecordRead):
    """A read of files. A file with records that cannot be read fails the read with a DataError after its last
    row, so that nothing is lost unnoticed, unless they are set aside."""

    def __init__(
        self, table: Table, request: ReadRequest, kept: Callable[[], AbstractContextManager[None]]
    ) -> None:
        rejects = Rejects()
        rows = sized(table.batches(request, rejects), max(1, request.batch_rows), request.limit)
        super().__init__(table.schema, rejects, rows)
        self._kept = kept
        self._scope = ExitStack()

    def __enter__(self) -> pa.RecordBatchReader:
        self._scope.enter_context(self._kept())
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._scope.close()

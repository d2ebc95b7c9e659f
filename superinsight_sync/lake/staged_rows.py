"""Rows put aside, in memory or, beyond a few megabytes, on disk.

What is put aside can be read more than once, and waits for nobody: Delta and DuckDB ask for rows from threads that
also do their reading and writing, and as many rows still under way as there are threads would wait for each other.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.ipc

from superinsight_sync.core.errors import TransientError

_IN_MEMORY_BYTES = 16 << 20


class StagedRows:
    """Rows put aside as they come, to be read from the start as often as needed. A context manager.

    Args:
        schema: of the rows.
        folder: where a private folder is made for what memory does not take; None: the system's.
    """

    def __init__(self, schema: pa.Schema, folder: Path | None = None) -> None:
        self.schema = schema
        self.rows = 0
        self._within = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._file: pa.OSFile | None = None
        self._out: pa.ipc.RecordBatchStreamWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Puts a batch behind those before. Raises TransientError if the disk does not take it."""
        self.rows += batch.num_rows
        if self._out is None and self._held_bytes + batch.nbytes <= _IN_MEMORY_BYTES:
            self._held.append(batch)
            self._held_bytes += batch.nbytes
            return
        with _disk_errors():
            out = self._out or self._spill()
            out.write_batch(batch)

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Takes all of them."""
        for batch in batches:
            self.add(batch)

    def open(self) -> pa.RecordBatchReader:
        """The rows from the start. Nothing can be added any more."""
        if self._out is None:
            return pa.RecordBatchReader.from_batches(self.schema, iter(self._held))
        with _disk_errors():
            self._end_writing()
            return pa.ipc.open_stream(pa.OSFile(str(self._path), "rb"))

    @property
    def _path(self) -> Path:
        assert self._folder
        return Path(self._folder.name) / "rows.arrows"

    def _spill(self) -> "pa.ipc.RecordBatchStreamWriter":
        if self._within is not None:
            self._within.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=self._within, prefix="rows-")
        self._file = pa.OSFile(str(self._path), "wb")
        # Not compressed: LZ4 costs a pull a quarter of its CPU and saves half of the scratch space.
        self._out = pa.ipc.new_stream(self._file, self.schema)
        for batch in self._held:
            self._out.write_batch(batch)
        self._held.clear()
        return self._out

    def _end_writing(self) -> None:
        if self._out is not None and self._file is not None and not self._file.closed:
            self._out.close()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            self._folder.cleanup()


@contextmanager
def brought_to_rest(
    reader: pa.RecordBatchReader, folder: Path | None = None
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a reader, read to its end in the calling thread."""
    with StagedRows(reader.schema, folder) as staged:
        staged.fill(reader)
        yield staged.open()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransientError(
            f"the scratch folder cannot be written: {error.strerror or type(error).__name__}",
            hint="Free some disk space, or set SIS_HOME to a bigger disk; nothing was committed",
        ) from error

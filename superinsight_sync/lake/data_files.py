"""New Parquet files of a Delta table, written batch by batch and bounded by bytes.

Delta's own writer counts rows: it holds 8,192 of them, 800 MB of cells of 100 kB, and asks for them from threads of
its own. Here the calling thread writes, and holds little more than a row group (decision 22).
"""

import json
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from superinsight_sync.core.arrow_values import cut, text
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError
from superinsight_sync.lake.blobs import BlobStore
from superinsight_sync.lake.file_statistics import file_statistics
from superinsight_sync.model.tables import PARTITION

_GROUP_ROWS = 262_144
_GROUP_BYTES = 64 << 20
_HELD_BYTES = 128 << 20
"""Of all partitions together. Beyond it the fullest one writes what it has."""
_FILE_BYTES = 128 << 20
_MOST_OPEN = 64
"""Files. A partition that comes again after its file was closed begins another one."""
_DICTIONARY_BYTES = 1 << 15
"""When a column's dictionary outgrows this it is given up. The default of 1 MB hashes columns that do not repeat
for nothing."""


@dataclass
class _Part:
    """The rows that a partition holds."""

    value: str | None
    held: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0


class _File:
    """One Parquet file while it is written."""

    def __init__(self, blobs: BlobStore, folder: str, schema: pa.Schema) -> None:
        self.name = f"part-{uuid.uuid4()}.snappy.parquet"
        self.path = f"{folder}/{self.name}"
        self._sink = blobs.create(self.path)
        self._metadata: list[pq.FileMetaData] = []
        self._schema = schema
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="snappy",
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            store_schema=False,
            metadata_collector=self._metadata,
        )

    @property
    def size_bytes(self) -> int:
        return int(self._sink.tell())

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, row_group_size=max(rows.num_rows, 1))

    def close(self, partition: dict[str, str | None], bounds: list[str] | None) -> AddAction:
        """Ends the file. What the log is to say of it."""
        self._writer.close()
        size = self.size_bytes
        self._sink.close()
        stats = json.dumps(file_statistics(self._metadata[0], self._schema, bounds), ensure_ascii=False)
        return AddAction(self.name, size, partition, int(utc_now().timestamp() * 1000), True, stats)

    def abandon(self) -> None:
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError):
            self._sink.close()


class DataFiles:
    """New files of one table, which no commit names yet.

    Args:
        blobs, folder: where the table is.
        schema: of the rows.
        partitioned: whether the table is partitioned by `_sis_partition`.
        bounds: the columns whose bounds the table's log wants; None: Delta's default.
    """

    def __init__(
        self,
        blobs: BlobStore,
        folder: str,
        schema: pa.Schema,
        *,
        partitioned: bool,
        bounds: list[str] | None = None,
    ) -> None:
        self.schema = schema
        self.partitioned = partitioned
        self.added: list[AddAction] = []
        self._blobs, self._folder, self._bounds = blobs, folder, bounds
        here = schema.get_field_index(PARTITION)
        self._inside = schema.remove(here) if partitioned and here >= 0 else schema
        self._parts: dict[str | None, _Part] = {}
        self._held_bytes = 0
        self._open: dict[str | None, _File] = {}
        self._written: list[str] = []

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Writes all rows. Raises what the batches raise, SisError of the storage, OSError and pyarrow's errors."""
        for batch in batches:
            for piece in cut(batch, _GROUP_BYTES):
                self._take(piece)
        for part in self._parts.values():
            self._flush(part)
        for value in list(self._open):
            self._close(value)

    def remove(self) -> None:
        """Deletes the files, as far as they can be; upkeep removes what stays."""
        for file in self._open.values():
            file.abandon()
        for path in self._written:
            with suppress(SisError):
                self._blobs.delete(path)

    def _take(self, batch: pa.RecordBatch) -> None:
        rows = batch.select(self._inside.names)
        if not self.partitioned or rows.num_columns == batch.num_columns:
            self._hold(None, rows)
            return
        keys = batch.column(PARTITION)
        values = pc.unique(keys).to_pylist()
        if len(values) == 1:
            self._hold(values[0], rows)
            return
        for value in values:
            mine = pc.is_null(keys) if value is None else pc.fill_null(pc.equal(keys, text(value)), False)
            self._hold(value, rows.filter(mine))

    def _hold(self, value: str | None, rows: pa.RecordBatch) -> None:
        part = self._parts.setdefault(value, _Part(value))
        part.held.append(rows)
        part.rows += rows.num_rows
        part.size_bytes += rows.nbytes
        self._held_bytes += rows.nbytes
        if part.rows >= _GROUP_ROWS or part.size_bytes >= _GROUP_BYTES:
            self._flush(part)
        elif self._held_bytes >= _HELD_BYTES:
            self._flush(max(self._parts.values(), key=lambda p: p.size_bytes))

    def _flush(self, part: _Part) -> None:
        """Writes what the partition holds, as a row group."""
        if part.rows:
            file = self._file(part.value)
            file.write(pa.Table.from_batches(part.held, self._inside))
            if file.size_bytes >= _FILE_BYTES:
                self._close(part.value)
        self._held_bytes -= part.size_bytes
        part.held, part.rows, part.size_bytes = [], 0, 0

    def _file(self, value: str | None) -> _File:
        """The partition's open file, which is the last one to be closed for another."""
        if value in self._open:
            self._open[value] = self._open.pop(value)
            return self._open[value]
        if len(self._open) >= _MOST_OPEN:
            self._close(next(iter(self._open)))
        file = self._open[value] = _File(self._blobs, self._folder, self._inside)
        self._written.append(file.path)
        return file

    def _close(self, value: str | None) -> None:
        partition = {PARTITION: value} if self.partitioned else {}
        self.added.append(self._open[value].close(partition, self._bounds))
        del self._open[value]

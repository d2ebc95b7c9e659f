"""Streams of Arrow batches: cut anew, kept in a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 65_536
BATCH_BYTES = 32 << 20
_LONG = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)

Sizes = npt.NDArray[np.int64]


def cut(
    batches: Iterable[pa.RecordBatch], rows: int = BATCH_ROWS, size_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`, or fewer where more would take over `size_bytes`; one row at least.

    Where it is cut depends on the rows alone, not on how they arrive.
    """
    waiting: list[pa.RecordBatch] = []
    held = size = 0
    for batch in batches:
        ends = np.cumsum(row_bytes(batch))
        start = before = 0
        while start < len(batch):
            fitting = int(np.searchsorted(ends, before + size_bytes - size, side="right"))
            end = min(max(fitting, start + (not held)), start + rows - held, len(batch))
            if end > start:
                waiting.append(batch.slice(start, end - start))
                size += int(ends[end - 1]) - before
                held, start, before = held + end - start, end, int(ends[end - 1])
            if start < len(batch) or held == rows:
                yield pa.concat_batches(waiting)
                waiting, held, size = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)


def row_bytes(batch: pa.RecordBatch) -> Sizes:
    """About what the values of each row take; the same for equal values however the batch was made."""
    return _together(batch.columns, len(batch))


def _together(columns: Iterable[pa.Array], count: int) -> Sizes:
    sizes = np.zeros(count, np.int64)
    for values in columns:
        sizes += _value_bytes(values)
    return sizes


def _value_bytes(values: pa.Array) -> Sizes:
    kind = values.type
    if pa.types.is_map(kind):
        pairs = pa.struct([kind.key_field.with_name("key"), kind.item_field.with_name("value")])
        return _value_bytes(values.cast(pa.list_(pairs)))
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inside = np.concatenate([[0], np.cumsum(_value_bytes(values.flatten()))])
        lengths = _numbers(pc.list_value_length(values))
        ends = np.cumsum(lengths)
        sizes: Sizes = 8 + inside[ends] - inside[ends - lengths]
        return sizes
    if pa.types.is_struct(kind):
        return _together(values.flatten(), len(values))
    if any(is_long(kind) for is_long in _LONG):
        return 8 + _numbers(pc.binary_length(values))
    return np.full(len(values), 8, np.int64)


def _numbers(values: pa.Array) -> Sizes:
    """With 0 for NULL."""
    return np.asarray(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), np.int64)


def read_file(path: Path, columns: list[str]) -> pa.RecordBatchReader:
    """The named columns of an Arrow IPC file, batch by batch; the others are not decoded."""
    source = pa.OSFile(str(path))
    names = pa.ipc.open_file(source).schema.names
    options = pa.ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
    file = pa.ipc.open_file(source, options=options)
    schema = pa.schema([file.schema.field(name) for name in columns])
    batches = (file.get_batch(i).select(columns) for i in range(file.num_record_batches))
    return pa.RecordBatchReader.from_batches(schema, batches)


def write_file(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes an Arrow IPC file of batches that are cut by the rows alone; the number of rows."""
    rows = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(path), schema, options=options) as file:
        for batch in cut(batches):
            file.write_batch(batch)
            rows += len(batch)
    return rows

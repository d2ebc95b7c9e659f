"""Streams of Arrow batches: cut anew, kept in a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 65_536
BATCH_BYTES = 32 << 20
_BLOCK_ROWS = 2_048


def cut(
    batches: Iterable[pa.RecordBatch], rows: int = BATCH_ROWS, size_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`, or fewer where their content reaches `size_bytes`.

    Where it is cut depends on the rows alone, not on how they arrive.
    """
    waiting: list[pa.RecordBatch] = []
    held = size = 0
    for block in (part for b in _blocks(batches, min(rows, _BLOCK_ROWS)) for part in _halved(b, size_bytes)):
        waiting.append(block)
        held, size = held + len(block), size + content_bytes(block)
        if held + _BLOCK_ROWS > rows or size >= size_bytes:
            yield pa.concat_batches(waiting)
            waiting, held, size = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)


def content_bytes(batch: pa.RecordBatch) -> int:
    """About what the values take; the same for equal values however the batch was made."""
    return sum(map(_content_bytes, batch.columns))


def _content_bytes(values: pa.Array) -> int:
    kind = values.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return 8 * len(values) + _content_bytes(values.flatten())
    if pa.types.is_struct(kind):
        return sum(map(_content_bytes, values.flatten()))
    if pa.types.is_map(kind):
        return _content_bytes(values.keys) + _content_bytes(values.items)
    if (
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    ):
        return 8 * len(values) + int(pc.sum(pc.binary_length(values)).as_py() or 0)
    return 8 * len(values)


def _blocks(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of exactly `rows`; the last may be shorter."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        while held + len(batch) >= rows:
            taken = rows - held
            yield pa.concat_batches([*waiting, batch.slice(0, taken)]) if waiting else batch.slice(0, taken)
            batch = batch.slice(taken)
            waiting, held = [], 0
        if len(batch):
            waiting.append(batch)
            held += len(batch)
    if waiting:
        yield pa.concat_batches(waiting)


def _halved(block: pa.RecordBatch, size_bytes: int) -> Iterator[pa.RecordBatch]:
    if len(block) <= 1 or content_bytes(block) <= size_bytes:
        yield block
        return
    half = len(block) // 2
    yield from _halved(block.slice(0, half), size_bytes)
    yield from _halved(block.slice(half), size_bytes)


def read_file(path: Path, columns: list[str]) -> pa.RecordBatchReader:
    """The named columns of an Arrow IPC file, batch by batch; the others are not decoded."""
    source = pa.memory_map(str(path))
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

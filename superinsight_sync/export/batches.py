"""Streams of Arrow batches: cut anew, kept in a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

BATCH_ROWS = 65_536


def cut(batches: Iterable[pa.RecordBatch], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `rows` (the last may be shorter), however they arrive."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        while held + len(batch) >= rows:
            taken = rows - held
            yield _joined([*waiting, batch.slice(0, taken)])
            batch = batch.slice(taken)
            waiting, held = [], 0
        if len(batch):
            waiting.append(batch)
            held += len(batch)
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches)


def read_file(path: Path, columns: list[str]) -> pa.RecordBatchReader:
    """The named columns of an Arrow IPC file, batch by batch."""
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    schema = pa.schema([file.schema.field(name) for name in columns])
    batches = (file.get_batch(i).select(columns) for i in range(file.num_record_batches))
    return pa.RecordBatchReader.from_batches(schema, batches)


def write_file(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes an Arrow IPC file of batches of equal size; the number of rows."""
    rows = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(path), schema, options=options) as file:
        for batch in cut(batches):
            file.write_batch(batch)
            rows += len(batch)
    return rows

"""Rows into their order, whatever they take: a narrow key is sorted, and the rows follow in buckets bounded by bytes.

The rows go to a file as they come. Their keys alone are sorted. Then each row is put into the bucket that its rank
falls into, and a bucket at a time is read, ordered and given out.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.sql import quote
from superinsight_sync.export.batches import BATCH_BYTES, cut, read_file, row_bytes

_POSITION = "_sis_position"
_SIZE = "_sis_size"
_KEYS = "_sis_keys"
_MOST_BUCKETS = 256
"""As many files are open at once; above that many buckets they become larger."""
_SORTED_ROWS = 131_072
_SORT_BYTES = 128 << 20
"""Less makes no sense for a sort, if the limit allows it."""
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")

_Numbers = npt.NDArray[np.integer]


def in_order(
    rows: pa.RecordBatchReader, order: Sequence[str], *, folder: Path, memory_limit_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The rows, ascending by the columns of `order` with NULL last, and among equals as they come.

    Half of the memory is for the sort, and a sixteenth for a bucket, of which three copies are held at times. Each
    row takes four bytes besides. `folder` is of this call alone.
    """
    bucket_bytes = memory_limit_bytes // 16
    arrived = folder / "arrived.arrow"
    count, size_bytes = _keep(rows, arrived, min(bucket_bytes, BATCH_BYTES))
    if not count:
        return
    bucket_bytes = max(bucket_bytes, size_bytes // _MOST_BUCKETS + 1)
    sort_bytes = max(memory_limit_bytes // 2, min(memory_limit_bytes, _SORT_BYTES))
    with open_duckdb(sort_bytes, folder) as connection:
        connection.execute("SET threads = 2")
        ranks, starts = _ranks(connection, arrived, order, count, bucket_bytes)
    paths = [arrived]
    if len(starts) > 1:
        paths = _distribute(arrived, rows.schema.names, ranks, starts)
        arrived.unlink()
    for path, first, end in zip(paths, starts, [*starts[1:], count], strict=True):
        whole = read_file(path, rows.schema.names).read_all().combine_chunks()
        path.unlink()
        inside = ranks[(ranks >= first) & (ranks < end)]
        yield from whole.take(pa.array(np.argsort(inside))).to_batches()


def _keep(rows: pa.RecordBatchReader, path: Path, batch_bytes: int) -> tuple[int, int]:
    """Writes the rows as they come, each with its position and size; how many they are and what they take."""
    schema = rows.schema.append(pa.field(_POSITION, pa.int64())).append(pa.field(_SIZE, pa.int64()))
    count = size_bytes = 0
    with pa.ipc.new_file(str(path), schema, options=_COMPRESSED) as file:
        for batch in cut(rows, size_bytes=batch_bytes):
            sizes = row_bytes(batch)
            positions = pa.array(np.arange(count, count + len(batch)))
            file.write_batch(
                pa.RecordBatch.from_arrays([*batch.columns, positions, pa.array(sizes)], schema=schema)
            )
            count, size_bytes = count + len(batch), size_bytes + int(sizes.sum())
    return count, size_bytes


def _ranks(
    connection: duckdb.DuckDBPyConnection, path: Path, order: Sequence[str], count: int, bucket_bytes: int
) -> tuple[_Numbers, list[int]]:
    """The rank of each row, as the rows came, and the first rank of each bucket."""
    ranks = np.empty(count, np.min_scalar_type(count))
    starts: list[int] = []
    done = size = 0
    connection.register(_KEYS, read_file(path, [*order, _POSITION, _SIZE]))
    keys = ", ".join(f"{quote(name)} ASC NULLS LAST" for name in (*order, _POSITION))
    found = connection.sql(f"SELECT {_POSITION}, {_SIZE} FROM {_KEYS} ORDER BY {keys}")  # noqa: S608
    bucket = -1
    for batch in found.to_arrow_reader(_SORTED_ROWS):
        positions, sizes = (values.to_numpy() for values in batch.columns)
        ranks[positions] = np.arange(done, done + len(batch))
        before = size + np.cumsum(sizes) - sizes
        buckets = before // bucket_bytes
        starts += (done + np.flatnonzero(np.diff(buckets, prepend=bucket))).tolist()
        done, size, bucket = done + len(batch), size + int(sizes.sum()), int(buckets[-1])
    return ranks, starts


def _distribute(path: Path, columns: Sequence[str], ranks: _Numbers, starts: Sequence[int]) -> list[Path]:
    """Puts each row into the file of its bucket, as the rows came."""
    rows = read_file(path, list(columns))
    paths = [path.with_name(f"{number}.arrow") for number in range(len(starts))]
    done = 0
    with ExitStack() as opened:
        files = [
            opened.enter_context(pa.ipc.new_file(str(p), rows.schema, options=_COMPRESSED)) for p in paths
        ]
        for batch in rows:
            buckets = np.searchsorted(starts, ranks[done : done + len(batch)], side="right") - 1
            done += len(batch)
            together = batch.take(pa.array(np.argsort(buckets, kind="stable")))
            counts = np.bincount(buckets, minlength=len(files))
            for number, end in zip(np.flatnonzero(counts), np.cumsum(counts[counts > 0]), strict=True):
                files[number].write_batch(together.slice(end - counts[number], counts[number]))
    return paths

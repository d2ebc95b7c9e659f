"""A table's rows in batches that are bounded by bytes: however wide a row and however long a cell."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from superinsight_sync.core.arrow_values import cut

MAX_ROWS = 131_072
_READ_BYTES = 1 << 20
_LEAST_BYTES_A_VALUE = 4


def bounded_batches(
    data: ds.Dataset, columns: Sequence[str], *, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The named columns, a file after the other, in batches of about `batch_bytes` at most.

    Parquet is decoded as it is read: a row group that is larger than the memory passes too. A single row
    is never cut. Raises OSError and pyarrow's errors.
    """
    schema = pa.schema([data.schema.field(name) for name in columns])
    for fragment in data.get_fragments():
        if isinstance(fragment, ds.ParquetFileFragment):
            yield from _of_parquet(fragment, schema, batch_bytes)
        else:
            scanner = fragment.scanner(
                schema=data.schema, columns=list(columns), batch_size=MAX_ROWS, batch_readahead=0
            )
            for batch in scanner.to_batches():
                yield from cut(batch, batch_bytes)


def bounded_reader(data: ds.Dataset, columns: Sequence[str], *, batch_bytes: int) -> pa.RecordBatchReader:
    """The same as a reader."""
    schema = pa.schema([data.schema.field(name) for name in columns])
    return pa.RecordBatchReader.from_batches(schema, bounded_batches(data, columns, batch_bytes=batch_bytes))


def _of_parquet(
    fragment: ds.ParquetFileFragment, schema: pa.Schema, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    metadata = fragment.metadata
    constants = ds.get_partition_keys(fragment.partition_expression)
    with fragment.open() as opened:
        file = pq.ParquetFile(opened, metadata=metadata, pre_buffer=False, buffer_size=_READ_BYTES)
        inside = [name for name in schema.names if name in file.schema_arrow.names]
        leaves = _leaves(file, inside)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            size = sum(group.column(leaf).total_uncompressed_size for leaf in leaves)
            row_bytes = max(size / max(group.num_rows, 1), _LEAST_BYTES_A_VALUE * max(len(inside), 1))
            rows = int(min(MAX_ROWS, max(1, batch_bytes // row_bytes)))
            if not inside:
                yield from _constant(group.num_rows, schema, constants)
                continue
            for batch in file.iter_batches(rows, row_groups=[number], columns=inside, use_threads=False):
                yield from cut(_fitted(batch, schema, constants), batch_bytes)


def _leaves(file: pq.ParquetFile, columns: Sequence[str]) -> list[int]:
    """Numbers of the file's flat columns that belong to the named ones."""
    wanted = set(columns)
    if len(file.schema.names) == len(file.schema_arrow.names):
        return [i for i, name in enumerate(file.schema.names) if name in wanted]
    paths = (file.schema.column(i).path.split(".")[0] for i in range(len(file.schema.names)))
    return [i for i, name in enumerate(paths) if name in wanted]


def _fitted(
    batch: pa.RecordBatch, schema: pa.Schema, constants: dict[str, object] | None = None
) -> pa.RecordBatch:
    """With the table's types, and NULL for columns that are younger than the file."""
    present = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    arrays = [
        present[f.name].cast(f.type) if f.name in present else _filled(f, batch.num_rows, constants or {})
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _constant(rows: int, schema: pa.Schema, constants: dict[str, object]) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, MAX_ROWS):
        count = min(MAX_ROWS, rows - start)
        yield pa.RecordBatch.from_arrays([_filled(f, count, constants) for f in schema], schema=schema)


def _filled(field: pa.Field, rows: int, constants: dict[str, object]) -> pa.Array:
    return pa.repeat(pa.scalar(constants.get(field.name), field.type), rows)

"""Shaping what drivers give into the declared schema."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from superinsight_sync.core.arrow_values import one_array
from superinsight_sync.model.read import Column

Convert = Callable[[pa.Array, Column], pa.Array]


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema that a read of these columns has. Drivers do not keep nullability."""
    return pa.schema([pa.field(c.name, c.arrow) for c in columns])


def shaped(
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[Column],
    convert: Convert,
    *,
    batch_rows: int,
    limit: int | None,
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `batch_rows` rows with exactly the declared schema, `limit` rows in all."""
    schema, left = schema_of(columns), limit
    for batch in batches:
        rows = batch if left is None else batch.slice(0, left)
        left = None if left is None else left - rows.num_rows
        arrays = [one_array(convert(rows.column(i), c)) for i, c in enumerate(columns)]
        typed = pa.RecordBatch.from_arrays(arrays, schema=schema)
        for start in range(0, typed.num_rows, batch_rows):
            yield typed.slice(start, batch_rows)
        if left == 0:
            return

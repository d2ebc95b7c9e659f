"""Server-side streaming of a SELECT to Arrow, by ADBC."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.database_types import StoredColumn


def open_scan(dsn: str, query: str, columns: Sequence[StoredColumn], where: str) -> pa.RecordBatchReader:
    """The rows of the query, run now and streamed as they are read; the connection goes with the reader."""
    schema = pa.schema([pa.field(c.name, c.arrow) for c in columns])
    batches = _batches(dsn, query, schema, where)
    next(batches)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _batches(dsn: str, query: str, schema: pa.Schema, where: str) -> Iterator[pa.RecordBatch]:
    """First an empty batch, when the query has been run; then its rows."""
    import adbc_driver_manager
    import adbc_driver_postgresql.dbapi

    try:
        with (
            adbc_driver_postgresql.dbapi.connect(dsn, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            reader = cursor.fetch_record_batch()
            yield pa.RecordBatch.from_pylist([], schema)
            for batch in reader:
                yield _typed(batch, schema)
    except (adbc_driver_manager.Error, OSError) as error:
        state = getattr(error, "sqlstate", None)
        raise TransientError(
            f"reading the target database failed (state {state or 'unknown'})",
            where=where,
            hint="The table may just have been changed or the connection lost; try again",
        ) from None


def _typed(batch: Any, schema: pa.Schema) -> pa.RecordBatch:
    columns = [a if a.type == f.type else a.cast(f.type) for a, f in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)

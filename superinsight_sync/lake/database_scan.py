"""Server-side streaming of a SELECT to Arrow, by COPY."""

from collections.abc import Iterator, Sequence

import psycopg
import pyarrow as pa

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.postgres_copy import copied
from superinsight_sync.lake.database_connection import connected
from superinsight_sync.lake.database_types import StoredColumn


def open_scan(dsn: str, query: str, columns: Sequence[StoredColumn], where: str) -> pa.RecordBatchReader:
    """The rows of the query, run now and streamed as they are read; the connection goes with the reader."""
    schema = pa.schema([pa.field(c.name, c.arrow) for c in columns])
    batches = _batches(dsn, query, columns, schema, where)
    next(batches)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _batches(
    dsn: str, query: str, columns: Sequence[StoredColumn], schema: pa.Schema, where: str
) -> Iterator[pa.RecordBatch]:
    """First an empty batch, when the query has been run; then its rows."""
    sent = pa.schema([(c.name, c.sent) for c in columns])
    with connected(dsn, where) as connection:
        try:
            with copied(connection, query, sent) as rows:
                yield pa.RecordBatch.from_pylist([], schema)
                for batch in rows:
                    yield _typed(batch, schema)
        except psycopg.Error as error:
            raise TransientError(
                f"reading the target database failed (state {error.sqlstate or 'unknown'})",
                where=where,
                hint="The table may just have been changed or the connection lost; try again",
            ) from None


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [a if a.type == f.type else a.cast(f.type) for a, f in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)

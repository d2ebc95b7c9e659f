"""Gives columns of a table a wider type, in one commit that keeps rows, loads and checkpoints."""

from collections.abc import Mapping

import pyarrow as pa

from superinsight_sync.lake.store import Store
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.lake.types import cast_array
from superinsight_sync.model.tables import HASH, Commit, TableRef
from superinsight_sync.pipeline.engine import new_load_id


def widen_table(store: Store, table: TableRef, types: Mapping[str, pa.DataType], run_id: str) -> None:
    """Rewrites the table with these columns cast, and the row hashes made anew; nothing if it has these types already.

    A commit of another process meanwhile makes it read again, so that no row is lost.
    """
    before = store.schema(table) if types else pa.schema([])
    if all(before.field(name).type == kind for name, kind in types.items()):
        return
    schema = pa.schema([pa.field(f.name, types.get(f.name, f.type)) for f in before])

    def read() -> pa.RecordBatchReader:
        rows = store.scan(table)
        return pa.RecordBatchReader.from_batches(schema, (_cast(batch, schema) for batch in rows))

    commit = Commit(
        f"widen-{new_load_id()}",
        checkpoints=store.checkpoints(table),
        metadata={"run_id": run_id, "verb": "widen"},
    )
    store.replace(table, read, commit)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = {
        f.name: _as(batch.column(f.name), f.type, f.name) for f in schema if f.name in batch.schema.names
    }
    data = [n for n in columns if not n.startswith("_sis_")]
    if HASH in columns:
        columns[HASH] = row_hash(pa.record_batch({n: columns[n] for n in data}))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _as(values: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    return values.cast(kind) if pa.types.is_string(kind) else cast_array(values, kind, name)

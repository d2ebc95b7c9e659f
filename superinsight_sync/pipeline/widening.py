"""Gives columns of a table a wider type, in one commit that keeps rows, loads and checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from superinsight_sync.lake.store import Store
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.lake.types import cast_array
from superinsight_sync.model.tables import HASH, Commit, TableRef
from superinsight_sync.pipeline.engine import new_load_id

Convert = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True)
class Rewrites:
    """How a source wants values of its table written anew.

    Attributes:
        columns: column → what makes its new values of the old ones; others are cast.
        position: replaces that of the checkpoint, if it is not None.
    """

    columns: Mapping[str, Convert] = field(default_factory=dict)
    position: Mapping[str, Any] | None = None


def widen_table(
    store: Store,
    table: TableRef,
    types: Mapping[str, pa.DataType],
    run_id: str,
    rewrites: Rewrites = Rewrites(),
) -> None:
    """Rewrites the table with these columns cast, and the row hashes made anew; nothing if no value changes.

    A commit of another process meanwhile makes it read again, so that no row is lost.
    """
    held = store.schema(table) if types else pa.schema([])
    types = {name: kind for name, kind in types.items() if held.field(name).type != kind}
    if not types and not _changes(store, table, rewrites.columns):
        return
    schema = pa.schema([pa.field(f.name, types.get(f.name, f.type)) for f in store.schema(table)])

    def read() -> pa.RecordBatchReader:
        rows = store.scan(table)
        return pa.RecordBatchReader.from_batches(
            schema, (_cast(batch, schema, rewrites.columns) for batch in rows)
        )

    points = store.checkpoints(table)
    if rewrites.position is not None and "" in points:
        detail = {**points[""].detail, "position": rewrites.position}
        points = {**points, "": replace(points[""], detail=detail)}
    commit = Commit(
        f"widen-{new_load_id()}",
        checkpoints=points,
        metadata={"run_id": run_id, "verb": "widen"},
    )
    store.replace(table, read, commit)


def _changes(store: Store, table: TableRef, columns: Mapping[str, Convert]) -> bool:
    """Whether some value of these columns becomes another."""
    return bool(columns) and any(
        not convert(batch.column(name)).equals(batch.column(name))
        for batch in store.scan(table, columns=list(columns))
        for name, convert in columns.items()
    )


def _cast(batch: pa.RecordBatch, schema: pa.Schema, convert: Mapping[str, Convert]) -> pa.RecordBatch:
    columns = {
        f.name: convert[f.name](batch.column(f.name))
        if f.name in convert
        else _as(batch.column(f.name), f.type, f.name)
        for f in schema
        if f.name in batch.schema.names
    }
    data = [n for n in columns if not n.startswith("_sis_")]
    if HASH in columns:
        columns[HASH] = row_hash(pa.record_batch({n: columns[n] for n in data}))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _as(values: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    return values.cast(kind) if pa.types.is_string(kind) else cast_array(values, kind, name)

"""Short ways to declare a stream and to read it."""

from typing import Any

import pyarrow as pa

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.batches import schema_of
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source

INCREMENTAL = {"mode": "incremental", "cursor": "updated_at"}


def stream(**keys: Any) -> StreamSpec:
    return StreamSpec.model_validate({"name": "orders", **keys})


def read(source: Source, request: ReadRequest) -> pa.Table:
    with source.read(request) as batches:
        return batches.read_all()


def read_all(source: Source, **keys: Any) -> pa.Table:
    """The stream's rows; their schema is the one that was described."""
    declared = stream(**keys)
    table = read(source, ReadRequest(declared))
    assert table.schema == schema_of(source.describe(declared).columns)
    table.validate(full=True)
    return table


def column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


__all__ = ["INCREMENTAL", "Settings", "column", "open_source", "read", "read_all", "stream"]

"""Rows and reads that the lake's tests share: with real system columns, as the verbs land them."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from superinsight_sync.lake.store import ReadBatches, Store
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.tables import Checkpoint, Commit, TableRef
from superinsight_sync.model.window import PartitionUnit

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_NUMBERS = itertools.count()


def new_table() -> TableRef:
    """A table nobody used before."""
    return TableRef("acme", "crm", f"orders{next(_NUMBERS)}", "raw")


def orders(*rows: tuple[int | None, str | None, int]) -> pa.Table:
    """Rows of (id, name, day of March 2026)."""
    return pa.table(
        {
            "id": pa.array([r[0] for r in rows], pa.int64()),
            "name": pa.array([r[1] for r in rows], pa.string()),
            "day": pa.array([datetime(2026, 3, r[2], tzinfo=UTC) for r in rows], pa.timestamp("us", "UTC")),
        }
    )


def reads(
    rows: pa.Table,
    load_id: str,
    *,
    by: tuple[str, PartitionUnit] | None = ("day", "day"),
    at: datetime = AT,
    batch_rows: int = 2,
) -> ReadBatches:
    """A read of the rows with their system columns."""

    def read() -> pa.RecordBatchReader:
        reader = rows.to_reader(max_chunksize=batch_rows)
        return add_system_columns(reader, load_id=load_id, extracted_at=at, partition_of=by)

    return read


def breaking(read: ReadBatches, error: BaseException, after: int = 1) -> ReadBatches:
    """The same read, broken by an error after some batches."""

    def broken() -> pa.RecordBatchReader:
        reader = read()

        def batches() -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(reader):
                if number >= after:
                    raise error
                yield batch
            raise error

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    return broken


def commit(load_id: str, cursor: Any = None, **partitions: Any) -> Commit:
    """A commit with a checkpoint of the stream, if a cursor is given, and of partitions."""
    cursors = {**({"": cursor} if cursor is not None else {}), **partitions}
    return Commit(load_id, {key: Checkpoint(load_id, AT, cursor=value) for key, value in cursors.items()})


def content(store: Store, table: TableRef, **scan: Any) -> list[tuple[Any, ...]]:
    """The data columns of the table's rows, sorted."""
    rows = store.scan(table, **scan).read_all()
    names = [n for n in rows.column_names if not n.startswith("_sis_")]
    return sorted((tuple(r.values()) for r in rows.select(names).to_pylist()), key=repr)


def names(store: Store, table: TableRef, **scan: Any) -> list[tuple[Any, Any]]:
    """(id, name) of the table's rows, sorted."""
    rows = store.scan(table, **scan).read_all().select(["id", "name"])
    return sorted((tuple(r.values()) for r in rows.to_pylist()), key=repr)

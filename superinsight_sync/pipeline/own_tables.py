"""Tables for users' own assets: read as the type they ask for, landed from the type they return."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from superinsight_sync.core.arrow_values import text
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.lake.store import ReadBatches, Store
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.tables import PARTITION, Checkpoint, Commit, CommitResult, TableRef, is_system
from superinsight_sync.pipeline.engine import Engine, new_load_id
from superinsight_sync.pipeline.project import load_project

READABLE = "pyarrow.Table, pyarrow.RecordBatchReader, pandas.DataFrame, polars.LazyFrame"


def read_table(engine: Engine, table: TableRef, partitions: Sequence[str] = ()) -> pa.RecordBatchReader:
    """The table's rows, or those of the named partitions, as a stream, from where its stream keeps them.

    Raises ConfigError if there are none.
    """
    store = _store(engine, table)
    if not store.exists(table):
        hint = "Run what makes it first"
        if store is not engine.lake:
            hint += "; rows that a stream keeps in memory are there for the same run only"
        raise ConfigError("there is no such table", where=str(table), hint=hint)
    partitioned = bool(partitions) and PARTITION in store.schema(table).names
    return store.scan(table, partitions=list(partitions) if partitioned else None)


def _store(engine: Engine, table: TableRef) -> Store:
    """The store that the stream's declaration names; the lake for a table that no stream is declared of."""
    source = load_project(engine.settings).sources.get(table.source)
    stream = next((s for s in source.streams if s.name == table.stream), None) if source else None
    if source is None or stream is None or source.tenant != table.tenant:
        return engine.lake
    return engine.store(source, stream, table.stage)


def refined_table(reader: pa.RecordBatchReader, wanted: Any) -> Any:
    """The rows as the type a user annotated; a Table if none. Raises ConfigError naming the types there are."""
    name = (
        "pyarrow.Table"
        if wanted is Any or wanted is None
        else f"{wanted.__module__.split('.')[0]}.{wanted.__name__}"
    )
    match name:
        case "pyarrow.Table":
            return reader.read_all()
        case "pyarrow.RecordBatchReader":
            return reader
        case "pandas.DataFrame":
            import pandas as pd

            return reader.read_all().to_pandas(types_mapper=pd.ArrowDtype)
        case "polars.LazyFrame":
            import polars as pl

            frame = pl.from_arrow(reader.read_all())
            assert isinstance(frame, pl.DataFrame)
            return frame.lazy()
    raise ConfigError(f"a table cannot be given as {name}", hint=f"Annotate the input with one of {READABLE}")


def land_table(engine: Engine, table: TableRef, obj: Any, partitions: Sequence[str] = ()) -> CommitResult:
    """Replaces the table (or the one named partition) by what a user's asset returned, batch by batch.

    A reader can be read only once: where another process wrote the same at the same time, TransientError.
    """
    if len(partitions) > 1:
        raise ConfigError(
            f"an asset that returns a table can land one partition at a time, not {len(partitions)}",
            where=str(table),
            hint="Remove its single-run backfill policy",
        )
    load_id, now = new_load_id(), utc_now()
    key = partitions[0] if partitions else None
    open_rows = _rows(obj, table)

    def read() -> pa.RecordBatchReader:
        return add_system_columns(_data_of(open_rows(), key), load_id=load_id, extracted_at=now)

    point = Checkpoint(load_id, now)
    commit = Commit(load_id, {key or "": point}, {"run_id": engine.run_id, "verb": "asset"})
    return engine.lake.replace(table, read, commit, partitions=list(partitions) or None)


def _data_of(reader: pa.RecordBatchReader, partition: str | None) -> pa.RecordBatchReader:
    """The columns that are not ours, and the partition that the rows are landed as."""
    names = [n for n in reader.schema.names if not is_system(n)]
    schema = pa.schema([reader.schema.field(n) for n in names])
    if partition is not None:
        schema = schema.append(pa.field(PARTITION, pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            arrays = batch.select(names).columns
            if partition is not None:
                arrays.append(pa.repeat(text(partition), batch.num_rows))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _rows(obj: Any, table: TableRef) -> ReadBatches:
    """Opens what was returned as a stream. Raises ConfigError for what is no table."""
    name = f"{type(obj).__module__.split('.')[0]}.{type(obj).__name__}"
    match name:
        case "pyarrow.RecordBatchReader":
            return _once(obj, table)
        case "pyarrow.Table":
            return lambda: obj.to_reader()
        case "pandas.DataFrame":
            found = pa.Table.from_pandas(obj, preserve_index=False)
        case "polars.LazyFrame":
            found = obj.collect().to_arrow()
        case "polars.DataFrame":
            found = obj.to_arrow()
        case _:
            raise ConfigError(
                f"a {name} cannot be landed", where=str(table), hint=f"Return one of {READABLE}"
            )
    return lambda: found.to_reader()


def _once(reader: pa.RecordBatchReader, table: TableRef) -> ReadBatches:
    waiting = [reader]

    def read() -> pa.RecordBatchReader:
        if not waiting:
            raise TransientError(
                "another process wrote the table at the same time, and the rows are gone by",
                where=str(table),
                hint="Run the asset again",
            )
        return waiting.pop()

    return read

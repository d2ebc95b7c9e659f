"""Tables for users' own assets: read as the type they ask for, landed from the type they return."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.constants import text
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.tables import PARTITION, Commit, CommitResult, TableRef
from superinsight_sync.pipeline.engine import Engine, new_load_id

READABLE = "pyarrow.Table, pyarrow.RecordBatchReader, pandas.DataFrame, polars.LazyFrame"


def read_table(engine: Engine, table: TableRef, partitions: Sequence[str] = ()) -> pa.RecordBatchReader:
    """The table's rows, or those of the named partitions, as a stream."""
    partitioned = bool(partitions) and PARTITION in engine.lake.schema(table).names
    return engine.lake.scan(table, partitions=list(partitions) if partitioned else None)


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
    """Replaces the table (or the one named partition) by what a user's asset returned."""
    load_id = new_load_id()
    if len(partitions) > 1:
        raise ConfigError(
            f"an asset that returns a table can land one partition at a time, not {len(partitions)}",
            where=str(table),
            hint="Remove its single-run backfill policy",
        )
    rows = _as_table(obj, table)
    if partitions:
        rows = rows.append_column(PARTITION, pa.repeat(text(partitions[0]), rows.num_rows))

    def read() -> pa.RecordBatchReader:
        return add_system_columns(
            rows.to_reader(), load_id=load_id, extracted_at=utc_now(), partition_of=None
        )

    commit = Commit(load_id, metadata={"run_id": engine.run_id, "verb": "asset"})
    return engine.lake.replace(table, read, commit, partitions=list(partitions) or None)


def _as_table(obj: Any, table: TableRef) -> pa.Table:
    name = f"{type(obj).__module__.split('.')[0]}.{type(obj).__name__}"
    match name:
        case "pyarrow.Table":
            found = obj
        case "pyarrow.RecordBatchReader":
            found = obj.read_all()
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
    return found.select([n for n in found.column_names if not n.startswith("_sis_")])

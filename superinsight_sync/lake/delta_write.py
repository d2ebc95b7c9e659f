"""The commits of a Delta table that write rows, or nothing but what rides in the commit."""

from typing import Any

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties, write_deltalake

from superinsight_sync.lake.delta_log import AFTER_COMMIT
from superinsight_sync.model.tables import PARTITION

_FEW_PARTITIONS = 32
_ROW_GROUP_ROWS = 262_144
"""The writer holds a row group in memory: a pull of 22 columns peaks at 0.48 GB with this, at 0.65 GB with the
default of a million rows."""
_DICTIONARY_BYTES = 1 << 15
"""When a column's dictionary outgrows this it is given up. The default of 1 MB hashes columns that do not repeat
for nothing: half a million rows of 25 columns cost 0.30 CPU seconds with this and 0.44 with that, and 40 MB for 44."""


def writer_for(schema: pa.Schema, partitions: int | None = None) -> WriterProperties:
    """How files are written, for a known or unknown number of partitions.

    Delta keeps one file open per partition, each with about 2 MB of dictionaries. A million rows of 23
    columns in a thousand partitions took 1.8 GB with them; without, and better compressed, 0.8 GB.
    """
    if PARTITION not in schema.names or (partitions is not None and partitions <= _FEW_PARTITIONS):
        return WriterProperties(
            compression="SNAPPY",
            max_row_group_size=_ROW_GROUP_ROWS,
            dictionary_page_size_limit=_DICTIONARY_BYTES,
        )
    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(compression="ZSTD", compression_level=1, default_column_properties=plain)


def write_rows(
    table: DeltaTable, rows: pa.RecordBatchReader, properties: CommitProperties, **how: Any
) -> None:
    """Appends or replaces rows, adding the columns that are new; `how` is for `write_deltalake`."""
    write_deltalake(
        table,
        rows,
        schema_mode="merge",
        commit_properties=properties,
        post_commithook_properties=AFTER_COMMIT,
        **how,
    )


def write_whole(table: DeltaTable, rows: pa.RecordBatchReader, properties: CommitProperties) -> None:
    """Replaces the table's rows and schema."""
    write_deltalake(
        table,
        rows,
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=[PARTITION] if PARTITION in rows.schema.names else [],
        writer_properties=writer_for(rows.schema),
        commit_properties=properties,
        post_commithook_properties=AFTER_COMMIT,
    )


def commit_nothing(table: DeltaTable, properties: CommitProperties) -> None:
    """A commit without rows."""
    table.create_write_transaction(
        [],
        mode="append",
        schema=table.schema(),
        partition_by=table.metadata().partition_columns,
        commit_properties=properties,
        post_commithook_properties=AFTER_COMMIT,
    )
    table.update_incremental()

"""The commits of a Delta table that add files of rows, or nothing but what rides in the commit."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Schema,
    TableFeatures,
    WriterProperties,
    write_deltalake,
)
from deltalake.transaction import AddAction, RemoveAction

from superinsight_sync.lake.blobs import BlobStore
from superinsight_sync.lake.data_files import DataFiles
from superinsight_sync.lake.delta_log import AFTER_COMMIT, COLUMNS, VERB_KEY
from superinsight_sync.lake.delta_table import arrow_schema, in_list
from superinsight_sync.model.tables import PARTITION

REWRITING = WriterProperties(
    compression="SNAPPY", max_row_group_size=262_144, dictionary_page_size_limit=1 << 15
)
"""How Delta's own writer writes, where it is the one: a row group of a million rows takes twice the memory."""
_BOUNDS_PROPERTY = "delta.dataSkippingStatsColumns"


def new_files(table: DeltaTable, blobs: BlobStore, folder: str, schema: pa.Schema) -> DataFiles:
    """For rows of `schema` in a table as it is partitioned."""
    about = table.metadata()
    bounds = about.configuration.get(_BOUNDS_PROPERTY)
    return DataFiles(
        blobs,
        folder,
        schema,
        partitioned=PARTITION in about.partition_columns,
        bounds=bounds.split(",") if bounds else None,
    )


def keeps_partitioning(table: DeltaTable, schema: pa.Schema) -> bool:
    """Whether rows of `schema` are partitioned as the table is."""
    return (PARTITION in schema.names) == (PARTITION in table.metadata().partition_columns)


def commit_files(
    table: DeltaTable, files: DataFiles, properties: CommitProperties, *, partitions: list[str] | None = None
) -> None:
    """Adds the files, and the columns that are new. With `partitions` they take the place of those partitions' rows;
    the properties then must be those of a serial commit, since Delta would not see a second writer of a partition that
    was empty."""
    known = arrow_schema(table)
    new = [f for f in files.schema if f.name not in known.names]
    if new:
        fields = Schema.from_arrow(pa.schema(new)).fields
        table.alter.add_columns(fields, commit_properties=CommitProperties({VERB_KEY: COLUMNS}))
    replaced = None if not partitions else [(PARTITION, "in", partitions)]
    _commit(table, files, table.schema(), "overwrite" if replaced else "append", properties, replaced)


def commit_whole(table: DeltaTable, files: DataFiles, properties: CommitProperties) -> None:
    """The files' rows and schema take the place of the table's. The table is partitioned as they are."""
    if _has_naive_times(files.schema):
        table.alter.add_feature(
            TableFeatures.TimestampWithoutTimezone,
            allow_protocol_versions_increase=True,
            commit_properties=CommitProperties({VERB_KEY: COLUMNS}),
        )
    _commit(table, files, Schema.from_arrow(files.schema), "overwrite", properties)


def _commit(
    table: DeltaTable,
    files: DataFiles,
    schema: Schema,
    mode: str,
    properties: CommitProperties,
    replaced: list[tuple[str, str, list[str]]] | None = None,
) -> None:
    added: list[AddAction | RemoveAction] = [*files.added]
    table.create_write_transaction(
        added,
        mode=mode,
        schema=schema,
        partition_by=table.metadata().partition_columns,
        partition_filters=replaced,
        commit_properties=properties,
        post_commithook_properties=AFTER_COMMIT,
    )
    table.update_incremental()


def write_repartitioned(
    table: DeltaTable,
    rows: pa.RecordBatchReader,
    properties: CommitProperties,
    partitions: Sequence[str] | None,
) -> None:
    """Replaces the table, or the rows of partitions in it, where its partitioning is not that of the rows: by Delta's
    own writer, which alone can change it and can replace rows within files. The rows must be at rest."""
    if partitions is None:
        partitioning = [PARTITION] if PARTITION in rows.schema.names else []
        how: dict[str, Any] = {"schema_mode": "overwrite", "partition_by": partitioning}
    else:
        how = {"schema_mode": "merge", "predicate": in_list(PARTITION, partitions)}
    write_deltalake(
        table,
        rows,
        mode="overwrite",
        writer_properties=REWRITING,
        commit_properties=properties,
        post_commithook_properties=AFTER_COMMIT,
        **how,
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


def _has_naive_times(schema: pa.Schema) -> bool:
    return any(_holds_naive_times(f.type) for f in schema)


def _holds_naive_times(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_naive_times(kind.field(n).type) for n in range(kind.num_fields))
    return bool(pa.types.is_timestamp(kind) and kind.tz is None)

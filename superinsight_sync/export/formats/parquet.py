"""Parquet: Zstandard, row groups bounded by rows and bytes, nothing in it that depends on when or in what batches."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.core.plugins import PluginConfig

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 65_536


class Config(PluginConfig):
    """Nothing to configure."""


class Parquet:
    """Writes Parquet."""

    extension: ClassVar[str] = "parquet"

    def __init__(self, config: Config) -> None:
        self.config = config

    def write(self, batches: "pa.RecordBatchReader", target: Path) -> int:
        import pyarrow.parquet as pq

        from superinsight_sync.export.batches import cut
        from superinsight_sync.export.types import check_types

        check_types(batches.schema)
        rows = 0
        schema = batches.schema.remove_metadata()
        with (
            target.open("xb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", compression_level=3, version="2.6") as writer,
        ):
            for batch in cut(batches, ROW_GROUP_ROWS):
                writer.write_batch(batch.replace_schema_metadata(None), row_group_size=len(batch))
                rows += len(batch)
        return rows


PLUGIN = Parquet

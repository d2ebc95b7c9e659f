"""Users' own assets read refined tables, and return new ones, as the type they annotate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.tables import TableRef
from superinsight_sync.orchestration.engines import engine_of_run
from superinsight_sync.orchestration.failures import failures_shown

if TYPE_CHECKING:
    pass


class LakeIOManager(dg.IOManager):
    """Gives ``pyarrow.Table``, ``pyarrow.RecordBatchReader``, ``pandas.DataFrame`` or ``polars.LazyFrame`` by
    annotation (default ``pyarrow.Table``), for the partitions asked for; lands what an asset returns."""

    def load_input(self, context: dg.InputContext) -> Any:
        from superinsight_sync.pipeline.tables import read_table, refined_table

        partitions = tuple(context.asset_partition_keys) if context.has_asset_partitions else ()
        with failures_shown():
            table = _table(
                context.asset_key,
                dict(context.upstream_output.definition_metadata or {}) if context.upstream_output else {},
            )
            reader = read_table(engine_of_run(_run_id(context)), table, partitions)
            return refined_table(reader, context.dagster_type.typing_type)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        from superinsight_sync.pipeline.tables import land_table

        if obj is None:
            return
        partitions = tuple(context.asset_partition_keys) if context.has_asset_partitions else ()
        with failures_shown():
            table = _table(context.asset_key, dict(context.definition_metadata or {}))
            landed = land_table(engine_of_run(context.run_id), table, obj, partitions)
        context.add_output_metadata(
            {
                "dagster/row_count": landed.rows,
                "sis/lake_version": landed.version,
                "sis/bytes_written": landed.size_bytes,
            }
        )


def _run_id(context: dg.InputContext) -> str:
    return context.step_context.run_id


def _table(key: dg.AssetKey, metadata: dict[str, Any]) -> TableRef:
    """The table of an asset: what its metadata names, or one made of the key."""
    named = metadata.get("dagster/table_name")
    if isinstance(named, dg.TextMetadataValue):
        named = named.value
    if isinstance(named, str) and named.count(".") == 3:
        tenant, source, stream, stage = named.split(".")
        return TableRef(tenant, source, stream, "raw" if stage == "raw" else "refined")
    if len(key.path) > 2:
        raise ConfigError(
            f"asset key '{key.to_user_string()}' has more than two parts", hint="Use <group>/<name>"
        )
    group: Sequence[str] = key.path[:-1] or ["assets"]
    return TableRef("default", group[0], key.path[-1], "refined")


lake_io_manager = LakeIOManager()

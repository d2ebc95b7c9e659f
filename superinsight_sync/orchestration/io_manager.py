"""Users' own assets read refined tables, and return new ones, as the type they annotate."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.tables import TableRef
from superinsight_sync.orchestration.failures import failures_shown
from superinsight_sync.orchestration.own_assets import TABLE, text
from superinsight_sync.orchestration.run_engine import engine_of_run


class LakeIOManager(dg.ConfigurableIOManager):
    """Reads refined tables for your own assets, and keeps the tables they return.

    Gives ``pyarrow.Table``, ``pyarrow.RecordBatchReader``, ``pandas.DataFrame`` or ``polars.LazyFrame`` by
    annotation (default ``pyarrow.Table``), for the partitions asked for; lands what an asset returns."""

    def load_input(self, context: dg.InputContext) -> Any:
        from superinsight_sync.pipeline.own_tables import read_table, refined_table

        partitions = tuple(context.asset_partition_keys) if context.has_asset_partitions else ()
        with failures_shown():
            table = _table(
                context.asset_key,
                dict(context.upstream_output.definition_metadata or {}) if context.upstream_output else {},
            )
            reader = read_table(engine_of_run(_run_id(context)), table, partitions)
            return refined_table(reader, context.dagster_type.typing_type)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        from superinsight_sync.pipeline.own_tables import land_table

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


def _table(key: dg.AssetKey, metadata: Mapping[str, Any]) -> TableRef:
    """The table of an asset: the stream's that it is, or the one that loading gave an own asset."""
    named = text(metadata.get("dagster/table_name", "")).split(".")
    if len(named) == 4:
        tenant, source, stream, stage = named
        return TableRef(tenant, source, stream, "raw" if stage == "raw" else "refined")
    if TABLE not in metadata:
        raise ConfigError(
            f"'{key.to_user_string()}' is no table in the lake",
            hint="Assets with one have keys of one or two parts, <group>/<name>, and are defined in this project",
        )
    tenant, group, name = text(metadata[TABLE]).split("/")
    return TableRef(tenant, group, name, "refined")

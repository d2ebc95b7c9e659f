"""Partition declarations → Dagster's time windows, and a run's partition keys back again."""

from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from superinsight_sync.model.declaration import PartitionSpec
from superinsight_sync.model.window import PartitionUnit, floor, following, key_format
from superinsight_sync.pipeline.partition_range import aware

KEY_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

_CRONS: dict[PartitionUnit, str] = {
    "hour": "0 * * * *",
    "day": "0 0 * * *",
    "week": "0 0 * * 0",
    "month": "0 0 1 * *",
}


def partitions_definition(spec: PartitionSpec | None) -> dg.TimeWindowPartitionsDefinition | None:
    """Dagster's definition. Without an end the partition that is still filling exists too."""
    if spec is None:
        return None
    end = None if spec.end is None else aware(spec.end)
    return dg.TimeWindowPartitionsDefinition(
        start=floor(spec.by, aware(spec.start)),
        end=end,
        cron_schedule=_CRONS[spec.by],
        fmt=key_format(spec.by),
        timezone="UTC",
        end_offset=0 if end else 1,
    )


def run_keys(context: dg.AssetExecutionContext) -> tuple[str, ...]:
    """The partition keys of this run, in order; empty if it has none."""
    return (
        tuple(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else ()
    )


def tagged_keys(
    tags: Mapping[str, str], definition: dg.TimeWindowPartitionsDefinition | None
) -> tuple[str, ...]:
    """The partition keys that a run's tags name, for steps that have no partitions themselves."""
    if definition is None:
        return ()
    if KEY_TAG in tags:
        return (tags[KEY_TAG],)
    if RANGE_START_TAG not in tags:
        return ()
    span = dg.PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
    return tuple(definition.get_partition_keys_in_range(span))


def current_keys(spec: PartitionSpec, since: datetime, until: datetime) -> list[str]:
    """Keys of the partitions that hold any time in ``[since, until]``, none before the declared start."""
    at = max(floor(spec.by, since), floor(spec.by, aware(spec.start)))
    keys = []
    while at <= until and (spec.end is None or at < aware(spec.end)):
        keys.append(at.strftime(key_format(spec.by)))
        at = following(spec.by, at)
    return keys

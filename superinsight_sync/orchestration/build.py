"""A validated declaration → Dagster definitions."""

from collections import defaultdict

import dagster as dg

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.orchestration import keys
from superinsight_sync.orchestration.assets import dataset_asset, dictionary_asset, raw_assets, refined_asset
from superinsight_sync.orchestration.checks import capture_check, connection_check, stream_checks
from superinsight_sync.orchestration.landing_sensor import landing_sensors
from superinsight_sync.orchestration.resources import lake_resource, source_resource
from superinsight_sync.orchestration.schedules import dataset_schedules, pull_job, source_schedules
from superinsight_sync.pipeline.declaration_checks import check_source


def source_definitions(source: SourceSpec, realtime: frozenset[str] = frozenset()) -> dg.Definitions:
    """Assets, checks, schedules and the resource of one source. Raises ConfigError for what pydantic cannot see.

    Args:
        realtime: names of streams that the drain lands.
    """
    check_source(source)
    checks = [c for s in source.streams if (c := stream_checks(source, s)) is not None]
    resources = {source.name: source_resource(source), keys.LAKE: lake_resource()}
    raw, refined = _raw_steps(source, realtime), [refined_asset(source, s) for s in source.streams]
    captured = [capture_check(source, s) for s in source.streams if s.sync.mode == "capture"]
    all_checks = [connection_check(source), *captured, *checks]
    job = pull_job(source, [*raw, *refined, *all_checks], resources)
    return dg.Definitions(
        assets=[*raw, *refined, *(dictionary_asset(source, s) for s in source.streams)],
        asset_checks=all_checks,
        schedules=source_schedules(source),
        jobs=[job] if job else [],
        resources=resources,
    )


def push_definitions(spec: PushSourceSpec) -> dg.Definitions:
    """The same for what is pushed, and the sensor that lands it."""
    return dg.Definitions.merge(
        source_definitions(spec.landed, frozenset(s.name for s in spec.streams if s.realtime)),
        dg.Definitions(sensors=landing_sensors(spec)),
    )


def _raw_steps(source: SourceSpec, realtime: frozenset[str]) -> list[dg.AssetsDefinition]:
    """One step per set of partitions, so that a process start serves all streams that can share a run."""
    groups: dict[str, list[StreamSpec]] = defaultdict(list)
    for stream in source.streams:
        groups[stream.partition.model_dump_json() if stream.partition else ""].append(stream)
    steps = []
    for number, (partition, streams) in enumerate(sorted(groups.items())):
        name = f"{source.name}_raw" if not partition else f"{source.name}_raw_partitioned_{number}"
        steps.append(raw_assets(source, streams, name, realtime))
    return steps


def dataset_definitions(spec: DatasetSpec) -> dg.Definitions:
    """The asset and schedule of one dataset."""
    return dg.Definitions(
        assets=[dataset_asset(spec)],
        schedules=dataset_schedules(spec),
        resources={keys.LAKE: lake_resource()},
    )

"""One schedule per source and cron, and one job per source that they pass their streams to; never one per stream."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import build_asset_job, get_asset_graph_for_job

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.orchestration import keys
from superinsight_sync.orchestration.cron_names import cron_name
from superinsight_sync.orchestration.partitions import KEY_TAG, current_keys


def pull_job_name(source: SourceSpec) -> str:
    """The job that the schedules of a source start."""
    return f"{source.name}_pull"


def pull_job(
    source: SourceSpec, parts: Sequence[dg.AssetsDefinition], resources: Mapping[str, Any]
) -> dg.JobDefinition | None:
    """The job of a source's schedules, over what any of them may ask for; None if it has none.

    It is made of the source's own assets and resources here, by what Dagster itself makes its job of all assets of.
    `define_asset_job` refuses streams of different partitions, and is resolved over all assets and holds all
    resources of the project, so that loading grew with the square of the sources.
    """
    due = [key for s in source.streams if s.schedule for key in pulled_keys(source, s)]
    if not due:
        return None
    own = dg.Definitions(assets=parts, resources=resources).resolve_asset_graph()
    return build_asset_job(
        pull_job_name(source),
        get_asset_graph_for_job(own, dg.AssetSelection.assets(*due), allow_different_partitions_defs=True),
        allow_different_partitions_defs=True,
        resource_defs=resources,
        executor_def=dg.in_process_executor,
        description=f"Pulls streams of {source.name}. Its schedules start it, each for the streams that are due.",
    )


def source_schedules(source: SourceSpec) -> list[dg.ScheduleDefinition]:
    """Schedules that pull the source's streams; downstream follows by automation."""
    by_cron: dict[str, list[StreamSpec]] = defaultdict(list)
    for stream in source.streams:
        if stream.schedule:
            by_cron[cron_name(stream.schedule)].append(stream)
    return [_schedule(source, when, streams) for when, streams in sorted(by_cron.items())]


def _schedule(source: SourceSpec, when: str, streams: Sequence[StreamSpec]) -> dg.ScheduleDefinition:
    name = f"{source.name}_{when}"

    @dg.schedule(
        name=name,
        cron_schedule=streams[0].schedule or "",
        job_name=pull_job_name(source),
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Pulls {', '.join(s.name for s in streams)} of {source.name}.",
        tags={"source": source.name, "tenant": source.tenant},
    )
    def pull_due(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        due_at = context.scheduled_execution_time.astimezone(UTC)
        for number, request in enumerate(run_requests(source, streams, due_at)):
            yield request.with_replaced_attrs(run_key=f"{name}:{due_at:%Y-%m-%dT%H:%M}:{number}")

    return pull_due


def run_requests(source: SourceSpec, streams: Sequence[StreamSpec], now: datetime) -> Iterator[dg.RunRequest]:
    """One run per set of partitions: unpartitioned streams together, partitioned ones by partition key.

    A partitioned stream reads the partition that is filling, and those that rows may still have come late to.
    """
    runs: dict[str | None, list[StreamSpec]] = defaultdict(list)
    for stream in streams:
        if stream.partition is None:
            runs[None].append(stream)
            continue
        since = now - max(stream.sync.lag or timedelta(0), timedelta(hours=1))
        for key in current_keys(stream.partition, since, now):
            runs[f"{stream.partition.by}|{stream.partition.start}|{key}"].append(stream)
    for group, members in sorted(runs.items(), key=lambda item: item[0] or ""):
        partition = group.rsplit("|", 1)[1] if group else None
        yield dg.RunRequest(
            partition_key=partition,
            asset_selection=[asset for s in members for asset in pulled_keys(source, s)],
            tags={
                keys.PRIORITY_TAG: str(max(s.priority or 0 for s in members)),
                "source": source.name,
                "tenant": source.tenant,
                **({KEY_TAG: partition} if partition else {}),
            },
        )


def pulled_keys(source: SourceSpec, stream: StreamSpec) -> list[dg.AssetKey]:
    """What a run that pulls the stream materializes: the refined table too, if the raw one ends with the run."""
    raw, refined = keys.raw_key(source.name, stream.name), keys.refined_key(source.name, stream.name)
    return [raw] if stream.raw_outlives_its_run else [raw, refined]


def dataset_schedules(spec: DatasetSpec) -> list[dg.ScheduleDefinition]:
    """A dataset's own schedule, if it has one."""
    if not spec.schedule:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"datasets_{spec.name}",
            cron_schedule=spec.schedule,
            target=dg.AssetSelection.assets(keys.dataset_key(spec.name)),
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={"tenant": spec.tenant},
        )
    ]

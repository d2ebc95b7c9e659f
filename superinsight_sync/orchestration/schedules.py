"""One schedule per source and cron; never one per stream."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.orchestration import keys
from superinsight_sync.orchestration.partitions import current_keys


def source_schedules(source: SourceSpec) -> list[dg.ScheduleDefinition]:
    """Schedules that pull the source's streams; downstream follows by automation."""
    by_cron: dict[str, list[StreamSpec]] = defaultdict(list)
    for stream in source.streams:
        if stream.schedule:
            by_cron[stream.schedule].append(stream)
    return [_schedule(source, cron, streams) for cron, streams in sorted(by_cron.items())]


def _schedule(source: SourceSpec, cron: str, streams: Sequence[StreamSpec]) -> dg.ScheduleDefinition:
    suffix = hashlib.sha256(cron.encode()).hexdigest()[:6]

    @dg.schedule(
        name=f"{source.name}_{suffix}",
        cron_schedule=cron,
        target=dg.AssetSelection.assets(*[key for s in streams for key in pulled_keys(source, s)]),
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Pulls {', '.join(s.name for s in streams)} of {source.name}.",
        tags={"source": source.name, "tenant": source.tenant},
    )
    def pull_due(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        yield from run_requests(source, streams, context.scheduled_execution_time.astimezone(UTC))

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
        yield dg.RunRequest(
            partition_key=group.rsplit("|", 1)[1] if group else None,
            asset_selection=[key for s in members for key in pulled_keys(source, s)],
            tags={
                keys.PRIORITY_TAG: str(max(s.priority or 0 for s in members)),
                "source": source.name,
                "tenant": source.tenant,
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

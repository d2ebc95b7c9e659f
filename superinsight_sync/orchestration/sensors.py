"""Sensors: downstream follows upstream, and a failed run becomes an alert."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import dagster as dg

from superinsight_sync.orchestration.failures import failed_work
from superinsight_sync.orchestration.keys import PRIORITY_TAG, priority_of
from superinsight_sync.security.secrets import redact


@dg.run_failure_sensor(
    name="alert_on_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,  # a run that a terminal started belongs to none
    description="Writes an alert to the configured channels when a run fails.",
)
def alert_on_failure(context: dg.RunFailureSensorContext) -> None:
    from superinsight_sync.pipeline.alert import alert_run_failed

    failed = [failed_work(e) for e in context.get_step_failure_events()]
    texts = [context.failure_event.message or "", *(work.text for work in failed)]
    alert_run_failed(
        run_id=context.dagster_run.run_id,
        job=context.dagster_run.job_name,
        source=", ".join(_each(work.source for work in failed)) or context.dagster_run.tags.get("source", ""),
        stream=", ".join(_each(work.stream for work in failed)),
        error_class=", ".join(_each(work.error_class for work in failed)),
        text=redact("\n".join(text for text in texts if text)),
    )


def _each(texts: Iterable[str]) -> list[str]:
    return sorted({part for text in texts for part in text.split(", ") if part})


def project_sensors(specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> list[dg.SensorDefinition]:
    """The project's sensors, all running by default.

    A sensor's runs all have the same tags, so there is one for each priority that streams declare: it follows what
    is made of such streams. `follow_upstream` follows everything else.
    """
    by_priority: dict[int, list[dg.AssetKey]] = defaultdict(list)
    for key in specs:
        by_priority[priority_of(key, specs)].append(key)
    by_priority.pop(0, None)
    others = [key for found in by_priority.values() for key in found]
    rest = dg.AssetSelection.all() - dg.AssetSelection.assets(*others) if others else dg.AssetSelection.all()
    follow = [_follow("follow_upstream", rest, {})]
    for priority, found in sorted(by_priority.items()):
        name = f"follow_upstream_priority_{priority}".replace("-", "minus_")
        tags = {PRIORITY_TAG: str(priority)}
        follow.append(_follow(name, dg.AssetSelection.assets(*found), tags))
    return [*follow, alert_on_failure]


def _follow(
    name: str, target: dg.AssetSelection, run_tags: Mapping[str, str]
) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        name=name,
        target=target,
        run_tags=run_tags,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Refines, describes and exports what has new data upstream.",
    )

"""Sensors: downstream follows upstream, and a failed run becomes an alert."""

import dagster as dg

from superinsight_sync.security.secrets import redact


@dg.run_failure_sensor(
    name="alert_on_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,  # a run that a terminal started belongs to none
    description="Writes an alert to the configured channels when a run fails.",
)
def alert_on_failure(context: dg.RunFailureSensorContext) -> None:
    from superinsight_sync.pipeline.alert import alert_run_failed

    step_errors = [
        e.step_failure_data.error.message
        for e in context.get_step_failure_events()
        if e.step_failure_data.error is not None
    ]
    alert_run_failed(
        run_id=context.dagster_run.run_id,
        job=context.dagster_run.job_name,
        source=context.dagster_run.tags.get("source", ""),
        text=redact("\n".join([context.failure_event.message or "", *step_errors])),
    )


def project_sensors() -> list[dg.SensorDefinition]:
    """The project's sensors, all running by default."""
    follow = dg.AutomationConditionSensorDefinition(
        name="follow_upstream",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Refines, describes and exports what has new data upstream.",
    )
    return [follow, alert_on_failure]

"""Upkeep: compaction, vacuum and retention of every table, as one scheduled job."""

import dagster as dg

from superinsight_sync.orchestration.failures import failures_shown
from superinsight_sync.orchestration.run_engine import engine_of_run


@dg.op(description="Compacts every table, removes files older than the retention time, expires rows.")
def maintain_lake(context: dg.OpExecutionContext) -> None:
    from superinsight_sync.pipeline.project import load_project
    from superinsight_sync.pipeline.retain import maintain_lake, maintain_state

    engine = engine_of_run(context.run_id)
    with failures_shown():
        result = maintain_lake(engine, load_project(engine.settings).sources.values())
        result |= maintain_state(engine)
    context.add_output_metadata({f"sis/{k}": v for k, v in result.items()})


@dg.job(description="Upkeep of the lake and of our own database.", executor_def=dg.in_process_executor)
def lake_maintenance() -> None:
    maintain_lake()


def maintenance_definitions() -> dg.Definitions:
    """The upkeep job, nightly at 03:17 UTC."""
    nightly = dg.ScheduleDefinition(
        name="lake_maintenance_nightly",
        job=lake_maintenance,
        cron_schedule="17 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return dg.Definitions(jobs=[lake_maintenance], schedules=[nightly])

"""``sis plan``: what a run would read and write."""

from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table
from superinsight_sync.cli.running import selected

if TYPE_CHECKING:
    from superinsight_sync.pipeline.plan import PlannedAsset


@click.command("plan")
@click.argument("selection", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every asset of the project: the default.")
@click.option("--from", "since", help="First partition (default: the first there is).")
@click.option("--to", "until", help="Last partition (default: the newest there is).")
@json_option
@errors_shown
def plan_command(
    selection: tuple[str, ...], everything: bool, since: str | None, until: str | None, as_json: bool
) -> None:
    """Says what `sis run` with the same selection would read and write. No side effect.

    Takes a source, a stream, a dataset or any Dagster selection, as `sis run` does. Reading: raw assets ask
    their source what is new and how many rows that is; the others look at what has landed.

    \b
    Example:
        sis plan airline.flights --from 2013-01-01 --to 2013-03-01
        sis plan datasets/flight_delays --json
    """
    from superinsight_sync.orchestration.planning import plan_assets
    from superinsight_sync.orchestration.running import plan_runs
    from superinsight_sync.pipeline.engine import open_engine
    from superinsight_sync.pipeline.project import load_project

    defs, assets = selected(() if everything else selection)
    runs = plan_runs(defs, assets, since=since, until=until)
    engine = open_engine()
    try:
        planned = plan_assets(defs, runs, load_project(engine.settings), engine)
    finally:
        engine.release()
    if as_json:
        show_json({"assets": [_document(p) for p in planned]})
        return
    columns = ["asset", "would", "rows now", "reads", "into", "how", "landed up to"]
    show_table("Plan (nothing was changed)", columns, [_row(p) for p in planned], ["rows now"])


def _document(planned: "PlannedAsset") -> dict[str, Any]:
    return {
        "asset": planned.asset,
        "stage": planned.stage,
        "outcome": planned.outcome,
        "would": planned.would,
        "reads": planned.reads,
        "into": planned.into or None,
        "rows": planned.rows,
        "from": planned.first_partition,
        "to": planned.last_partition,
        "checkpoint": planned.checkpoint,
        "how": planned.how,
    }


def _row(planned: "PlannedAsset") -> tuple[Any, ...]:
    would = planned.would
    if planned.first_partition is not None:
        would += f" [{planned.first_partition}…{planned.last_partition}]"
    reads, how = "\n".join(planned.reads), ", ".join(planned.how)
    return (planned.asset, would, planned.rows, reads, planned.into, how, planned.checkpoint)

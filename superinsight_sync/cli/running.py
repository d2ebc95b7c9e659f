"""``sis run`` and ``sis backfill``: materialize assets through Dagster in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import errors_shown, human_bytes, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from dagster import AssetKey, Definitions

    from superinsight_sync.orchestration.running import AssetOutcome, PlannedRun, RunOutcome


@click.command("run")
@click.argument("selection", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every asset of the project.")
@click.option("--from", "since", help="First partition (default: the first there is).")
@click.option("--to", "until", help="Last partition (default: the newest there is).")
@click.option("--force", is_flag=True, help="Read and make everything anew, also what is unchanged.")
@click.option("--dry-run", is_flag=True, help="Say which runs would be made, and stop.")
@click.option("--summary", is_flag=True, help="Also print the paths of what was made.")
@json_option
@errors_shown
def run_command(
    selection: tuple[str, ...],
    everything: bool,
    since: str | None,
    until: str | None,
    force: bool,
    dry_run: bool,
    summary: bool,
    as_json: bool,
) -> None:
    """Materializes a source, a stream, a dataset or any Dagster selection. What is unchanged is not done again.

    `airline.flights` is the stream with all its stages, `airline/flights` that one asset. It starts at once: pools
    and limits of dagster.yaml act on runs in Dagster's queue only.

    \b
    Example:
        sis run airline
        sis run airline.flights --from 2013-03-01 --to 2013-04-01
        sis run "key:datasets/flight_delays+" --json
    """
    if everything == bool(selection):
        raise ConfigError("nothing is selected" if not selection else "give a selection or --all, not both")
    from superinsight_sync.orchestration.running import plan_runs

    defs, assets = selected(() if everything else selection)
    runs = plan_runs(defs, assets, since=since, until=until)
    outcome = _run(defs, runs, dry_run=dry_run, force=force, as_json=as_json)
    if summary and not as_json:
        _show_paths(outcome)
    raise SystemExit(outcome.exit_code)


@click.command("backfill")
@click.argument("selection", nargs=-1, required=True)
@click.option("--from", "since", required=True, help="First partition.")
@click.option("--to", "until", required=True, help="Last partition.")
@click.option("--dry-run", is_flag=True, help="Say which runs would be made, and stop.")
@json_option
@errors_shown
def backfill_command(
    selection: tuple[str, ...], since: str, until: str, dry_run: bool, as_json: bool
) -> None:
    """Repairs a range of partitions: reads them anew as one run and replaces exactly their rows.

    What has no partitions (dictionary, datasets) is left to the automation, or to `sis run`.

    \b
    Example:
        sis backfill airline.flights --from 2013-03-01 --to 2013-06-01
    """
    from superinsight_sync.orchestration.running import plan_backfill

    defs, assets = selected(selection)
    runs = plan_backfill(defs, assets, since, until)
    raise SystemExit(_run(defs, runs, dry_run=dry_run, force=True, as_json=as_json).exit_code)


def selected(selection: tuple[str, ...]) -> "tuple[Definitions, set[AssetKey]]":
    """The project's definitions, and the assets that the selections name; all assets where there is none."""
    from superinsight_sync.cli.project_definitions import definitions
    from superinsight_sync.orchestration.running import select

    defs = definitions()
    return defs, set().union(*(select(defs, s) for s in selection or ("*",)))


def _run(
    defs: "Definitions", runs: "list[PlannedRun]", *, dry_run: bool, force: bool, as_json: bool
) -> "RunOutcome":
    from superinsight_sync.orchestration.running import run_all

    if dry_run:
        _show_plan(runs, as_json=as_json)
        raise SystemExit(0)
    with _progress(quiet=as_json):
        outcome = run_all(defs, runs, force=force)
    if as_json:
        show_json(_document(outcome))
    else:
        _show(outcome)
    return outcome


@contextmanager
def _progress(*, quiet: bool) -> Iterator[None]:
    """A bar a stream while it is read; nothing where there is no terminal to show it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from superinsight_sync.orchestration.run_engine import progress_shown

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def advance(stream: str, rows: int) -> None:
            if stream not in tasks:
                tasks[stream] = bars.add_task(stream, total=None)
            bars.advance(tasks[stream], rows)

        with progress_shown(advance):
            yield


def _show_plan(runs: "list[PlannedRun]", *, as_json: bool) -> None:
    planned = [
        {"assets": [k.to_user_string() for k in r.assets], "from": r.first, "to": r.last} for r in runs
    ]
    if as_json:
        show_json({"runs": planned})
        return
    rows = [(i + 1, "\n".join(p["assets"] or []), p["from"], p["to"]) for i, p in enumerate(planned)]
    show_table("Runs (nothing was done)", ["run", "assets", "from", "to"], rows)


def _document(outcome: "RunOutcome") -> dict[str, Any]:
    return {
        "exit_code": outcome.exit_code,
        "run_ids": outcome.run_ids,
        "errors": outcome.errors,
        "assets": [_row_document(a) for a in outcome.assets.values()],
    }


def _row_document(asset: "AssetOutcome") -> dict[str, Any]:
    return {
        "asset": asset.asset,
        "stage": asset.stage,
        "materialized": asset.materialized,
        "unchanged": bool(asset.metadata.get("sis/unchanged", False)),
        "rows": asset.rows,
        "bytes": asset.metadata.get("sis/bytes_written", 0),
        "seconds": asset.metadata.get("sis/seconds", 0.0),
        "quarantined": asset.metadata.get("sis/quarantined", 0),
        "unreadable": asset.metadata.get("sis/unreadable", 0),
        "checks": {
            "passed": asset.checks_passed,
            "failed": asset.checks_failed,
            "could_not_run": asset.checks_broken,
            "warned": asset.checks_warned,
        },
        "path": asset.metadata.get("sis/folder") or asset.metadata.get("sis/file"),
    }


def _show(outcome: "RunOutcome") -> None:
    not_made = "not made" if outcome.errors else "nothing to make it of yet"
    rows = [_row(_row_document(a), not_made) for a in outcome.assets.values()]
    columns = ["asset", "rows", "bytes", "seconds", "checks", "remarks"]
    show_table("What was made", columns, rows, right=["rows", "bytes", "seconds"])
    for asset in outcome.assets.values():
        if asset.stage == "raw" and "sis/warnings" in asset.metadata:
            tell(f"warning: {asset.asset}:\n{asset.metadata['sis/warnings']}")
    for error in outcome.errors:
        tell(f"error: {error}")


def _row(asset: dict[str, Any], not_made: str) -> tuple[str, ...]:
    checks = asset["checks"]
    shown = [f"{checks['passed']} passed"] if checks["passed"] else []
    shown += [f"{checks['warned']} warned"] if checks["warned"] else []
    broken, bad = checks["could_not_run"], checks["failed"] - checks["could_not_run"]
    shown += [f"{bad} FAILED"] if bad else []
    shown += [f"{broken} COULD NOT RUN"] if broken else []
    remarks = not_made if not asset["materialized"] else "unchanged" if asset["unchanged"] else ""
    set_aside = [f"{asset[what]:,} {what}" for what in ("unreadable", "quarantined") if asset[what]]
    remarks = ", ".join(set_aside) or remarks
    size = human_bytes(asset["bytes"]) if asset["bytes"] else ""
    rows = f"{asset['rows']:,}" if asset["stage"] != "dictionary" else ""
    return (asset["asset"], rows, size, f"{asset['seconds']:.2f}", ", ".join(shown), remarks)


def _show_paths(outcome: "RunOutcome") -> None:
    tell("\nMade:")
    for asset in outcome.assets.values():
        path = asset.metadata.get("sis/folder")
        if path:
            tell(f"  {asset.asset}: {path}")
            tell(f"  report: {path}/report.html")
    from superinsight_sync.core.settings import load_settings

    settings = load_settings()
    tell(f"  lake: {settings.lake_url}\n  web UI: make dev")

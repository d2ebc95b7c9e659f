"""``sis reset``: start a stream over."""

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.settings import load_settings


@click.command("reset")
@click.argument("stream")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@json_option
@errors_shown
def reset_command(stream: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Starts a stream over: removes its tables, checkpoints, quarantine and dictionary. Its next run reads everything.

    What was pushed lands again as far as the inbox still keeps it.

    \b
    Example:
        sis reset crm.orders --dry-run
        sis reset crm.orders --yes && sis run crm.orders
    """
    from superinsight_sync.pipeline.engine import open_engine
    from superinsight_sync.pipeline.project import load_project
    from superinsight_sync.pipeline.reset import reset_stream, what_a_reset_removes

    source, spec = load_project(load_settings()).stream(stream)
    engine = open_engine()
    found = what_a_reset_removes(engine, source, spec)
    if not dry_run:
        if not yes:
            rows = sum(f.rows for f in found)
            click.confirm(f"Remove {len(found)} tables of {stream} with {rows:,} rows?", abort=True, err=True)
        found = reset_stream(engine, source, spec)
    if as_json:
        tables = [{"table": str(f.table), "kept_in": f.strategy, "rows": f.rows} for f in found]
        show_json({"stream": stream, "dry_run": dry_run, "tables": tables})
        return
    title = "Would be removed" if dry_run else "Removed"
    show_table(
        title, ["table", "in", "rows"], [(f.table, f.strategy, f"{f.rows:,}") for f in found], ["rows"]
    )
    if not dry_run:
        tell(f"{stream} starts over: `sis run {stream}` reads everything")

"""``sis logs``: what a run did, line by line."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, tell
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.state.executions import LEVELS, Level, RunLine

if TYPE_CHECKING:
    from superinsight_sync.state import State

_LOOK_S = 0.5
_COLOURS = {"warning": "yellow", "error": "red"}


@click.command("logs")
@click.argument("run", required=False)
@click.option("--follow", "-f", is_flag=True, help="Show what comes until the run has ended.")
@click.option(
    "--level", type=click.Choice(LEVELS), default="info", show_default=True, help="Only this and graver."
)
@json_option
@errors_shown
def logs_command(run: str | None, follow: bool, level: Level, as_json: bool) -> None:
    """Shows what a run did, line by line: its id, or how it begins. Without one, the newest run.

    \b
    Example:
        sis logs 3f2a --follow
        sis logs --level warning
    """
    from superinsight_sync.pipeline.engine import open_engine

    if follow and as_json:
        raise ConfigError("--json is one document, and --follow has no end", hint="Give one of them")
    state = open_engine().state
    run_id = _run_id(state, run)
    levels = LEVELS[LEVELS.index(level) :]
    if as_json:
        show_json({"run_id": run_id, "lines": [vars(line) for line in _lines(state, run_id, levels)]})
        return
    tell(f"run {run_id}")
    for line in _followed(state, run_id, levels) if follow else _lines(state, run_id, levels):
        where = f"{line.verb} {line.source}/{line.stream}" + (
            f" [{line.partition}]" if line.partition else ""
        )
        shown = click.style(f"{line.level:<7}", fg=_COLOURS.get(line.level))
        click.echo(f"{line.at:%Y-%m-%d %H:%M:%S} {shown} {where}: {line.message}")


def _run_id(state: "State", begins: str | None) -> str:
    """The run that is meant. Raises ConfigError if there is none, or more than one."""
    found = state.executions.runs(begins or "", limit=2)
    if not found:
        raise ConfigError(
            f"no run begins with '{begins}'" if begins else "nothing has been run yet",
            hint="`sis status` lists runs; older ones are removed after a time",
        )
    if begins and len(found) > 1 and begins not in found:
        raise ConfigError(f"'{begins}' begins several runs: {', '.join(found)}, …", hint="Give more of it")
    return begins if begins in found else found[0]


def _lines(state: "State", run_id: str, levels: tuple[Level, ...]) -> Iterator[RunLine]:
    after = 0
    while found := state.logs.of_run(run_id, after=after, levels=levels, limit=1_000):
        yield from found
        after = found[-1].id


def _followed(state: "State", run_id: str, levels: tuple[Level, ...]) -> Iterator[RunLine]:
    """Those there are and those that come, until the run has ended."""
    from superinsight_sync.orchestration.running import instance

    after = 0
    with instance() as dagster:
        while True:
            known = dagster.get_run_by_id(run_id)
            ended = (
                known.is_finished
                if known
                else not state.executions.recent(1, run_id=run_id, status="running")
            )
            for line in state.logs.of_run(run_id, after=after, levels=levels):
                after = line.id
                yield line
            if ended:
                return
            time.sleep(_LOOK_S)

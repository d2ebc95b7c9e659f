"""Commands on work that failed after all its retries: dead-letters list, show, replay, discard."""

from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from superinsight_sync.pipeline.engine import Engine
    from superinsight_sync.state.dead_letters import DeadLetter


@click.group("dead-letters")
def dead_letters_command() -> None:
    """Shows work that failed after all its retries, does it again or gives it up.

    \b
    Example:
        sis dead-letters list
    """


@dead_letters_command.command("list")
@click.option(
    "--state",
    type=click.Choice(["open", "replayed", "discarded", "all"]),
    default="open",
    show_default=True,
    help="Only in this state.",
)
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Dead letters at most."
)
@json_option
@errors_shown
def dead_letters_list(state: Any, limit: int, as_json: bool) -> None:
    """Lists dead letters, oldest first.

    \b
    Example:
        sis dead-letters list --state all
    """
    letters = _engine().state.dead_letters
    found = letters.list(limit) if state == "all" else letters.list(limit, state=state)
    if as_json:
        show_json({"dead_letters": [vars(d) for d in found]})
        return
    rows = [
        (
            d.id,
            f"{d.at:%Y-%m-%d %H:%M:%S}",
            f"{d.verb} {d.target}",
            _span(d),
            d.state,
            d.attempts,
            d.error_text,
        )
        for d in found
    ]
    columns = ["id", "since (UTC)", "work", "partitions", "state", "tries", "error"]
    show_table("Dead letters", columns, rows, ["id", "tries"])


@dead_letters_command.command("show")
@click.argument("letter", type=int)
@json_option
@errors_shown
def dead_letters_show(letter: int, as_json: bool) -> None:
    """Shows a dead letter: what was to be done, with what, and why it failed.

    \b
    Example:
        sis dead-letters show 7
    """
    found = _engine().state.dead_letters.list(1, id=letter)
    if not found:
        raise ConfigError(f"there is no dead letter {letter}", hint="See `sis dead-letters list --state all`")
    if as_json:
        show_json(vars(found[0]))
        return
    shown = {**vars(found[0]), **found[0].payload}
    del shown["payload"]
    show_table(f"Dead letter {letter}", ["", "value"], [(k.replace("_", " "), v) for k, v in shown.items()])


@dead_letters_command.command("replay")
@click.argument("letters", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="Every open one, oldest first.")
@json_option
@errors_shown
def dead_letters_replay(letters: tuple[int, ...], everything: bool, as_json: bool) -> None:
    """Does the work again, as a run of the same asset and partitions. What succeeds closes its dead letter.

    What fails again leaves it open, and the command ends as `sis run` would.

    \b
    Example:
        sis dead-letters replay 7 8
        sis dead-letters replay --all
    """
    if everything == bool(letters):
        raise ConfigError("name dead letters or give --all" + (", not both" if everything else ""))
    from superinsight_sync.cli.project_definitions import definitions
    from superinsight_sync.orchestration.dead_letter_runs import open_letter, replay_letter

    engine = _engine()
    ids = [d.id for d in engine.state.dead_letters.list(10_000, state="open")] if everything else letters
    wanted = [open_letter(engine, i) for i in ids]
    defs = definitions()
    done: list[dict[str, Any]] = []
    code = 0
    for letter in wanted:
        try:
            outcome = replay_letter(engine, defs, letter)
        except ConfigError as error:
            code, errors = code or error.exit_code, [str(error)]
        else:
            code, errors = code or outcome.exit_code, outcome.errors
        done.append({"id": letter.id, "replayed": not errors, "errors": errors})
    _show_done(done, as_json=as_json)
    raise SystemExit(code)


def _show_done(done: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        show_json({"dead_letters": done})
        return
    for one in done:
        tell(f"{one['id']} is done" if one["replayed"] else f"{one['id']} failed again and stays open")
        for error in one["errors"]:
            tell(f"error: {error}")


@dead_letters_command.command("discard")
@click.argument("letters", nargs=-1, type=int, required=True)
@json_option
@errors_shown
def dead_letters_discard(letters: tuple[int, ...], as_json: bool) -> None:
    """Gives work up: closes its dead letters without doing it.

    \b
    Example:
        sis dead-letters discard 7
    """
    from superinsight_sync.orchestration.dead_letter_runs import open_letter

    engine = _engine()
    for letter in [open_letter(engine, i) for i in letters]:
        engine.state.dead_letters.mark(letter.id, "discarded")
    if as_json:
        show_json({"discarded": list(letters)})
        return
    tell(f"discarded: {', '.join(map(str, letters))}")


def _span(letter: "DeadLetter") -> str:
    partitions = letter.payload.get("partitions") or [""]
    first, last = partitions[0], partitions[-1]
    return str(first) if first == last else f"{first}…{last}"


def _engine() -> "Engine":
    from superinsight_sync.pipeline.engine import open_engine

    return open_engine()

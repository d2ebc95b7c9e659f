"""Commands on what was pushed: inbox list, show, replay."""

import sys
from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import errors_shown, human_bytes, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from superinsight_sync.pipeline.engine import Engine
    from superinsight_sync.state.deliveries import StoredDelivery


@click.group("inbox")
def inbox_command() -> None:
    """Shows what customers pushed, and lands it once more.

    \b
    Example:
        sis inbox list --source shop --failed
    """


@inbox_command.command("list")
@click.option("--source", help="Only this source.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--state", type=click.Choice(["received", "landed"]), help="Only in this state.")
@click.option("--failed", is_flag=True, help="Only what waits after it could not be landed.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Deliveries at most."
)
@json_option
@errors_shown
def inbox_list(
    source: str | None, tenant: str | None, state: Any, failed: bool, limit: int, as_json: bool
) -> None:
    """Lists deliveries, newest first, and how much waits to be landed.

    \b
    Example:
        sis inbox list --source shop --failed
    """
    inbox = _engine().inbox
    found = inbox.list(tenant=tenant, source=source, state=state, failed=failed, limit=limit)
    waiting = inbox.backlog(tenant, source)
    if as_json:
        show_json({"waiting": vars(waiting), "deliveries": [vars(d) for d in found]})
        return
    rows = [
        (
            d.id,
            f"{d.source}/{d.stream}",
            f"{d.received_at:%Y-%m-%d %H:%M:%S}",
            d.format,
            f"{d.records:,}",
            human_bytes(d.size_bytes),
            d.state,
            d.error_text,
        )
        for d in found
    ]
    columns = ["id", "stream", "received (UTC)", "format", "records", "size", "state", "error"]
    show_table("Deliveries", columns, rows, ["records", "size"])
    tell(f"{waiting.deliveries:,} deliveries ({human_bytes(waiting.size_bytes)}) wait to be landed")


@inbox_command.command("show")
@click.argument("delivery")
@click.option("--body", is_flag=True, help="Print the delivery itself, as its sender wrote it, instead.")
@json_option
@errors_shown
def inbox_show(delivery: str, body: bool, as_json: bool) -> None:
    """Shows a delivery: when it came, what became of it, which of its records are set aside.

    \b
    Example:
        sis inbox show 01JD8Q… --body > delivery.json
    """
    from superinsight_sync.pipeline.replay import places_set_aside

    engine = _engine()
    found = engine.inbox.get(delivery)
    if found is None:
        raise ConfigError("there is no such delivery", hint="See `sis inbox list`")
    if body and not as_json:
        sys.stdout.buffer.write(_body(engine, found))
        return
    shown: dict[str, Any] = {**vars(found), "set_aside": places_set_aside(engine, found)}
    if body:
        shown["body"] = _body(engine, found).decode("utf-8", "backslashreplace")
    if as_json:
        show_json(shown)
        return
    show_table(f"Delivery {found.id}", ["", "value"], [(k.replace("_", " "), v) for k, v in shown.items()])


@inbox_command.command("replay")
@click.argument("deliveries", nargs=-1, required=True)
@click.option("--all", "whole", is_flag=True, help="All records, also those that have landed.")
@json_option
@errors_shown
def inbox_replay(deliveries: tuple[str, ...], whole: bool, as_json: bool) -> None:
    """Lands deliveries once more: the records that were set aside, or with --all every record. One that could not be
    landed is tried again at once.

    \b
    Example:
        sis inbox replay 01JD8Q…
    """
    from superinsight_sync.pipeline.replay import replay_delivery

    engine = _engine()
    made = {d: replay_delivery(engine, d, whole=whole) for d in deliveries}
    if as_json:
        show_json({"replayed": made})
        return
    for old, new in made.items():
        if new == old:
            tell(f"{old} is tried again at once, with all that waits of its stream")
        else:
            tell(f"{old} waits to be landed once more, as {new}")


def _body(engine: "Engine", found: "StoredDelivery") -> bytes:
    """What was sent, unpacked. Raises ConfigError if it has just been forgotten, DataError if it is damaged."""
    from superinsight_sync.receive.limits import unpacked

    body = engine.inbox.body(found.id)
    if body is None:
        raise ConfigError("there is no such delivery any more", hint="See `sis inbox list`")
    return unpacked(body, found.encoding, 4 << 30)


def _engine() -> "Engine":
    from superinsight_sync.pipeline.engine import open_engine

    return open_engine()

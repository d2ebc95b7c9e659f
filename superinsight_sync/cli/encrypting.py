"""Commands on encryption at rest: encryption new-key, status, rotate, rewrap, reseal."""

from typing import TYPE_CHECKING

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from superinsight_sync.pipeline.engine import Engine


@click.group("encryption")
def encryption_command() -> None:
    """Seals pushed bodies where they rest, and changes the keys they are sealed with.

    \b
    Example:
        sis encryption new-key > master.key && export SIS_MASTER_KEY_FILE=master.key
    """


@encryption_command.command("new-key")
@json_option
@errors_shown
def encryption_new_key(as_json: bool) -> None:
    """Prints a new master key. Keep it where a thief of this disk does not find it, and keep a copy.

    \b
    Example:
        sis encryption new-key > /mnt/safe/master.key
    """
    from superinsight_sync.security.master_keys import new_master_key

    key = new_master_key()
    if as_json:
        show_json({"master_key": key})
        return
    click.echo(key)


@encryption_command.command("status")
@json_option
@errors_shown
def encryption_status(as_json: bool) -> None:
    """Shows whether bodies are sealed, and the tenants' keys.

    \b
    Example:
        sis encryption status
    """
    keys = _engine().inbox.bodies.keys
    found = keys.list()
    if as_json:
        show_json({"is_on": keys.is_on, "keys": found})
        return
    columns = ["id", "tenant", "master", "created_at", "replaced_at"]
    show_table("Data keys", columns, [tuple(key[name] for name in columns) for key in found])
    tell("pushed bodies are sealed" if keys.is_on else "nothing is sealed: there is no master key")


@encryption_command.command("rotate")
@click.option("--tenant", "tenants", multiple=True, help="Only this tenant's (repeatable). Default: all.")
@json_option
@errors_shown
def encryption_rotate(tenants: tuple[str, ...], as_json: bool) -> None:
    """Replaces tenants' data keys. What the old ones sealed stays readable until `reseal` has sealed it anew.

    \b
    Example:
        sis encryption rotate --tenant acme && sis encryption reseal
    """
    keys = _engine().inbox.bodies.keys
    known = {str(key["tenant"]) for key in keys.list()}
    for tenant in tenants:
        if tenant not in known:
            raise ConfigError(f"tenant '{tenant}' has no data key", hint="See `sis encryption status`")
    made = {tenant: keys.rotate(tenant) for tenant in tenants or sorted(known)}
    if as_json:
        show_json({"keys": made})
        return
    tell(f"{len(made)} data keys are replaced; running processes follow within a minute")


@encryption_command.command("rewrap")
@json_option
@errors_shown
def encryption_rewrap(as_json: bool) -> None:
    """Wraps all data keys by the newest master key: the first one given. Then older master keys can go.

    \b
    Example:
        sis encryption rewrap
    """
    count = _engine().inbox.bodies.keys.rewrap()
    if as_json:
        show_json({"rewrapped": count})
        return
    tell(f"{count} data keys are wrapped by the newest master key")


@encryption_command.command("reseal")
@json_option
@errors_shown
def encryption_reseal(as_json: bool) -> None:
    """Seals with the current keys what is in the inbox. Upkeep does this nightly; work goes on meanwhile.

    \b
    Example:
        sis encryption reseal
    """
    from superinsight_sync.state.resealing import reseal

    engine = _engine()
    if not engine.inbox.bodies.keys.is_on:
        raise ConfigError("there is no master key", where="encryption", hint="Set SIS_MASTER_KEY_FILE")
    done = reseal(engine.state.database, engine.inbox)
    if as_json:
        show_json(done)
        return
    tell(", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in done.items()))


def _engine() -> "Engine":
    from superinsight_sync.pipeline.engine import open_engine

    return open_engine()

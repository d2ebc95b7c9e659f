"""Commands on API keys: keys create, list, revoke."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.written import parse_duration
from superinsight_sync.security.roles import ROLES

_tenant_option = click.option("--tenant", default="default", show_default=True, help="Whose key it is.")


@click.group("keys")
def keys_command() -> None:
    """Makes, lists and revokes the API keys that the gateway lets in.

    \b
    Example:
        sis keys create --name till-7 --role pusher --source sales
    """


@keys_command.command("create")
@click.option("--name", required=True, help="For people: who holds it.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(ROLES),
    help="pusher sends data in; viewer sees states and numbers; operator also sees records and controls "
    "work; admin does all of it and manages keys.",
)
@_tenant_option
@click.option("--source", "sources", multiple=True, help="Only this source (repeatable). Default: all.")
@click.option("--allow-ip", "networks", multiple=True, help="Only from this address or network (repeatable).")
@click.option("--expires", help="When it ends: 90d, 12h, or a date such as 2027-01-31 (UTC). Default: never.")
@json_option
@errors_shown
def keys_create(
    name: str,
    role: Any,
    tenant: str,
    sources: tuple[str, ...],
    networks: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Makes a key and shows it, this once: only its hash is kept.

    \b
    Example:
        sis keys create --name till-7 --role pusher --source sales --expires 90d --allow-ip 203.0.113.0/24
    """
    not_after = _end(expires) if expires else None
    made = _keys().create(name, role, tenant=tenant, sources=sources, networks=networks, not_after=not_after)
    if as_json:
        shown = {"id": made.id, "tenant": tenant, "role": role, "name": name, "not_after": not_after}
        show_json({"key": made.text, **shown})
        return
    click.echo(made.text)
    tell(f"This is the only time that key {made.id} ({role} of {tenant}) is shown: keep it now.")


@keys_command.command("list")
@click.option("--tenant", help="Only this tenant's.")
@json_option
@errors_shown
def keys_list(tenant: str | None, as_json: bool) -> None:
    """Lists the keys, without what is secret of them.

    \b
    Example:
        sis keys list --tenant acme
    """
    now = utc_now()
    found = _keys().list(tenant)
    if as_json:
        show_json(
            {
                "keys": [
                    {**{k: v for k, v in vars(key).items() if k != "hash"}, "holds": key.holds(now)}
                    for key in found
                ]
            }
        )
        return
    rows = [
        (
            key.id,
            key.tenant,
            key.role,
            key.name,
            ", ".join((*key.sources, *key.networks)),
            "revoked" if key.revoked_at else "holds" if key.holds(now) else "expired",
            _minute(key.not_after),
            _minute(key.last_used_at),
        )
        for key in found
    ]
    show_table("API keys (UTC)", ["id", "tenant", "role", "name", "only", "state", "ends", "last used"], rows)


@keys_command.command("revoke")
@click.argument("key_id")
@click.option("--tenant", help="Only if it is this tenant's.")
@json_option
@errors_shown
def keys_revoke(key_id: str, tenant: str | None, as_json: bool) -> None:
    """Ends a key, and the sessions begun with it. A running gateway notices within seconds.

    \b
    Example:
        sis keys revoke 1a2b3c4d
    """
    if not _keys().revoke(key_id, tenant=tenant):
        raise ConfigError("there is no such key that still holds", hint="See `sis keys list`")
    if as_json:
        show_json({"id": key_id, "revoked": True})
        return
    tell(f"key {key_id} is revoked")


def _keys() -> Any:
    from superinsight_sync.state import open_state

    return open_state(load_settings().database_url).api_keys


def _end(text: str) -> datetime:
    try:
        length = parse_duration(text)
        if isinstance(length, timedelta):
            return utc_now() + length
    except ValueError:
        pass
    except OverflowError as error:
        raise ConfigError(f"'{text}' is too far away", where="--expires") from error
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is neither a duration nor a date", where="--expires", hint="Write 90d or 2027-01-31"
        ) from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""

"""Commands on the audit log: audit list, verify, checkpoint, key, export."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import FAILED, OK, errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from superinsight_sync.pipeline.engine import Engine

_key_option = click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A public key (PEM) that checkpoints may be signed by (repeatable). Default: that of the key in use.",
)


@click.group("audit")
def audit_command() -> None:
    """Shows who did what, and verifies that the log of it is whole and unchanged.

    \b
    Example:
        sis audit list --action key.make && sis audit verify
    """


@audit_command.command("list")
@click.option(
    "--tenant", default="default", show_default=True, help="Whose log; '' is the installation's own."
)
@click.option("--action", help="Only this action, such as key.revoke.")
@click.option("--actor", help="Only what this user or API key did.")
@click.option("--object", "what", help="Only what was done to this, such as crm/orders.")
@click.option("--result", help="Only with this result, such as failed.")
@click.option("--since", help="Not before this time, such as 2027-01-31 or 2027-01-31T08:00 (UTC).")
@click.option("--until", help="Before this time.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Records at most."
)
@json_option
@errors_shown
def audit_list(
    tenant: str, since: str | None, until: str | None, limit: int, as_json: bool, **only: Any
) -> None:
    """Lists records of a tenant's audit log, newest first.

    \b
    Example:
        sis audit list --tenant acme --actor 1a2b3c4d --since 2027-01-31
    """
    from superinsight_sync.state.audit import AuditFilter

    only["object"] = only.pop("what")
    wanted = AuditFilter(**only, since=_time(since, "--since"), until=_time(until, "--until"))
    found = _engine().state.audit.list(tenant, wanted, limit=limit)
    if as_json:
        show_json({"tenant": tenant, "records": found})
        return
    rows = [
        (
            r["seq"],
            r["at"][:19].replace("T", " "),
            f"{r['actor_kind']} {r['actor']}",
            r["origin"],
            r["action"],
            r["object"],
            r["result"],
            ", ".join(f"{k} {v}" for k, v in r["detail"].items() if v not in (None, [], "")),
        )
        for r in found
    ]
    columns = ["record", "at (UTC)", "who", "from", "action", "object", "result", "detail"]
    show_table(f"Audit log of {tenant or 'the installation'}", columns, rows, ["record"])


@audit_command.command("verify")
@click.option("--tenant", help="Only this tenant's log.")
@_key_option
@json_option
@errors_shown
def audit_verify(tenant: str | None, public_keys: tuple[Path, ...], as_json: bool) -> None:
    """Checks every chain of records against itself and its signed checkpoints, and names the first bad record.

    Ends with 1 if something was tampered with.

    \b
    Example:
        sis audit verify --public-key /mnt/safe/audit-key.pub
    """
    from superinsight_sync.state.audit_checkpoints import verify_log

    engine = _engine()
    keys = tuple(path.read_bytes() for path in public_keys)
    result = verify_log(engine.state, engine.audit_checkpoints, keys, tenant)
    still_open = engine.state.audit.open()
    if as_json:
        findings = [vars(f) for f in result.findings]
        numbers = {"records": result.records, "unsigned": result.unsigned, "open_intents": len(still_open)}
        show_json({**numbers, "findings": findings})
    else:
        rows = [(f.tenant or "(installation)", f.seq or "checkpoints", f.what) for f in result.findings]
        if rows:
            show_table("Tampered with", ["tenant", "record", "what"], rows)
        tell(
            f"{result.records:,} records verified; {result.unsigned:,} are newer than their last checkpoint; "
            f"{len(still_open)} actions are under way; {len(result.findings)} findings"
        )
    raise SystemExit(FAILED if result.findings else OK)


@audit_command.command("checkpoint")
@json_option
@errors_shown
def audit_checkpoint(as_json: bool) -> None:
    """Signs the end of every chain that has grown, into SIS_AUDIT_DIR. Upkeep does this too.

    \b
    Example:
        sis audit checkpoint
    """
    from superinsight_sync.state.audit_checkpoints import make_checkpoints

    engine = _engine()
    made = make_checkpoints(engine.state, engine.audit_checkpoints)
    if as_json:
        show_json({"checkpoints": [vars(c) for c in made]})
        return
    tell(f"{len(made)} checkpoints are signed in {engine.audit_checkpoints.folder}")


@audit_command.command("key")
@json_option
@errors_shown
def audit_key(as_json: bool) -> None:
    """Prints the public key that checkpoints are verified with. Keep it where this machine's users cannot write.

    \b
    Example:
        sis audit key > /mnt/safe/audit-key.pub
    """
    key = _engine().audit_checkpoints.public_key.decode()
    if as_json:
        show_json({"public_key": key})
        return
    click.echo(key, nl=False)


@audit_command.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tenant", "tenants", multiple=True, help="Only this tenant's log (repeatable). Default: all.")
@json_option
@errors_shown
def audit_export(folder: Path, tenants: tuple[str, ...], as_json: bool) -> None:
    """Writes chains as JSON Lines with their checkpoints, and a program that verifies them alone.

    \b
    Example:
        sis audit export audit-2027-01 --tenant acme
        python audit-2027-01/audit_verifier.py audit-2027-01 --public-key audit-key.pub
    """
    from superinsight_sync.state.audit_checkpoints import export_log

    engine = _engine()
    written = export_log(engine.state, engine.audit_checkpoints, folder, tenants)
    if as_json:
        show_json({"folder": str(folder), "records": written})
        return
    tell(f"{sum(written.values()):,} records of {len(written)} chains are in {folder}")


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is no time", where=option, hint="Write 2027-01-31T08:00") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _engine() -> "Engine":
    from superinsight_sync.pipeline.engine import open_engine

    return open_engine()

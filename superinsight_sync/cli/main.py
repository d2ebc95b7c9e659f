"""``sis``: the command line. Each command loads what it needs when it is called."""

import importlib
import sys
from typing import Any

import click

from superinsight_sync.cli.output import FAILED, show_error

_COMMANDS = {
    "init": "projects",
    "check": "projects",
    "discover": "looking",
    "preview": "looking",
    "plan": "planning",
    "run": "running",
    "backfill": "running",
    "status": "keeping",
    "state": "keeping",
    "reset": "resetting",
    "rollback": "keeping",
    "history": "keeping",
    "logs": "logs",
    "quarantine": "keeping",
    "verify": "verifying",
    "sensitive": "sensitive",
    "reveal": "sensitive",
    "maintain": "keeping",
    "dev": "dev",
    "keys": "keys",
    "gateway": "gateway",
    "drain": "draining",
    "capture": "capturing",
    "inbox": "inbox",
    "dead-letters": "letters",
    "conflicts": "conflicts",
    "receive": "receive",
    "audit": "auditing",
    "encryption": "encrypting",
    "doctor": "doctoring",
}


class _Lazy(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module: Any = importlib.import_module(f"superinsight_sync.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs the command; with ``--json`` wrong usage is told as a JSON document too."""
        run: Any = super().main
        if not extra.pop("standalone_mode", True):
            return run(*args, **extra, standalone_mode=False)
        given = args[0] if args else extra.get("args")
        as_json = "--json" in (sys.argv[1:] if given is None else given)
        try:
            raise SystemExit(run(*args, **extra, standalone_mode=False) or 0)
        except click.ClickException as error:
            show_error(click.UsageError(error.format_message()), as_json=as_json)
            error.show()
            raise SystemExit(error.exit_code) from error
        except click.Abort as error:
            show_error(error, as_json=as_json)
            click.echo("stopped", err=True)
            raise SystemExit(FAILED) from error


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration, 3 data over a threshold. "
    'Shell completion: eval "$(_SIS_COMPLETE=bash_source sis)" (or zsh_source, fish_source).',
)
@click.version_option(package_name="superinsight-sync")
def main() -> None:
    """SuperInsight Sync: customers' data becomes AI-ready data.

    \b
    Example:
        sis check && sis run airline && sis status
    """


main.no_args_is_help = True

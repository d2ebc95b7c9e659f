"""What commands print: a table or one JSON document on standard output, messages and errors on standard error."""

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, NoReturn

import click

from superinsight_sync.core.errors import SisError
from superinsight_sync.security.secrets import redact

OK, FAILED, USAGE, OVER_THRESHOLD = 0, 1, 2, 3

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case Decimal() | timedelta():
            return str(value)
        case bytes():
            return value.hex()
        case set() | frozenset() | tuple():
            return list(value)
    return str(value)


def show_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, default=_plain, ensure_ascii=False, indent=2))


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()
) -> None:
    """A table on standard output; as wide as the terminal, or as it needs where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="bold")
    for name in columns:
        table.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def tell(message: str) -> None:
    """A message for people, on standard error."""
    click.echo(message, err=True)


def fail(message: str, code: int) -> NoReturn:
    """Ends the command with a message and an exit code."""
    click.echo(f"error: {redact(message)}", err=True)
    raise SystemExit(code)


def errors_shown(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors become a message and an exit code; ``--json`` commands print them as JSON too."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        as_json = bool(kwargs.get("as_json"))
        try:
            return command(*args, **kwargs)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except SisError as error:
            show_error(error, as_json=as_json, where=error.where)
            fail(str(error), error.exit_code)
        except Exception as error:
            show_error(error, as_json=as_json)
            tell(redact(traceback.format_exc()))
            fail(f"{type(error).__name__}: {error}", FAILED)

    return run


def show_error(error: Exception, *, as_json: bool, where: str = "") -> None:
    """The error as the command's JSON document, if one was asked for."""
    if as_json:
        message = redact(str(error) or type(error).__name__)
        show_json({"error": {"class": type(error).__name__, "where": where, "message": message}})


def human_bytes(size: int) -> str:
    """``1.2 MB``."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

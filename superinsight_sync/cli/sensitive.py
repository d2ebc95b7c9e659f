"""``sis sensitive`` and ``sis reveal``: where sensitive data lies, and what a token stands for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings

if TYPE_CHECKING:
    from superinsight_sync.pipeline.sensitive import SensitiveColumn


@click.command("sensitive")
@click.argument("selection", nargs=-1)
@json_option
@errors_shown
def sensitive_command(selection: tuple[str, ...], as_json: bool) -> None:
    """Shows which columns in the lake hold sensitive data, by which rule, and how sure that is. Shows no value.

    Takes sources and streams; without any, all sources. Each column is judged by its name and a sample of 5,000 rows;
    a text column whose sample holds something is searched whole.

    \b
    Example:
        sis sensitive crm.customers --json
    """
    found = list(_found(selection))
    if as_json:
        show_json({"columns": [_document(c) for c in found]})
        return
    columns = ["stream", "stage", "column", "kind", "rule", "known by", "matched", "confidence", "rows"]
    rows = [
        (
            c.stream,
            c.stage,
            c.column,
            c.found.kind,
            c.found.rule,
            c.found.evidence,
            f"{c.found.matched} of {c.found.examined}",
            c.found.confidence,
            ", ".join(f"{kind} {n}" for kind, n in c.rows_by_rule.items()),
        )
        for c in found
    ]
    show_table("Sensitive columns", columns, rows, ["matched"])
    if not found:
        tell("nothing sensitive was found in what has landed")


def _found(selection: tuple[str, ...]) -> "Iterator[SensitiveColumn]":
    from superinsight_sync.pipeline.engine import open_engine
    from superinsight_sync.pipeline.project import load_project
    from superinsight_sync.pipeline.sensitive import find_sensitive

    project, engine = load_project(load_settings()), open_engine()
    for name in selection or tuple(project.sources):
        if "." in name or "/" in name:
            source, stream = project.stream(name)
            yield from find_sensitive(engine, source, (stream.name,))
        else:
            yield from find_sensitive(engine, project.source(name))


def _document(column: "SensitiveColumn") -> dict[str, object]:
    return {
        "stream": column.stream,
        "stage": column.stage,
        "column": column.column,
        **vars(column.found),
        "rows_by_rule": column.rows_by_rule,
        "rows": column.rows,
    }


@click.command("reveal")
@click.argument("token")
@click.option("--tenant", default="default", show_default=True, help="Whose token it is.")
@json_option
@errors_shown
def reveal_command(token: str, tenant: str, as_json: bool) -> None:
    """Shows the value that a token of the mask `token` stands for. Needs the mask key.

    \b
    Example:
        sis reveal tok_mzxw6ytboi3gk3tfon2ca43jmm
    """
    from superinsight_sync.pipeline.engine import open_engine

    engine = open_engine()
    value = engine.state.mask_tokens.reveal(engine.masking(tenant), token)
    if value is None:
        raise ConfigError(f"the vault of tenant '{tenant}' has no such token", hint="Try another --tenant")
    if as_json:
        show_json({"token": token, "tenant": tenant, "value": value})
    else:
        click.echo(value)

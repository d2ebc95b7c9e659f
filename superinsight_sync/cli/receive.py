"""``sis receive show``: where and how to push to a source."""

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json
from superinsight_sync.core.settings import load_settings


@click.group("receive")
def receive_command() -> None:
    """Shows how customers push.

    \b
    Example:
        sis receive show shop
    """


@receive_command.command("show")
@click.argument("source")
@click.option(
    "--url",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="Where customers reach the gateway, such as https://push.example.com.",
)
@json_option
@errors_shown
def receive_show(source: str, url: str, as_json: bool) -> None:
    """Shows a push source's addresses and commands that push to it. They name secrets, and show none.

    \b
    Example:
        sis receive show shop --url https://push.example.com
    """
    from superinsight_sync.pipeline.project import load_project
    from superinsight_sync.receive.examples import addresses, examples

    spec = load_project(load_settings()).push_source(source)
    where, commands = addresses(spec, url), examples(spec, url)
    if as_json:
        show_json({"source": source, "tenant": spec.tenant, "addresses": where, "examples": commands})
        return
    for way, address in where.items():
        click.echo(f"{way:8} {address}")
    for name, command in commands.items():
        click.echo(f"\n# {name}\n{command}")

"""``sis discover`` and ``sis preview``: they read, and change nothing."""

from pathlib import Path

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings


@click.command("discover")
@click.argument("source")
@click.option("--write", type=click.Path(path_type=Path), help="Write the proposed declaration to this file.")
@json_option
@errors_shown
def discover_command(source: str, write: Path | None, as_json: bool) -> None:
    """Lists a source's streams and columns and writes a proposed declaration.

    A source may declare its connection only: written to its own file, the streams are added to it. Numbers of rows
    that are estimates are marked by ≈.

    \b
    Example:
        sis discover airline --write defs/airline/proposed.yaml
    """
    from superinsight_sync.pipeline.inspect import discover, proposal_text, with_streams
    from superinsight_sync.pipeline.project import load_project

    settings = load_settings()
    project = load_project(settings)
    declared = project.connected(source)
    found = discover(declared, settings)
    proposed = proposal_text(declared, found)
    for stream in found:
        if stream.problem:
            tell(f"left out: {stream.value}: {stream.problem}")
    if write is not None:
        empty = project.streamless.get(source)
        if empty is not None and write.exists() and write.samefile(empty[1]):
            proposed = with_streams(write, declared, found)
        elif write.exists():
            raise ConfigError(f"{write} exists", hint="Name another file, or remove it")
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(proposed)
        tell(f"wrote {write}")
    if as_json:
        show_json(
            {
                "source": source,
                "streams": [{**vars(s), "columns": [vars(c) for c in s.columns]} for s in found],
            }
        )
        return
    rows = [
        (
            s.name,
            f"{s.place}: {s.value}",
            s.row_estimate if s.counted or s.row_estimate is None else f"≈ {s.row_estimate}",
            ", ".join(s.primary_key),
            s.cursor,
            ", ".join(f"{c.name} {c.type}" for c in s.columns),
        )
        for s in found
        if not s.problem
    ]
    show_table(
        f"Streams of {source}",
        ["stream", "place", "rows", "primary key", "cursor", "columns"],
        rows,
        ["rows"],
    )
    if write is None:
        click.echo(proposed)


@click.command("preview")
@click.argument("stream")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 10_000), help="Rows at most.")
@click.option("--refined", is_flag=True, help="Show what the refine steps make of them.")
@click.option(
    "--landed", type=click.Choice(["raw", "refined"]), help="Show what has landed in the lake instead."
)
@click.option("--version", type=click.IntRange(0), help="With --landed: as of this version (`sis history`).")
@json_option
@errors_shown
def preview_command(
    stream: str, limit: int, refined: bool, landed: str | None, version: int | None, as_json: bool
) -> None:
    """Shows the first rows of a stream as the source has them, or as they have landed.

    \b
    Example:
        sis preview airline.flights --limit 5 --refined
        sis preview airline.flights --landed raw --version 3
    """
    from superinsight_sync.core.arrow_values import rows_of
    from superinsight_sync.pipeline.engine import open_engine, table_of
    from superinsight_sync.pipeline.inspect import landed as landed_rows
    from superinsight_sync.pipeline.inspect import note_read, preview
    from superinsight_sync.pipeline.project import load_project

    if version is not None and landed is None:
        raise ConfigError("--version is of what has landed", hint="Add --landed raw or --landed refined")
    source, spec = load_project(load_settings()).stream(stream)
    engine = open_engine()
    if landed is None:
        table = preview(engine, source, spec, limit=limit, refined=refined)
    else:
        where = table_of(source, spec, "raw" if landed == "raw" else "refined")
        if spec.sync.mode == "capture" and landed == "raw" and version is None:
            with engine.change_view.current(where, spec.primary_key, spec.sync.deletes, limit) as rows:
                table = rows.read_all()
        else:
            table = landed_rows(engine, where, limit=limit, version=version)
    seen = {"of": landed or ("refined preview" if refined else "source"), "version": version}
    note_read(engine, table_of(source, spec, "raw"), "rows.read", table.num_rows, **seen)
    if as_json:
        show_json({"columns": {f.name: str(f.type) for f in table.schema}, "rows": rows_of(table)})
        return
    show_table(
        f"{stream}: {table.num_rows} rows", table.column_names, [tuple(r.values()) for r in rows_of(table)]
    )

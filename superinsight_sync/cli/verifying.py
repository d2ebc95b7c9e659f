"""``sis verify``: whether the lake holds what the sources have."""

from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import OK, OVER_THRESHOLD, errors_shown, json_option, show_json, show_table
from superinsight_sync.core.settings import load_settings

if TYPE_CHECKING:
    from superinsight_sync.model.declaration import SourceSpec, StreamSpec
    from superinsight_sync.pipeline.verify import VerifyResult


@click.command("verify")
@click.argument("selection", nargs=-1, required=True)
@click.option("--partition", "partitions", multiple=True, help="Only this partition; may be given again.")
@click.option(
    "--keys", "with_keys", is_flag=True, help="Show the differing keys too, at most 1,000 of a stream."
)
@json_option
@errors_shown
def verify_command(
    selection: tuple[str, ...], partitions: tuple[str, ...], with_keys: bool, as_json: bool
) -> None:
    """Compares raw tables with their sources, row by row, and reports what differs. Changes nothing.

    A selection is a source (all its streams) or a stream. The exit code is 3 if a row differs that is not in flight.

    \b
    Example:
        sis verify crm.orders --keys
    """
    from superinsight_sync.pipeline.engine import open_engine, table_of
    from superinsight_sync.pipeline.inspect import note_read
    from superinsight_sync.pipeline.project import load_project
    from superinsight_sync.pipeline.verify import verify_stream

    project, engine = load_project(load_settings()), open_engine()
    found: dict[str, VerifyResult] = {}
    for name in selection:
        one = "." in name or "/" in name
        pairs = [project.stream(name)] if one else _streams(project.source(name))
        for source, stream in pairs:
            key = f"{source.name}.{stream.name}"
            found[key] = verify_stream(engine, source, stream, partitions=partitions)
            if with_keys and (keys := found[key].comparison.keys) is not None:
                note_read(engine, table_of(source, stream, "raw"), "rows.read", keys.num_rows, of="verify")
    documents = {name: _document(result, with_keys=with_keys) for name, result in found.items()}
    if as_json:
        show_json({"streams": documents})
    else:
        _show(documents)
    raise SystemExit(OK if all(r.consistent for r in found.values()) else OVER_THRESHOLD)


def _streams(source: "SourceSpec") -> "list[tuple[SourceSpec, StreamSpec]]":
    return [(source, stream) for stream in source.streams]


def _document(result: "VerifyResult", *, with_keys: bool) -> dict[str, Any]:
    seen = result.comparison
    document = {
        "consistent": result.consistent,
        "source": result.source,
        "lake": seen.lake,
        "quarantined": result.quarantined,
        "discarded": result.discarded,
        "in_flight": seen.in_flight,
        "missing": seen.missing,
        "extra": seen.extra,
        "different": seen.different,
        "different_by_column": seen.columns,
        "not_compared": result.not_compared,
        "partitions": result.partitions,
        "seconds": round(result.seconds, 3),
    }
    return {**document, "keys": seen.keys.to_pylist()} if with_keys and seen.keys is not None else document


def _show(documents: dict[str, dict[str, Any]]) -> None:
    numbers = ["source", "lake", "quarantined", "discarded", "in_flight", "missing", "extra", "different"]
    rows = [
        (name, "yes" if d["consistent"] else "NO", *(f"{d[n]:,}" for n in numbers), _columns(d))
        for name, d in documents.items()
    ]
    show_table("Source and lake", ["stream", "agree", *numbers, "columns"], rows, right=numbers)
    for name, d in documents.items():
        if d.get("keys"):
            columns = list(d["keys"][0])
            show_table(f"Differing keys of {name}", columns, [tuple(k.values()) for k in d["keys"]])


def _columns(document: dict[str, Any]) -> str:
    return ", ".join(f"{n}: {c:,}" for n, c in document["different_by_column"].items())

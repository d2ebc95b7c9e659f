"""``sis capture``: databases' change logs, followed all the time."""

from typing import TYPE_CHECKING, Any

import click

from superinsight_sync.cli.output import (
    FAILED,
    OK,
    errors_shown,
    human_bytes,
    json_option,
    show_json,
    show_table,
    tell,
)
from superinsight_sync.core.settings import load_settings

if TYPE_CHECKING:
    from superinsight_sync.capture.protocol import Finding
    from superinsight_sync.model.declaration import SourceSpec
    from superinsight_sync.state import State
    from superinsight_sync.state.workers import Worker

_KIND = "capture"


@click.group("capture")
def capture_command() -> None:
    """Follows the change logs of databases whose streams are declared with `sync: {mode: capture}`.

    \b
    Example:
        sis capture check crm && sis capture run
    """


@capture_command.command("check")
@click.argument("source")
@json_option
@errors_shown
def check_command(source: str, as_json: bool) -> None:
    """Says what the server lacks for a capture, and which statements an administrator may run. Changes nothing.

    \b
    Example:
        sis capture check crm
    """
    from superinsight_sync.capture.protocol import open_feed

    found = open_feed(_source(source), load_settings()).check()
    if as_json:
        show_json({"source": source, "findings": [vars(f) for f in found]})
    else:
        rows = [(f.level, f.what) for f in found]
        show_table(f"Capture of {source}", ["", "what"], rows)
        _show_statements(found)
    raise SystemExit(FAILED if any(f.level == "missing" for f in found) else OK)


def _show_statements(found: "tuple[Finding, ...]") -> None:
    needed = [f.statement for f in found if f.statement and f.level != "ok"]
    if needed:
        tell("An administrator may run:")
        for statement in needed:
            click.echo(statement)


@capture_command.command("run")
@click.argument("sources", nargs=-1)
@json_option
@errors_shown
def run_command(sources: tuple[str, ...], as_json: bool) -> None:
    """Follows the logs of all captured sources, or of those named. Runs until it is stopped.

    Told to stop (SIGTERM, Ctrl-C), it ends within seconds; what it has not landed is read again the next time.

    \b
    Example:
        sis capture run
    """
    import signal

    from superinsight_sync.core.stopping import StopSignal
    from superinsight_sync.orchestration.capture import Captures
    from superinsight_sync.orchestration.running import instance
    from superinsight_sync.pipeline.engine import open_engine

    stop = StopSignal()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = open_engine()
    with instance() as dagster:
        captures = Captures(engine, dagster, sources)
        tell("capturing; Ctrl-C stops it")
        captures.run(stop)
    if as_json:
        show_json({"changes": captures.changes})
    else:
        tell(f"{captures.changes} changes landed")


@capture_command.command("status")
@json_option
@errors_shown
def status_command(as_json: bool) -> None:
    """Shows of each captured source: state, position, changes a second, and how much log the server keeps for it.

    \b
    Example:
        sis capture status
    """
    workers = _state().workers.list(kind=_KIND)
    if as_json:
        show_json({"captures": [vars(w) for w in workers]})
        return
    columns = [
        "source",
        "wanted",
        "state",
        "position",
        "changes/s",
        "behind",
        "log kept",
        "snapshots",
        "error",
    ]
    rows = [_row(w) for w in workers if "/" not in w.target]
    show_table("Captures", columns, rows, right=["changes/s", "behind", "log kept"])


def _row(worker: "Worker") -> tuple[Any, ...]:
    detail = worker.detail
    streams = detail.get("streams", {})
    going = [f"{n} {s['snapshot']}" for n, s in streams.items() if s["snapshot"] != "done"]
    sizes = [human_bytes(detail[n]) if n in detail else "" for n in ("behind_bytes", "retained_bytes")]
    return (
        worker.target,
        worker.wanted,
        worker.state,
        worker.position,
        detail.get("changes_per_s", ""),
        *sizes,
        ", ".join(going) or ("done" if streams else ""),
        worker.error_text,
    )


@capture_command.command("pause")
@click.argument("source")
@json_option
@errors_shown
def pause_command(source: str, as_json: bool) -> None:
    """Lets a source's capture stop until `sis capture resume`. Its server keeps the log meanwhile.

    \b
    Example:
        sis capture pause crm
    """
    spec = _source(source)
    _state().workers.want(_KIND, spec.tenant, spec.name, "pause", by="command line")
    if as_json:
        show_json({"source": source, "wanted": "pause"})
    tell(f"{source} pauses; its server keeps the log until it goes on")


@capture_command.command("resume")
@click.argument("source")
@json_option
@errors_shown
def resume_command(source: str, as_json: bool) -> None:
    """Lets a source's capture go on after a pause, or after an error that you have mended.

    \b
    Example:
        sis capture resume crm
    """
    spec = _source(source)
    _state().workers.want(_KIND, spec.tenant, spec.name, "run", by="command line")
    if as_json:
        show_json({"source": source, "wanted": "run"})
    tell(f"{source} goes on, if `sis capture run` runs")


@capture_command.command("resnapshot")
@click.argument("stream")
@json_option
@errors_shown
def resnapshot_command(stream: str, as_json: bool) -> None:
    """Has a stream's records read once more, beside its changes; those that are gone are deleted as declared.

    A source instead of a stream means all its captured streams: that also makes a lost replication slot anew.

    \b
    Example:
        sis capture resnapshot crm.orders
        sis capture resnapshot crm
    """
    from superinsight_sync.capture.protocol import captured_streams
    from superinsight_sync.core.errors import ConfigError
    from superinsight_sync.pipeline.project import load_project

    name, _, wanted = stream.replace("/", ".").partition(".")
    spec = load_project(load_settings()).source(name)
    names = [s.name for s in captured_streams(spec)]
    if wanted and wanted not in names:
        raise ConfigError(f"'{stream}' is not captured", hint=f"Valid: {', '.join(names) or 'none'}")
    workers = _state().workers
    anew = [wanted] if wanted else names
    for each in anew:
        workers.want_anew(_KIND, spec.tenant, f"{name}/{each}", by="command line")
    if as_json:
        show_json({"source": name, "read_anew": anew})
    tell(f"{stream} is read anew, if `sis capture run` runs")


@capture_command.command("drop")
@click.argument("source")
@json_option
@errors_shown
def drop_command(source: str, as_json: bool) -> None:
    """Takes away what the capture made on the server: the replication slot and the publication it named itself.

    What has landed stays. Stop `sis capture run` first, or pause the source.

    \b
    Example:
        sis capture drop crm
    """
    from superinsight_sync.capture.protocol import open_feed

    spec = _source(source)
    with _state().audit.act(spec.tenant, "capture.drop", spec.name) as act:
        done = act.detail["dropped"] = list(open_feed(spec, load_settings()).drop())
    if as_json:
        show_json({"dropped": done})
    else:
        tell(f"dropped: {', '.join(done)}" if done else "there was nothing to drop")


def _source(name: str) -> "SourceSpec":
    from superinsight_sync.capture.protocol import captured_streams
    from superinsight_sync.core.errors import ConfigError
    from superinsight_sync.pipeline.project import load_project

    found = load_project(load_settings()).source(name)
    if not captured_streams(found):
        raise ConfigError(f"no stream of '{name}' is captured", hint="Declare sync: {mode: capture}")
    return found


def _state() -> "State":
    from superinsight_sync.state import open_state

    return open_state(load_settings().database_url)

"""Alert: tell people, through the configured channels, what failed."""

from collections.abc import Sequence
from datetime import datetime

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.monitoring.alerts import Alert, configured, keep_as_dead_letter, open_channel, send
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.state.dead_letters import DeadLetter


def alert_run_failed(
    *, run_id: str, job: str, source: str, text: str, stream: str = "", error_class: str = ""
) -> None:
    """An alert for a failed run. Never raises because of a channel: what could not be sent is kept.

    `source`, `stream` and `error_class` are several, with commas between, where several failed.
    """
    engine = open_engine(run_id)
    what = f"{source}/{stream}" if stream and "," not in stream + source else source or job
    several = f" ({stream.count(',') + 1} streams)" if "," in stream else ""
    alert = Alert(
        title=f"Run of {what}{several} failed" + (f": {error_class}" if error_class else ""),
        severity="error",
        source=source or None,
        stream=stream or None,
        run_id=run_id,
        error_class=error_class or None,
        text=text,
        url=engine.settings.run_url(run_id),
        at=utc_now(),
        owners=_owners(engine, source, stream),
    )
    send(alert, engine.settings, on_failure=keep_as_dead_letter(lambda: engine.state))


def _owners(engine: Engine, source: str, stream: str) -> tuple[str, ...]:
    """Who owns the sources, or the datasets, as declared; nobody where the declarations cannot be read."""
    try:
        project = load_project(engine.settings)
    except SisError:
        return ()
    found: list[str] = []
    for name in source.split(", "):
        if name in project.sources:
            found += project.sources[name].owners
        elif name == "datasets":
            found += [
                o for n in stream.split(", ") if n in project.datasets for o in project.datasets[n].owners
            ]
    return tuple(dict.fromkeys(found))


def alert_schema_changed(engine: Engine, source: str, stream: str, changes: Sequence[str]) -> None:
    """An alert that a source's columns changed, and how. Never raises because of a channel."""
    _warn(engine, f"The schema of {source}/{stream} changed", source, stream, changes)


def alert_cursor(engine: Engine, source: str, stream: str, warnings: Sequence[str]) -> None:
    """An alert that rows may be missed, or are read again, by a stream's cursor. Never raises because of a channel."""
    _warn(engine, f"The cursor of {source}/{stream} needs a look", source, stream, warnings)


def alert_stalled(engine: Engine, source: str, stream: str, text: str) -> None:
    """An alert that a pull does not move on, and what it waits for. Never raises because of a channel."""
    _warn(engine, f"The pull of {source}/{stream} does not move", source, stream, [text])


def alert_capture_stopped(engine: Engine, source: SourceSpec, error: SisError) -> None:
    """An alert that a source's log is not followed any more, and what to do. Never raises because of a channel."""
    alert = Alert(
        title=f"The capture of {source.name} has stopped: {type(error).__name__}",
        severity="error",
        source=source.name,
        stream=None,
        run_id=engine.run_id,
        error_class=type(error).__name__,
        text=str(error),
        url=engine.settings.run_url(engine.run_id),
        at=utc_now(),
        owners=source.owners,
    )
    send(alert, engine.settings, on_failure=keep_as_dead_letter(lambda: engine.state))


def alert_log_kept(engine: Engine, source: SourceSpec, kept_bytes: int, limit_bytes: int) -> None:
    """An alert that the source will soon throw its log away. Never raises because of a channel."""
    text = (
        f"The server keeps {kept_bytes / 1e9:.1f} GB of log for it, and throws it away beyond"
        f" {limit_bytes / 1e9:.1f} GB: changes would be missing. See `sis capture status`"
    )
    _warn(engine, f"The capture of {source.name} is far behind", source.name, "", [text])


def _warn(engine: Engine, title: str, source: str, stream: str, texts: Sequence[str]) -> None:
    alert = Alert(
        title=title,
        severity="warning",
        source=source,
        stream=stream,
        run_id=engine.run_id,
        text="; ".join(texts),
        url=engine.settings.run_url(engine.run_id),
        owners=_owners(engine, source, stream),
    )
    send(alert, engine.settings, on_failure=keep_as_dead_letter(lambda: engine.state))


def send_again(engine: Engine, letter: DeadLetter) -> None:
    """Sends an alert that a channel could not send, through that channel.

    Raises what the channel raises; ConfigError if it is not configured any more.
    """
    spec = next((c for c in configured() if c.name == letter.target), None)
    if spec is None:
        raise ConfigError(
            f"alert channel '{letter.target}' is not configured any more",
            where=f"dead letter {letter.id}",
            hint=f"Name it in SIS_ALERTS, or give it up: sis dead-letters discard {letter.id}",
        )
    kept = {**letter.payload, "at": datetime.fromisoformat(letter.payload["at"])}
    alert = Alert(**{**kept, "owners": tuple(letter.payload.get("owners", ()))})
    open_channel(spec, engine.settings).send(alert)

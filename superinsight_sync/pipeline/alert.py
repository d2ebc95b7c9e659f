"""Alert: tell people, through the configured channels, what failed."""

from collections.abc import Sequence
from datetime import datetime

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.monitoring.alerts import Alert, configured, keep_as_dead_letter, open_channel, send
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.state.dead_letters import DeadLetter


def alert_run_failed(*, run_id: str, job: str, source: str, text: str) -> None:
    """An alert for a failed run. Never raises because of a channel: what could not be sent is kept."""
    alert = Alert(
        title=f"Run of {source or job} failed",
        severity="error",
        source=source or None,
        stream=None,
        run_id=run_id,
        error_class=None,
        text=text,
        url=None,
        at=utc_now(),
    )
    engine = open_engine(run_id)
    send(alert, engine.settings, on_failure=keep_as_dead_letter(lambda: engine.state))


def alert_schema_changed(engine: Engine, source: str, stream: str, changes: Sequence[str]) -> None:
    """An alert that a source's columns changed, and how. Never raises because of a channel."""
    _warn(engine, f"The schema of {source}/{stream} changed", source, stream, changes)


def alert_cursor(engine: Engine, source: str, stream: str, warnings: Sequence[str]) -> None:
    """An alert that rows may be missed, or are read again, by a stream's cursor. Never raises because of a channel."""
    _warn(engine, f"The cursor of {source}/{stream} needs a look", source, stream, warnings)


def _warn(engine: Engine, title: str, source: str, stream: str, texts: Sequence[str]) -> None:
    alert = Alert(
        title=title,
        severity="warning",
        source=source,
        stream=stream,
        run_id=engine.run_id,
        text="; ".join(texts),
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
    alert = Alert(**{**letter.payload, "at": datetime.fromisoformat(letter.payload["at"])})
    open_channel(spec, engine.settings).send(alert)

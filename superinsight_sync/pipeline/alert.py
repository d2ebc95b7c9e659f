"""Alert: tell people, through the configured channels, what failed."""

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.settings import load_settings
from superinsight_sync.monitoring.alerts import Alert, send


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
    send(alert, load_settings())

"""Whether a source's capture goes on, as it last said itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.state import open_state

SILENT_AFTER = timedelta(minutes=1)
"""A capture says every few seconds how it is."""
_GOES_ON = ("running", "snapshot")


@dataclass(frozen=True)
class CaptureHealth:
    """How a capture is.

    Attributes:
        problem: why it is not well, and what to do; None if it is.
        numbers: what it told of itself.
    """

    problem: str | None = None
    numbers: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.problem is None


def capture_health(settings: Settings, source: SourceSpec) -> CaptureHealth:
    """How the capture of a source is."""
    state = open_state(settings.database_url)
    try:
        worker = state.workers.get("capture", source.tenant, source.name)
    finally:
        state.close()
    if worker is None or worker.seen_at is None:
        return CaptureHealth("it has never run: start `sis capture run`")
    silent = utc_now() - worker.seen_at
    numbers = {n: v for n, v in worker.detail.items() if isinstance(v, int | float)}
    numbers["silent_s"] = round(silent.total_seconds(), 1)
    if worker.error_text:
        return CaptureHealth(worker.error_text, numbers)
    if worker.state not in _GOES_ON:
        return CaptureHealth(f"it is {worker.state}: see `sis capture status`", numbers)
    if silent > SILENT_AFTER:
        return CaptureHealth(f"it says nothing since {silent}: is `sis capture run` running?", numbers)
    return CaptureHealth(None, numbers)

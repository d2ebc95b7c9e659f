"""What a pull would read: where it begins, and what tells it that nothing is new."""

from datetime import date, datetime, timedelta
from typing import Any

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.model.declaration import PLACES, StreamSpec
from superinsight_sync.sources.protocol import ReadRequest, Source


def read_token(connection: Source, request: ReadRequest) -> str | None:
    """What the source's data looks like now, together with how it is read; None if nobody can tell.

    Deletes are applied after the rows, so a stream that asks for them is always read.
    """
    stream = request.stream
    if stream.sync.deletes != "ignore":
        return None
    seen = connection.token(request)
    if seen is None:
        return None
    how = stream.model_dump(mode="json", include={*PLACES, "options", "format", "sync", "partition"})
    return fingerprint([seen, how])


def first_cursor(connection: Source, stream: StreamSpec, landed: Any) -> Any:
    """The cursor an incremental read begins at: the checkpoint's minus the lag, in its own type."""
    sync = stream.sync
    if landed is None or sync.by not in ("timestamp", "version"):
        return None
    if sync.by == "version":
        return landed - sync.version_lag
    lag = connection.capabilities.late_commits if sync.lag is None else sync.lag
    if not lag:
        return landed
    if isinstance(landed, str):
        return datetime.fromisoformat(landed) - lag
    if isinstance(landed, date) and not isinstance(landed, datetime):
        return landed - max(lag, timedelta(days=1))
    return landed - lag

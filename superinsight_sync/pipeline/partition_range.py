"""Partition keys of a declaration between two dates."""

from datetime import UTC, date, datetime

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import PartitionSpec
from superinsight_sync.model.window import Window, keys_of_window, window_of_key


def aware(value: date | datetime) -> datetime:
    """A declared date or time as an aware UTC datetime."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def partition_keys(
    spec: PartitionSpec | None, since: str | None = None, until: str | None = None
) -> tuple[str, ...]:
    """Keys of all partitions from `since` to `until`, both inclusive (default: from the first to now's).

    Empty for an unpartitioned stream. Raises ConfigError for a bound that is no date.
    """
    if spec is None:
        return ()
    start, end = aware(spec.start), aware(spec.end) if spec.end else utc_now()
    if since is not None:
        start = max(start, _bound(spec, since).start)
    if until is not None:
        end = min(end, _bound(spec, until).end)
    if start >= end:
        raise ConfigError(f"no partition between {since or start.date()} and {until or end.date()}")
    return tuple(keys_of_window(spec.by, Window(start, end)))


def _bound(spec: PartitionSpec, text: str) -> Window:
    from superinsight_sync.model.window import partition_key

    try:
        return window_of_key(spec.by, partition_key(spec.by, aware(datetime.fromisoformat(text))))
    except ValueError as error:
        raise ConfigError(f"'{text}' is no date", hint="Write it like 2026-01-31") from error

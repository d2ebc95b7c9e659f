"""The one place that reads the time, so that tests can set it."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, aware, in UTC, microsecond precision."""
    return datetime.now(UTC)

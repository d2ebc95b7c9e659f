"""Windows and partitions: half-open bounds ``[start, end)`` of a read; a Dagster partition is a window."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

PartitionUnit = Literal["hour", "day", "week", "month"]

_KEY_FORMATS: dict[PartitionUnit, str] = {
    "hour": "%Y-%m-%d-%H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m-%d",
}


@dataclass(frozen=True)
class Window:
    """Half-open bounds in aware UTC datetimes: ``start <= cursor < end``."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("window bounds must be aware datetimes")
        if self.start > self.end:
            raise ValueError(f"window starts at {self.start} after its end {self.end}")


def key_format(unit: PartitionUnit) -> str:
    """The strftime format of the unit's partition keys, the one Dagster uses."""
    return _KEY_FORMATS[unit]


def floor(unit: PartitionUnit, at: datetime) -> datetime:
    """The start of the partition that holds `at`. Weeks start on Sunday, as Dagster's do."""
    at = at.astimezone(UTC)
    if unit == "hour":
        return at.replace(minute=0, second=0, microsecond=0)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=(day.weekday() + 1) % 7)
    return day.replace(day=1)


def following(unit: PartitionUnit, start: datetime) -> datetime:
    """The start of the partition after the one that starts at `start`."""
    if unit == "month":
        return (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return start + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[unit]


def partition_key(unit: PartitionUnit, at: datetime) -> str:
    """The key of the partition that holds `at`."""
    return floor(unit, at).strftime(key_format(unit))


def window_of_key(unit: PartitionUnit, key: str) -> Window:
    """The window of a partition key. Raises ValueError for text that is no key of this unit."""
    start = datetime.strptime(key, key_format(unit)).replace(tzinfo=UTC)
    if floor(unit, start) != start:
        raise ValueError(f"'{key}' is not the start of a {unit}")
    return Window(start, following(unit, start))


def window_of_keys(unit: PartitionUnit, keys: Iterable[str]) -> Window:
    """The window that spans contiguous partition keys."""
    windows = sorted((window_of_key(unit, k) for k in keys), key=lambda w: w.start)
    if not windows:
        raise ValueError("no partition keys")
    for before, after in pairwise(windows):
        if before.end != after.start:
            raise ValueError(f"partition keys are not contiguous: a gap from {before.end} to {after.start}")
    return Window(windows[0].start, windows[-1].end)


def keys_of_window(unit: PartitionUnit, window: Window) -> Iterator[str]:
    """The keys of all partitions that touch the window, in order."""
    at = floor(unit, window.start)
    while at < window.end:
        yield at.strftime(key_format(unit))
        at = following(unit, at)

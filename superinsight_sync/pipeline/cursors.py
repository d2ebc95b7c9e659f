"""Where an increment begins, how far it moves the checkpoint, and what is said when a cursor goes backwards."""

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import nearest_of
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Capabilities

_OBJECT_ID = re.compile("[0-9a-f]{24}")
"""MongoDB's ObjectId begins with the second in which it was made (BSON specification, "ObjectId")."""
_FURTHEST_ZONE = timedelta(hours=14)
"""A time without a zone may be that of any zone; the first to see a day is UTC+14."""
_CLOCKS_APART = timedelta(minutes=5)
"""Cursors so little in the future come from clocks that differ; nobody is told."""


@dataclass(frozen=True)
class Seen:
    """What the cursor's values of one read span.

    Attributes:
        least, greatest: None if no row had one.
        present: the greatest that is not in the future.
        without: rows that had none.
    """

    least: Any = None
    greatest: Any = None
    present: Any = None
    without: int = 0

    def and_of(self, values: pa.Array) -> "Seen":
        """With another batch's values."""
        span = pc.min_max(values)
        least, greatest = nearest_of(span["min"]), nearest_of(span["max"])
        without = self.without + values.null_count
        if greatest is None:
            return replace(self, without=without)
        present, now = greatest, now_like(greatest)
        if now is not None and greatest > now:
            present = nearest_of(pc.max(values.filter(pc.less_equal(values, pa.scalar(now, values.type)))))
        return Seen(
            least if self.least is None else min(least, self.least),
            greatest if self.greatest is None else max(greatest, self.greatest),
            max((p for p in (present, self.present) if p is not None), default=None),
            without,
        )


def minus_lag(stream: StreamSpec, capabilities: Capabilities, cursor: Any) -> Any:
    """Where an incremental read starts: the checkpoint minus the lag, in the cursor's own type."""
    sync = stream.sync
    if cursor is None:
        return None
    if sync.by == "version":
        return cursor - sync.version_lag
    lag = capabilities.late_commits if sync.lag is None else sync.lag
    if not lag:
        return cursor
    if isinstance(cursor, str) and _OBJECT_ID.fullmatch(cursor):
        made_s = max(0, int(cursor[:8], 16) - math.ceil(lag.total_seconds()))
        return f"{made_s:08x}{'0' * 16}"
    if isinstance(cursor, str):
        return datetime.fromisoformat(cursor) - lag
    if isinstance(cursor, date) and not isinstance(cursor, datetime):
        return cursor - max(lag, timedelta(days=1))
    return cursor - lag


def as_seen(last: Any, seen: Any) -> Any:
    """A checkpoint in the form that the column has now: with a zone, UTC, or without one; a date is its midnight."""
    if not isinstance(seen, datetime) or not isinstance(last, date):
        return last
    at = last if isinstance(last, datetime) else datetime.combine(last, time())
    if seen.tzinfo and at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo and seen.tzinfo is None else at


def greater(stream: StreamSpec, last: Any, seen: Any) -> Any:
    """The greater cursor. Raises ConfigError if the checkpoint is of another type than the column."""
    if last is None or seen is None:
        return last if seen is None else seen
    try:
        return max(last, seen)
    except TypeError as error:
        raise ConfigError(
            f"the checkpoint is a {type(last).__name__}, column '{stream.sync.cursor}' gives a {type(seen).__name__}",
            hint="Set it with the right --type (`sis state set --help`), or forget it with `sis state reset`",
        ) from error


def now_like(value: Any, later: timedelta = timedelta(0)) -> Any:
    """The present in the type of a cursor's value: what no cursor should be beyond. None for a version number.

    Without a zone it is the present of the zone that is furthest ahead; of dates and texts, the end of that day.
    """
    now = utc_now() + later
    if isinstance(value, datetime):
        return now if value.tzinfo else (now + _FURTHEST_ZONE).replace(tzinfo=None)
    if isinstance(value, date):
        return (now + _FURTHEST_ZONE).date()
    if isinstance(value, str) and not _OBJECT_ID.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return None
        return f"{(now + _FURTHEST_ZONE).date().isoformat()}~"
    return None


def is_future(value: Any) -> bool:
    """Whether a cursor's value is so far in the future that no difference of clocks explains it."""
    now = None if value is None else now_like(value, _CLOCKS_APART)
    return bool(now is not None and value > now)


def warnings_of(
    stream: str, cursor: str, last: Any, seen: Seen, *, capabilities: Capabilities
) -> tuple[str, ...]:
    """What a person must know of a read by a cursor, since rows may be missed; without values.

    Args:
        stream: as `sis` takes it.
        last: the checkpoint before the read.
        seen: what was read.
    """
    greatest = seen.greatest
    mend = (
        f"`sis state set {stream} <cursor>` sets it back, `sis state reset {stream}` reads everything again"
    )
    found = []
    if is_future(last):
        found.append(f"the checkpoint is in the future: rows with a lesser '{cursor}' are not read. {mend}")
    elif last is not None and capabilities.gives_bound and (greatest is None or greatest < last):
        found.append(
            f"no row of the source reaches the checkpoint any more in '{cursor}': its newest rows were deleted, or"
            f" it was restored from a backup. Rows written below the checkpoint are not read. {mend}"
        )
    if is_future(greatest):
        found.append(
            f"rows have a '{cursor}' in the future. They have landed, and the checkpoint stays at the greatest one"
            " that is not; they are read again each time until they are corrected at the source"
        )
    if seen.without:
        found.append(
            f"rows have no value in '{cursor}': whether they are new cannot be told, so all of them are read each time,"
            " and land once. Give them one at the source if that takes too long"
        )
    return tuple(found)

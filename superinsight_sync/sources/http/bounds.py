"""The bounds of a read: as the server is told them, and as they hold."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.files.reading import comparable
from superinsight_sync.sources.http.options import Increment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    "iso": timedelta(microseconds=1),
    "epoch_s": timedelta(seconds=1),
    "epoch_ms": timedelta(milliseconds=1),
    "date": timedelta(days=1),
}


def bound_params(increment: Increment | None, request: ReadRequest) -> dict[str, Any]:
    """The parameters that ask for no less than the request's rows: bounds are rounded outwards."""
    if increment is None:
        return {}
    window, after = request.window, request.after
    found: dict[str, Any] = {}
    lows = [_moment(v) for v in (after, window.start if window else None) if v is not None]
    if lows:
        text = _written(increment, max(lows), up=False)
        found[increment.since_param] = increment.template.replace("{value}", text)
    if window is not None and increment.until_param:
        text = _written(increment, window.end, up=True)
        found[increment.until_param] = increment.until_template.replace("{value}", text)
    return found


def _moment(value: Any) -> Any:
    if type(value) is date:
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _written(increment: Increment, value: Any, *, up: bool) -> str:
    form = increment.format
    if not isinstance(value, datetime):
        return str(value if up or increment.inclusive else value - 1)
    if form == "number":
        raise ConfigError("the cursor is a time, but increment.format is number", hint="Correct the format")
    unit = _UNITS[form]
    passed = (value - _EPOCH) / unit if form != "iso" else 0
    count = (math.ceil if up else math.floor)(passed)
    at = value if form == "iso" else _EPOCH + count * unit
    if not up and not increment.inclusive:
        at -= unit
    if form == "iso":
        return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return at.date().isoformat() if form == "date" else str((at - _EPOCH) // unit)


def within(batch: pa.RecordBatch, request: ReadRequest) -> pa.RecordBatch:
    """The rows inside the request's half-open bounds, and those without a cursor value where there is no window."""
    window, after, cursor = request.window, request.after, request.stream.sync.cursor
    if cursor is None:
        return batch
    bounds = [] if after is None else [(pc.greater_equal, _moment(after))]
    if window is not None:
        bounds += [(pc.greater_equal, window.start), (pc.less, window.end)]
    values = comparable(batch.column(cursor))
    for compare, bound in bounds:
        try:
            mask = compare(values, pa.scalar(bound, values.type))
            mask = mask if window is not None else pc.fill_null(mask, True)
        except (pa.ArrowException, TypeError, ValueError):
            raise ConfigError(
                f"cursor '{cursor}' is {values.type}, but its bounds are {type(bound).__name__}",
                hint="Declare the cursor's type under options.columns, or reset the checkpoint",
            ) from None
        batch, values = batch.filter(mask), values.filter(mask)
    return batch

"""The least and greatest value of each column whose type makes that cheap."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import shown_of
from superinsight_sync.core.errors import DataError


class Extremes:
    """Running least and greatest values by column: numbers, dates, times and truth values.

    Text and bytes have none: they may be long, and they are what customers want kept to themselves. A NaN is
    no value here. Nothing that a column may hold stops it: dates beyond the years 1 to 9999 are shown as text.
    """

    def __init__(self) -> None:
        self._least: dict[str, tuple[Any, pa.Scalar]] = {}
        self._greatest: dict[str, tuple[Any, pa.Scalar]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the batch's values into account."""
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if not _is_cheap(values.type) or values.null_count == len(values):
                continue
            found = pc.min_max(values)
            least, greatest = ((_order_of(found[end]), found[end]) for end in ("min", "max"))
            if least[0] is None or least[0] != least[0]:  # NaN: Arrow found nothing else
                continue
            if name not in self._least or least[0] < self._least[name][0]:
                self._least[name] = least
            if name not in self._greatest or greatest[0] > self._greatest[name][0]:
                self._greatest[name] = greatest

    @property
    def least(self) -> dict[str, Any]:
        """Column → its least value."""
        return {name: shown_of(value) for name, (_, value) in self._least.items()}

    @property
    def greatest(self) -> dict[str, Any]:
        """Column → its greatest value."""
        return {name: shown_of(value) for name, (_, value) in self._greatest.items()}


def _order_of(value: pa.Scalar) -> Any:
    """What values are compared by: of dates and times their number, of which Python may have no date."""
    return value.value if pa.types.is_date(value.type) or pa.types.is_timestamp(value.type) else value.as_py()


_MOST_DAYS = 95_000_000
"""Days around 1970 that the lake can count: to the year 262070."""
_MOST_COUNTS = 2**63 - 2
"""Databases write times that are infinite as the greatest and least counts there are."""


def check_calendar(batch: pa.RecordBatch) -> None:
    """Raises DataError, without the value, for a date or time that no table keeps: infinite, or beyond all years."""
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if not (pa.types.is_date32(values.type) or pa.types.is_timestamp(values.type)):
            continue
        span = pc.min_max(values)
        least, greatest = span["min"].value, span["max"].value
        most = _MOST_DAYS if pa.types.is_date32(values.type) else _MOST_COUNTS
        if greatest is not None and (greatest > most or least < -most):
            raise DataError(
                f"column '{name}' holds a date or time that is infinite or beyond the year 262000",
                hint='Set `special_values: "null"` on the connection if its kind has it, or convert it in a query',
            )


def _is_cheap(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_time(kind)
        or pa.types.is_boolean(kind)
    )

"""The least and greatest value of each column whose type makes that cheap."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.constants import python_of


class Extremes:
    """Running least and greatest values by column: numbers, dates, times and truth values.

    Text and bytes have none: they may be long, and they are what customers want kept to themselves. A NaN is
    no value here.
    """

    def __init__(self) -> None:
        self.least: dict[str, Any] = {}
        self.greatest: dict[str, Any] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the batch's values into account."""
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if not _is_cheap(values.type) or values.null_count == len(values):
                continue
            found = pc.min_max(values)
            self._take(name, python_of(found["min"]), python_of(found["max"]))

    def _take(self, name: str, least: Any, greatest: Any) -> None:
        if least is None or least != least:  # NaN: Arrow found nothing else
            return
        if name not in self.least or least < self.least[name]:
            self.least[name] = least
        if name not in self.greatest or greatest > self.greatest[name]:
            self.greatest[name] = greatest


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

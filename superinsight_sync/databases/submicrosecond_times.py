"""Times finer than a microsecond, which no Arrow timestamp of the lake can hold."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import null, number
from superinsight_sync.core.errors import DataError
from superinsight_sync.model.read import Column, ReadRequest

FINER = "fractions finer than a microsecond"


class FinerTimes:
    """Replaces or refuses the values that the statement marked with `mark`, in microseconds since 1970."""

    def __init__(self, request: ReadRequest, special: Literal["fail", "null"], mark: int) -> None:
        self._replaced = request.replaced
        self._special = special
        self._mark = mark

    def without(self, numbers: pa.Array, column: Column) -> pa.Array:
        """The int64 array with NULL for marked values, counted. Raises DataError if they are refused."""
        marked = pc.equal(numbers, number(self._mark, numbers.type))
        count = pc.sum(marked).as_py() or 0
        if not count:
            return numbers
        if self._special == "fail":
            raise DataError(
                f"column '{column.name}' holds {column.replaced}, which no Arrow value can express",
                hint='Set `special_values: "null"` on the connection to read NULL and count them, '
                "or round them in a query",
            )
        self._replaced[column.name] += count
        return pc.if_else(marked, null(numbers.type), numbers)

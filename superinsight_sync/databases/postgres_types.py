"""PostgreSQL types → Arrow, without loss or refused.

Read as they are: booleans, integers, floats, text, bytea, dates and timestamps. `numeric(p,s)` becomes a
decimal: up to 17 digits it travels as the integer ``value * 10^s``, up to 38 as text (PostgreSQL's own
form costs more to decode than either); other numerics stay exact text. One-dimensional arrays of booleans, numbers
and text become lists; since PostgreSQL holds an array of any dimensions in such a column, a value of several
stops the read. Other arrays and composites are read as JSON text. Everything else that Arrow has no equal for
(intervals, uuid, json, ranges, network and geometric types, times, money, enums) is read as PostgreSQL's
text.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import null, number, text
from superinsight_sync.core.errors import DataError
from superinsight_sync.model.read import Column, ReadRequest

Read = Literal["plain", "text", "json", "numeric", "scaled", "list"]

_PLAIN = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
_LISTS = frozenset({"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar"})
_MAX_DIGITS = 38
_MAX_SCALED_DIGITS = 17
SCALED_NAN = -(2**63)
"""Stands for NaN among scaled integers; no numeric of 17 digits comes near it."""
_FIRST_DAY = -2_440_588
_LAST_DAY = 95_000_000
"""Later ones (the year 262070) no table keeps."""
_FIRST_MICROSECOND = -210_866_803_200_000_000
"""The earliest date, 4713 BC. Infinite values arrive as smaller numbers (their sum with the epoch wraps)."""


@dataclass(frozen=True)
class PgColumn:
    """A column as the catalogue has it. `base` is the type's name below domains, `modifier` its typmod."""

    name: str
    source_type: str
    base: str
    category: str
    modifier: int
    element: str | None = None
    """Of an array: its elements' type, if that is no domain."""
    nullable: bool = True
    comment: str = ""
    dimensions: int = 1
    """Of an array: as declared, which the database does not enforce."""

    @property
    def read(self) -> Read:
        if self.category == "A" and self.element in _LISTS and self.dimensions <= 1:
            return "list"
        if self.category == "A" or self.category == "C":
            return "json"
        if self.base == "numeric" and self.digits is not None:
            return "scaled" if self.digits[0] <= _MAX_SCALED_DIGITS else "numeric"
        return "plain" if self.base in _PLAIN and self.category != "E" else "text"

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale where a 128-bit decimal holds every value of the type."""
        if self.modifier < 4:
            return None
        precision, scale = ((self.modifier - 4) >> 16) & 0xFFFF, (self.modifier - 4) & 0x7FF
        return (precision, scale) if precision <= _MAX_DIGITS and scale <= precision else None

    @property
    def arrow(self) -> pa.DataType:
        if self.read in ("numeric", "scaled") and self.digits is not None:
            return pa.decimal128(*self.digits)
        if self.read == "list" and self.element is not None:
            return pa.list_(_PLAIN[self.element])
        return _PLAIN[self.base] if self.read == "plain" else pa.string()

    @property
    def sent(self) -> pa.DataType:
        """What its values are on the wire."""
        if self.read in ("plain", "list"):
            return self.arrow
        return pa.int64() if self.read == "scaled" else pa.string()

    @property
    def column(self) -> Column:
        special = {"numeric": "NaN", "date": "infinity", "timestamp": "infinity", "timestamptz": "infinity"}
        replaced = special.get(self.base) if self.read in ("numeric", "scaled", "plain") else None
        return Column(
            self.name, self.source_type, self.arrow, self.nullable, replaced=replaced, comment=self.comment
        )


SEVERAL_DIMENSIONS = "several dimensions in "
"""Part of the error that an array of several dimensions raises in the statement; the column follows."""


class Converter:
    """Driver arrays → declared arrays; values that no Arrow value can hold are refused or counted."""

    def __init__(
        self, columns: tuple[PgColumn, ...], request: ReadRequest, special: Literal["fail", "null"]
    ) -> None:
        self._by_name = {c.name: c for c in columns}
        self._replaced: Counter[str] = request.replaced
        self._special = special

    def convert(self, array: pa.Array, column: Column) -> pa.Array:
        """One column of one batch."""
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        if column.replaced == "NaN":
            scaled = pa.types.is_int64(array.type)
            array = self._without(
                array, pc.equal(array, number(SCALED_NAN, array.type) if scaled else text("NaN")), column
            )
            if scaled:
                return _scaled(array, column.arrow)
        elif column.replaced == "infinity":
            values = array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
            first = _FIRST_DAY if pa.types.is_date32(array.type) else _FIRST_MICROSECOND
            least = pc.min(values).as_py()
            if least is not None and least < first:
                array = self._without(array, pc.less(values, number(first, values.type)), column)
            if pa.types.is_date32(array.type):
                days = array.view(pa.int32())
                array = self._without(array, pc.greater(days, number(_LAST_DAY, days.type)), column)
        return array if array.type == column.arrow else array.cast(column.arrow)

    def _without(self, array: pa.Array, special: pa.Array, column: Column) -> pa.Array:
        count = pc.sum(special).as_py() or 0
        if not count:
            return array
        if self._special == "fail":
            raise DataError(
                f"column '{column.name}' holds {column.replaced}, which no Arrow value can express",
                hint='Set `special_values: "null"` on the connection to read NULL and count them, '
                "or convert them in a query",
            )
        self._replaced[column.name] += count
        return pc.if_else(special, null(array.type), array)


def _scaled(array: pa.Array, decimal: pa.Decimal128Type) -> pa.Array:
    """Integers counting 10^-scale as decimals: widened, then given the scale, which changes no bit."""
    wide = array.cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(decimal, len(wide), wide.buffers(), wide.null_count, wide.offset)


def several_dimensions(error: BaseException) -> DataError | None:
    """The error that names the column, if it was such an array that stopped the statement."""
    found = re.search(rf'{SEVERAL_DIMENSIONS}(.*)"', str(error))
    if found is None:
        return None
    name = found.group(1)
    return DataError(
        f"column '{name}' is read as a list and holds an array of several dimensions",
        hint=f'Read the stream with a query that selects to_jsonb("{name}") AS "{name}"',
    )

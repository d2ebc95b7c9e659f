"""MySQL and MariaDB types → Arrow, without loss or refused.

Read as they are: integers (unsigned ones too), floats, text, binary. `decimal` up to 38 digits comes as
text and becomes a decimal, wider ones stay exact text. Dates and datetimes come as text, because the
driver fails at zero dates; `timestamp` comes as microseconds since the epoch, which no session's time
zone can change. `bit(1)` is a boolean, a wider one an unsigned integer, `time` (which goes beyond a
day), JSON, enums, sets, uuid and inet are text, and geometries are the server's bytes (SRID, then WKB).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import null, number, text
from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.model.read import Column, ReadRequest

Family = Literal[
    "integer", "float", "decimal", "date", "datetime", "timestamp", "bit", "geometry", "binary", "text"
]

_UNSIGNED = 32
_BINARY_CHARSET = 63
_MAX_DIGITS = 38
_INTEGERS = {1: 8, 2: 16, 3: 32, 9: 32, 8: 64}
_FLOATS = {4: pa.float32(), 5: pa.float64()}
_YEAR, _TIMESTAMP, _DATE, _TIME, _DATETIME, _BIT, _GEOMETRY = 13, 7, 10, 11, 12, 16, 255
_STRINGS = frozenset({6, 15, 245, 247, 248, 249, 250, 251, 252, 253, 254, _TIME})
_NAMES = {
    1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 6: "null", 7: "timestamp", 8: "bigint",
    9: "mediumint", 10: "date", 11: "time", 12: "datetime", 13: "year", 16: "bit",
    245: "json", 246: "decimal",
    252: "text", 253: "varchar", 254: "char", 255: "geometry",
}  # fmt: skip
ZERO_DATE = "zero dates"


@dataclass(frozen=True)
class MyColumn:
    """A column as the wire protocol describes a result's columns."""

    name: str
    code: int
    flags: int
    charset: int
    length: int
    scale: int
    declared: str = ""
    nullable: bool = True
    comment: str = ""

    @property
    def unsigned(self) -> bool:
        return bool(self.flags & _UNSIGNED)

    @property
    def digits(self) -> tuple[int, int]:
        """Precision and scale of a decimal: its length counts the point and the sign."""
        return self.length - (self.scale > 0) - (not self.unsigned), self.scale

    @property
    def family(self) -> Family:
        """Raises ConfigError for a type that this module does not know."""
        simple: dict[int, Family] = {
            _YEAR: "integer",
            _TIMESTAMP: "timestamp",
            _DATE: "date",
            _DATETIME: "datetime",
            _BIT: "bit",
            _GEOMETRY: "geometry",
            0: "decimal",
            246: "decimal",
            _TIME: "text",
        }
        if self.code in simple:
            return simple[self.code]
        if self.code in _INTEGERS:
            return "integer"
        if self.code in _FLOATS:
            return "float"
        if self.code in _STRINGS:
            return "binary" if self.charset == _BINARY_CHARSET and self.code not in (6, 245) else "text"
        raise ConfigError(
            f"column '{self.name}' has a type that cannot be read ({self.declared or self.code})",
            hint="Leave it out or convert it: give the stream a `query`",
        )

    @property
    def arrow(self) -> pa.DataType:
        match self.family:
            case "integer":
                return self._integer()
            case "float":
                return _FLOATS[self.code]
            case "decimal":
                precision, scale = self.digits
                return pa.decimal128(precision, scale) if precision <= _MAX_DIGITS else pa.string()
            case "date":
                return pa.date32()
            case "datetime":
                return pa.timestamp("us")
            case "timestamp":
                return pa.timestamp("us", tz="UTC")
            case "bit":
                return pa.bool_() if self.length == 1 else pa.uint64()
            case "geometry" | "binary":
                return pa.binary()
        return pa.string()

    def _integer(self) -> pa.DataType:
        if self.code == _YEAR:
            return pa.int16()
        return pa.type_for_alias(f"{'u' if self.unsigned else ''}int{_INTEGERS[self.code]}")

    @property
    def select(self) -> str:
        """SQL that gives the value in a form the driver carries without loss."""
        name = quoted(self.name)
        match self.family:
            case "decimal" | "date" | "datetime":
                return f"CAST({name} AS CHAR)"
            case "timestamp":
                return f"CAST(UNIX_TIMESTAMP({name}) * 1000000 AS SIGNED)"
            case "bit":
                return f"CAST({name} AS UNSIGNED)"
            case "geometry":
                return f"CAST({name} AS BINARY)"
        return f"CAST({name} AS CHAR)" if self.code in (6, _TIME, 245) else name

    @property
    def column(self) -> Column:
        replaced = ZERO_DATE if self.family in ("date", "datetime", "timestamp") else None
        return Column(
            self.name,
            self.declared or _NAMES.get(self.code, str(self.code)),
            self.arrow,
            self.nullable,
            self.select,
            replaced,
            self.comment,
        )


def quoted(name: str) -> str:
    """A name as an identifier."""
    return "`" + name.replace("`", "``") + "`"


class Converter:
    """Driver arrays → declared arrays; zero dates are refused or counted."""

    def __init__(self, request: ReadRequest, special: Literal["fail", "null"]) -> None:
        self._replaced: Counter[str] = request.replaced
        self._special = special

    def convert(self, array: pa.Array, column: Column) -> pa.Array:
        """One column of one batch."""
        if column.replaced == ZERO_DATE:
            array = self._without_zero_dates(array, column)
            if pa.types.is_integer(array.type):
                return array.cast(pa.int64()).view(column.arrow)
        return array if array.type == column.arrow else array.cast(column.arrow)

    def _without_zero_dates(self, array: pa.Array, column: Column) -> pa.Array:
        """The epoch itself is the server's zero timestamp; else a month or day of 00 is no date."""
        if pa.types.is_integer(array.type):
            zero = pc.equal(array, number(0, array.type))
        else:
            zero = pc.equal(pc.utf8_slice_codeunits(array, 5, 7), text("00"))
            zero = pc.or_(zero, pc.equal(pc.utf8_slice_codeunits(array, 8, 10), text("00")))
        count = pc.sum(zero).as_py() or 0
        if not count:
            return array
        if self._special == "fail":
            raise DataError(
                f"column '{column.name}' holds {ZERO_DATE} (0000-00-00, or a month or day of 00)",
                hint='Set `special_values: "null"` on the connection to read NULL and count them, '
                "or convert them in a query",
            )
        self._replaced[column.name] += count
        return pc.if_else(zero, null(array.type), array)

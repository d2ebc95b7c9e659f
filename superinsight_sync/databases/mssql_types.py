"""SQL Server types → Arrow, without loss or refused.

Integers, floats, text, binary and decimals (money among them) travel as they are; `tinyint` is unsigned.
`datetime`, `smalldatetime` and `datetime2` become timestamps without zone and `datetimeoffset` one in UTC:
they travel as microseconds since 1970, computed by the server. A `datetime2(7)` counts 100 nanoseconds; a
value finer than a microsecond is refused or counted. `rowversion` becomes a bigint, in order. `time`,
`uniqueidentifier`, `xml`, `json`, `sql_variant` and the spatial types are text.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.submicrosecond_times import FINER, FinerTimes
from superinsight_sync.model.read import Column, ReadRequest

_PLAIN = {
    "bit": pa.bool_(),
    "tinyint": pa.uint8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "float": pa.float64(),
    "char": pa.string(),
    "varchar": pa.string(),
    "text": pa.string(),
    "nchar": pa.string(),
    "nvarchar": pa.string(),
    "ntext": pa.string(),
    "sysname": pa.string(),
    "binary": pa.binary(),
    "varbinary": pa.binary(),
    "image": pa.binary(),
    "date": pa.date32(),
    "rowversion": pa.int64(),
    "timestamp": pa.int64(),
    "money": pa.decimal128(19, 4),
    "smallmoney": pa.decimal128(10, 4),
    "datetime": pa.timestamp("us"),
    "smalldatetime": pa.timestamp("us"),
    "datetime2": pa.timestamp("us"),
    "datetimeoffset": pa.timestamp("us", tz="UTC"),
}
_CONVERTED = {
    "text": "CONVERT(nvarchar(max), {})",
    "ntext": "CONVERT(nvarchar(max), {})",
    "image": "CONVERT(varbinary(max), {})",
    "rowversion": "CONVERT(bigint, {})",
    "timestamp": "CONVERT(bigint, {})",
    "money": "CONVERT(decimal(19,4), {})",
    "smallmoney": "CONVERT(decimal(10,4), {})",
    "time": "CONVERT(nvarchar(16), {}, 121)",
    "uniqueidentifier": "LOWER(CONVERT(nchar(36), {}))",
    "xml": "CONVERT(nvarchar(max), {})",
    "json": "CONVERT(nvarchar(max), {})",
    "vector": "CONVERT(nvarchar(max), {})",
    "hierarchyid": "{}.ToString()",
    "geometry": "{}.ToString()",
    "geography": "{}.ToString()",
    "sql_variant": "CASE SQL_VARIANT_PROPERTY({0}, 'BaseType') WHEN 'varbinary' THEN CONVERT(nvarchar(max), "
    "CONVERT(varbinary(8000), {0}), 1) WHEN 'binary' THEN CONVERT(nvarchar(max), CONVERT(varbinary(8000), "
    "{0}), 1) WHEN 'float' THEN CONVERT(nvarchar(max), CONVERT(float, {0}), 3) WHEN 'real' THEN "
    "CONVERT(nvarchar(max), CONVERT(real, {0}), 3) WHEN 'money' THEN CONVERT(nvarchar(max), CONVERT(money, "
    "{0}), 2) WHEN 'smallmoney' THEN CONVERT(nvarchar(max), CONVERT(money, {0}), 2) WHEN 'datetime' THEN "
    "CONVERT(nvarchar(max), CONVERT(datetime, {0}), 126) ELSE CONVERT(nvarchar(max), {0}) END",
}
_TIMES = frozenset({"datetime", "smalldatetime", "datetime2", "datetimeoffset"})
INSTANTS = _TIMES | {"date"}
ROWVERSIONS = frozenset({"rowversion", "timestamp"})
_MARK = -(2**63)
"""No date of the server comes near it."""


@dataclass(frozen=True)
class MsColumn:
    """A column as the catalogue has it; `base` is the system type's name below aliases."""

    name: str
    base: str
    precision: int = 0
    scale: int = 0
    nullable: bool = True
    comment: str = ""
    declared: str = ""

    @property
    def arrow(self) -> pa.DataType:
        """Raises ConfigError for a type that this module does not know."""
        if self.base in ("decimal", "numeric"):
            return pa.decimal128(self.precision, self.scale)
        if self.base in _PLAIN:
            return _PLAIN[self.base]
        if self.base in _CONVERTED:
            return pa.string()
        raise ConfigError(
            f"column '{self.name}' has a type that cannot be read ({self.declared or self.base})",
            hint="Leave it out or convert it: give the stream a `query`",
        )

    @property
    def finer(self) -> bool:
        """Whether its values may be finer than a microsecond."""
        return self.base in ("datetime2", "datetimeoffset") and self.scale > 6

    @property
    def select(self) -> str:
        """SQL over the relation `s` that gives the value in a form the driver carries without loss."""
        at = f"s.{quoted(self.name)}"
        if self.base in _TIMES:
            return self._microseconds(at)
        return _CONVERTED.get(self.base, "{}").format(at)

    def _microseconds(self, at: str) -> str:
        if self.base == "datetimeoffset":
            at = f"CONVERT(datetime2(7), SWITCHOFFSET({at}, 0))"
        elif self.base == "datetime":  # thirds of a hundredth second: as it is shown, in milliseconds
            at = f"CONVERT(datetime2(3), {at})"
        count = f"DATEDIFF_BIG(microsecond, CONVERT(datetime2(7), '1970-01-01T00:00:00', 126), {at})"
        if not self.finer:
            return count
        mark = f"CONVERT(bigint, {_MARK})"
        return f"CASE WHEN DATEPART(nanosecond, {at}) % 1000 <> 0 THEN {mark} ELSE {count} END"

    @property
    def column(self) -> Column:
        return Column(
            self.name,
            self.declared or self.base,
            self.arrow,
            self.nullable,
            self.select,
            FINER if self.finer else None,
            self.comment,
        )


def quoted(name: str) -> str:
    """A name as an identifier."""
    return "[" + name.replace("]", "]]") + "]"


class Converter:
    """Driver arrays → declared arrays; times finer than a microsecond are refused or counted."""

    def __init__(self, request: ReadRequest, special: Literal["fail", "null"]) -> None:
        self._finer = FinerTimes(request, special, _MARK)

    def convert(self, array: pa.Array, column: Column) -> pa.Array:
        """One column of one batch."""
        if pa.types.is_timestamp(column.arrow):
            numbers = array.cast(pa.int64())
            return (self._finer.without(numbers, column) if column.replaced else numbers).view(column.arrow)
        return array if array.type == column.arrow else array.cast(column.arrow)

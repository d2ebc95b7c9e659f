"""Oracle types → Arrow, without loss or refused.

`NUMBER(p,s)` becomes a decimal; a NUMBER without digits, of a negative scale or of a scale above its
digits, and FLOAT, stay exact text. DATE has a time of day and becomes a timestamp without zone, and so does
TIMESTAMP; those WITH [LOCAL] TIME ZONE become timestamps in UTC. A TIMESTAMP of more than six digits
is compared with its microseconds in the statement, and a finer value is refused or counted. Intervals are ISO
8601 text; ROWID, JSON, XML and vectors are text. Empty text is NULL in Oracle and stays so.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.databases.submicrosecond_times import FINER, FinerTimes
from superinsight_sync.model.read import Column, ReadRequest

Family = Literal["decimal", "float", "text", "lob", "binary", "date", "timestamp", "instant", "bool"]

_MAX_DIGITS = 38
_NLS = "'NLS_NUMERIC_CHARACTERS=''.,'''"
_MARK_SQL = "TIMESTAMP '0001-01-01 00:00:00.000001'"
_MARK = -62_135_596_800_000_000 + 1
"""The same in microseconds since 1970."""
_SIMPLE: dict[str, Family] = {
    "VARCHAR2": "text",
    "NVARCHAR2": "text",
    "VARCHAR": "text",
    "CHAR": "text",
    "NCHAR": "text",
    "ROWID": "text",
    "UROWID": "text",
    "CLOB": "lob",
    "NCLOB": "lob",
    "JSON": "lob",
    "XMLTYPE": "lob",
    "VECTOR": "lob",
    "RAW": "binary",
    "BLOB": "binary",
    "BINARY_FLOAT": "float",
    "BINARY_DOUBLE": "float",
    "FLOAT": "text",
    "DATE": "date",
    "BOOLEAN": "bool",
}


@dataclass(frozen=True)
class OraColumn:
    """A column as the catalogue has it; `base` is the type's name without digits."""

    name: str
    base: str
    precision: int | None = None
    scale: int | None = None
    nullable: bool = True
    comment: str = ""

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale where a 128-bit decimal holds every value; an INTEGER has a scale alone."""
        if self.scale is None:
            return None
        precision = _MAX_DIGITS if self.precision is None else self.precision
        return (precision, self.scale) if 0 <= self.scale <= precision <= _MAX_DIGITS else None

    @property
    def family(self) -> Family:
        """Raises ConfigError for a type that this module does not know."""
        if self.base == "NUMBER":
            return "decimal" if self.digits else "text"
        if self.base.startswith("TIMESTAMP"):
            return "instant" if "TIME ZONE" in self.base else "timestamp"
        if self.base.startswith("INTERVAL"):
            return "text"
        if self.base in _SIMPLE:
            return _SIMPLE[self.base]
        raise ConfigError(
            f"column '{self.name}' has a type that cannot be read ({self.base})",
            hint="Leave it out or convert it: give the stream a `query`",
        )

    @property
    def numeric_text(self) -> bool:
        """Whether it is a number that travels as text, whose order is not that of the text."""
        return self.family == "text" and self.base in ("NUMBER", "FLOAT")

    @property
    def finer(self) -> bool:
        """Whether its values may be finer than a microsecond."""
        return self.base.startswith("TIMESTAMP") and (6 if self.scale is None else self.scale) > 6

    @property
    def arrow(self) -> pa.DataType:
        match self.family:
            case "decimal":
                assert self.digits is not None
                return pa.decimal128(*self.digits)
            case "float":
                return pa.float32() if self.base == "BINARY_FLOAT" else pa.float64()
            case "binary":
                return pa.binary()
            case "date" | "timestamp":
                return pa.timestamp("us")
            case "instant":
                return pa.timestamp("us", tz="UTC")
            case "bool":
                return pa.bool_()
        return pa.string()

    @property
    def source_type(self) -> str:
        """As a person would declare it: ``NUMBER(12,2)``, ``TIMESTAMP(6) WITH TIME ZONE``."""
        if self.base == "NUMBER" and self.precision is not None:
            return f"NUMBER({self.precision},{self.scale or 0})"
        if self.base.startswith("TIMESTAMP"):
            return f"TIMESTAMP({6 if self.scale is None else self.scale}){self.base[len('TIMESTAMP') :]}"
        return "INTEGER" if self.base == "NUMBER" and self.digits else self.base

    @property
    def select(self) -> str:
        """SQL over the relation `s` that gives the value in a form the driver carries without loss."""
        at = f"s.{quoted(self.name)}"
        if self.base in ("NUMBER", "FLOAT"):
            return self._number(at)
        if self.base.startswith("TIMESTAMP"):
            return self._timestamp(at)
        if self.base.startswith("INTERVAL"):
            return _interval(at, "YEAR" in self.base)
        match self.base:
            case "ROWID" | "UROWID":
                return f"CAST({at} AS VARCHAR2(4000))"
            case "NCLOB":
                return f"TO_CLOB({at})"
            case "JSON":
                return f"JSON_SERIALIZE({at} RETURNING CLOB)"
            case "XMLTYPE":
                return f"{at}.getClobVal()"
            case "VECTOR":
                return f"VECTOR_SERIALIZE({at} RETURNING CLOB)"
        return at

    def _number(self, at: str) -> str:
        if self.family == "text":
            return f"TO_CHAR({at}, 'TM9', {_NLS})"
        return at if self.precision is not None else f"CAST({at} AS NUMBER({_MAX_DIGITS},{self.scale}))"

    def _timestamp(self, at: str) -> str:
        at = f"SYS_EXTRACT_UTC({at})" if self.family == "instant" else at
        if not self.finer:
            return at
        coarse = f"CAST({at} AS TIMESTAMP(6))"
        return f"CASE WHEN {at} <> {coarse} THEN {_MARK_SQL} ELSE {coarse} END"

    @property
    def column(self) -> Column:
        replaced = FINER if self.finer else None
        return Column(
            self.name, self.source_type, self.arrow, self.nullable, self.select, replaced, self.comment
        )


def _interval(at: str, months: bool) -> str:
    """SQL of an interval in ISO 8601, every part with its sign."""
    if months:
        text = f"'P' || EXTRACT(YEAR FROM {at}) || 'Y' || EXTRACT(MONTH FROM {at}) || 'M'"
    else:
        seconds = f"RTRIM(TO_CHAR(EXTRACT(SECOND FROM {at}), 'FM990.999999999', {_NLS}), '.')"
        text = (
            f"'P' || EXTRACT(DAY FROM {at}) || 'DT' || EXTRACT(HOUR FROM {at}) || 'H'"
            f" || EXTRACT(MINUTE FROM {at}) || 'M' || {seconds} || 'S'"
        )
    return f"CASE WHEN {at} IS NOT NULL THEN {text} END"


def quoted(name: str) -> str:
    """A name as an identifier. Raises ConfigError for what Oracle cannot quote."""
    if '"' in name or "\x00" in name:
        raise ConfigError("an Oracle name cannot hold a double quote or NUL")
    return f'"{name}"'


class Converter:
    """Driver arrays → declared arrays; times finer than a microsecond are refused or counted."""

    def __init__(self, request: ReadRequest, special: Literal["fail", "null"]) -> None:
        self._finer = FinerTimes(request, special, _MARK)

    def convert(self, array: pa.Array, column: Column) -> pa.Array:
        """One column of one batch. Raises DataError if the driver gave a type that lost digits."""
        if pa.types.is_timestamp(column.arrow):
            naive = array.cast(pa.timestamp("us", tz=array.type.tz)) if array.type.unit != "us" else array
            numbers = naive.view(pa.int64())
            if column.replaced == FINER:
                numbers = self._finer.without(numbers, column)
            return numbers.view(column.arrow)
        if pa.types.is_decimal(column.arrow) and pa.types.is_floating(array.type):
            raise DataError(
                f"the driver gave column '{column.name}' as a binary float, which loses digits",
                hint="Read it with a query that casts it to NUMBER with digits",
            )
        if pa.types.is_decimal(column.arrow) and pa.types.is_integer(array.type):
            array = array.cast(pa.decimal128(_MAX_DIGITS, column.arrow.scale))
        return array if array.type == column.arrow else array.cast(column.arrow)

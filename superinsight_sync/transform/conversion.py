"""Typed conversion as SQL: a cell converts without losing anything, or the expression is NULL.

Text is held against a grammar before DuckDB's own cast sees it, because that cast guesses: it reads `1.005`
as a decimal of two digits and gives 1.01, `12.7` as 13, `24:00` as the next day. Typed values are converted
there and back, and must come back equal.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.transform import moments, nested, numbers

if TYPE_CHECKING:
    import pyarrow as pa

BLANKS = " \t\r\n\u00a0\u3000"
_DUCKDB_NAMES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
    "binary": "BLOB",
    "large_binary": "BLOB",
    "date32[day]": "DATE",
    "date64[ms]": "DATE",
}


def one_or_more(value: object) -> object:
    """Lets one text stand for a list of one."""
    return (value,) if isinstance(value, str) else value


class ColumnCast(PluginConfig):
    """How one column is converted."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """The target: `decimal(12,2)`, `timestamp`, `date`, `int64`, `bool`, `string`, …; `list<…>` and `struct<…>` of JSON
    text or nested columns, by the same rules at every depth."""
    format: str | None = None
    """How dates and times are written, with strptime's signs (`%d.%m.%Y`), or as numbers: `epoch_s`, `epoch_ms`,
    `epoch_us`, or a spreadsheet's days `excel`, `excel_1904`. Names of months and weekdays may be English, German,
    French, Spanish, Italian, Portuguese or Dutch; `%Z` is UTC, GMT or a name like Europe/Berlin; `%z` also `Z`."""
    formats: tuple[str, ...] = ()
    """Several formats. A text that two of them read differently is quarantined."""
    day_first: bool | None = None
    """Whether `05/03/2026` is 5 March (true) or 3 May (false). Without it, only ISO 8601 is read."""
    timezone: str | None = None
    """The zone of times that name none, such as `Europe/Berlin`. Default: UTC."""
    decimal_mark: Literal[".", ","] = "."
    """The sign before the fraction of a number."""
    thousands: str | None = Field(default=None, min_length=1, max_length=1)
    """The sign between groups of three digits. Without it, grouped digits are quarantined."""
    currency: Annotated[
        tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])
    ] = ()
    """Signs or codes that may stand before or after a number, such as `["€", EUR]`. They are left out."""
    percent: Literal["number", "fraction"] | None = None
    """What `5%` is: the number 5 or the fraction 0.05. Without it, a percent sign is quarantined."""
    accounting: bool = False
    """Whether `(300.00)` and `300.00-` are negative numbers."""
    floats: Literal["shortest", "exact"] = "shortest"
    """Which digits a float has that becomes a decimal: those of its shortest text (`1.005`), or all of its exact
    value (`1.00499999999999989…`)."""
    round: bool = False
    """Allows what loses digits: rounding to the scale, cutting the time off a date, nearest float. Halves are
    rounded away from zero, by the decimal digits."""
    true_values: tuple[str, ...] = ("true", "t", "yes", "y", "1")
    """Texts that mean true, whatever their case."""
    false_values: tuple[str, ...] = ("false", "f", "no", "n", "0")
    """Texts that mean false, whatever their case."""
    null_values: tuple[str, ...] = ()
    """Texts that mean NULL, such as `N/A`. Without them an empty text is no number and is quarantined."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.thousands is not None and (
            self.thousands == self.decimal_mark or self.thousands in "0123456789+-"
        ):
            raise ValueError(f"thousands: '{self.thousands}' cannot be told from the rest of the number")
        both = {v.casefold() for v in self.true_values} & {v.casefold() for v in self.false_values}
        if both:
            raise ValueError(f"'{min(both)}' is in true_values and in false_values")
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ZoneInfoNotFoundError, ValueError):
                raise ValueError(f"'{self.timezone}' is no time zone; write it like Europe/Berlin") from None
        return self

    @property
    def written(self) -> numbers.Written:
        """How numbers are written."""
        return numbers.Written(
            self.decimal_mark, self.thousands, self.currency, self.percent, self.accounting
        )

    @property
    def all_formats(self) -> tuple[str, ...]:
        return ((self.format,) if self.format else ()) + self.formats


@dataclass(frozen=True)
class Converted:
    """A conversion as SQL, in two layers.

    Attributes:
        value: the converted cell, NULL where it does not convert. It may use the column `text` was made for.
        text: the cell's text without blanks around it; None for a cell that is no text.
        given: whether there is a cell to convert, as `value`; None for a conversion that cannot fail.
    """

    value: str
    text: str | None = None
    given: str | None = None

    def failed(self, value: str) -> str:
        """Whether the cell does not convert. `value` is the column that holds it."""
        return f"{self.given} AND {quote(value)} IS NULL" if self.given else "false"


def convert(
    column: str, source: "pa.DataType", target: "pa.DataType", how: ColumnCast, text_in: str
) -> Converted:
    """The conversion of one column. Raises ConfigError if no value of `source` can become `target`.

    Args:
        text_in: the name of the column that will hold what `Converted.text` says.
    """
    import pyarrow.types as t

    name = quote(column)

    if t.is_dictionary(source):
        source = source.value_type
    if t.is_nested(target) and source != target:
        return _to_nested(name, source, target, how, text_in)
    if not is_text(source):
        if source == target:
            return Converted(name)
        value = _from_typed(name, source, target, how)
        if value is None:
            raise ConfigError(f"a value of type {source} cannot be cast to {how.type}")
        return Converted(value, given=f"{name} IS NOT NULL")
    trimmed = quote(text_in)
    nulls = _meanings(dict.fromkeys(how.null_values, "true"))
    empty = f"coalesce(CASE {trimmed} {nulls} END, false)" if nulls else "false"
    plain = name if is_text(target) else trimmed
    value = _from_text(plain, target, how)
    if value is None:
        raise ConfigError(f"a value of type {source} cannot be cast to {how.type}")
    value = f"CASE WHEN NOT {empty} THEN {value} END" if nulls else value
    return Converted(value, _trimmed(name), f"{name} IS NOT NULL AND NOT {empty}")


def _to_nested(
    name: str, source: "pa.DataType", target: "pa.DataType", how: ColumnCast, text_in: str
) -> Converted:
    """A list or struct out of JSON text, or out of another list or struct by its JSON."""
    import pyarrow.types as t

    text = quote(text_in)
    nulls = _meanings(dict.fromkeys(how.null_values, "true"))

    def bare(cell: str) -> str:
        return f"trim({cell}, {literal(BLANKS)})"

    def leaf_value(cell: str, dtype: "pa.DataType") -> str | None:
        return None if t.is_binary(dtype) else _from_text(cell if is_text(dtype) else bare(cell), dtype, how)

    def leaf_text(cell: str) -> str:
        return f"CASE WHEN CASE {bare(cell)} {nulls} END THEN NULL ELSE {cell} END" if nulls else cell

    value = nested.as_nested(text, target, nested.Leaf(leaf_value, leaf_text))
    if value is None or not (is_text(source) or (t.is_nested(source) and not _holds_bytes(source))):
        raise ConfigError(f"a value of type {source} cannot be cast to {how.type}")
    empty = f"CASE {text} WHEN 'null' THEN true {nulls} END"
    written = _trimmed(name) if is_text(source) else f"CAST(to_json({name}) AS VARCHAR)"
    given = f"{name} IS NOT NULL AND NOT coalesce({empty}, false)"
    return Converted(f"CASE WHEN {given} THEN {value} END", written, given)


def _holds_bytes(dtype: "pa.DataType") -> bool:
    """Whether there are bytes in it, of which JSON text keeps no exact form."""
    import pyarrow.types as t

    return bool(t.is_binary(dtype)) or any(_holds_bytes(dtype.field(n).type) for n in range(dtype.num_fields))


def _trimmed(text: str) -> str:
    """Without blanks at its ends. Text of ASCII that has none is left alone, which costs a fifth of trimming it."""
    bare = f"strlen({text}) = length({text}) AND ascii({text}) > 32 AND ascii(right({text}, 1)) > 32"
    return f"CASE WHEN {bare} THEN {text} ELSE trim({text}, {literal(BLANKS)}) END"


def duckdb_type(dtype: "pa.DataType") -> str | None:
    """DuckDB's name of a plain Arrow type; None for nested and other types."""
    import pyarrow.types as t

    if t.is_decimal(dtype):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if t.is_timestamp(dtype):
        if dtype.tz:
            return "TIMESTAMPTZ_NS" if dtype.unit == "ns" else "TIMESTAMPTZ"
        return {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}[dtype.unit]
    return _DUCKDB_NAMES.get(str(dtype))


def is_text(dtype: "pa.DataType") -> bool:
    """Whether it is one of Arrow's types of text."""
    return str(dtype) in ("string", "large_string", "string_view")


def _is_number(dtype: "pa.DataType") -> bool:
    import pyarrow.types as t

    return bool(t.is_integer(dtype) or t.is_floating(dtype) or t.is_decimal(dtype))


def _from_text(text: str, target: "pa.DataType", how: ColumnCast) -> str | None:
    import pyarrow.types as t

    if is_text(target):
        return text
    if t.is_boolean(target):
        return _boolean_of_text(text, how)
    if t.is_integer(target):
        return numbers.exact(text, str(duckdb_type(target)), 0, how.written, rounds=how.round)
    if t.is_decimal(target):
        return numbers.exact(text, str(duckdb_type(target)), target.scale, how.written, rounds=how.round)
    if t.is_floating(target):
        return numbers.floating(text, str(duckdb_type(target)), how.written, rounds=how.round)
    if t.is_date(target) or t.is_timestamp(target):
        return moments.of_text(text, _moment(target, how))
    return f"encode({text})" if t.is_binary(target) else None


def _moment(target: "pa.DataType", how: ColumnCast) -> moments.Reading:
    import pyarrow.types as t

    kind: moments.Kind = "date" if t.is_date(target) else "instant" if target.tz else "local"
    return moments.Reading(kind, how.all_formats, how.day_first, how.timezone, how.round)


def _boolean_of_text(text: str, how: ColumnCast) -> str:
    meant = dict.fromkeys(how.true_values, "true") | dict.fromkeys(how.false_values, "false")
    lowered = _meanings({value.lower(): sql for value, sql in meant.items()})
    return f"CASE lower({text}) {lowered} END" if lowered else "NULL::BOOLEAN"


def _meanings(of_texts: dict[str, str]) -> str:
    """Branches of a CASE. DuckDB makes a join of `IN` with five or more texts, computed for every use of the row."""
    return " ".join(f"WHEN {literal(text)} THEN {sql}" for text, sql in of_texts.items())


def _from_typed(name: str, source: "pa.DataType", target: "pa.DataType", how: ColumnCast) -> str | None:
    import pyarrow.types as t

    if t.is_date(target) or t.is_timestamp(target):
        return _moment_of_typed(name, source, target, how)
    if t.is_binary(source):
        return f"TRY(decode({name}))" if is_text(target) else None
    if t.is_nested(source):
        return f"CAST(to_json({name}) AS VARCHAR)" if is_text(target) else None
    if t.is_boolean(target):
        return (
            f"CASE WHEN {name} = 1 THEN true WHEN {name} = 0 THEN false END" if _is_number(source) else None
        )
    known, there = duckdb_type(source), duckdb_type(target)
    if known is None or there is None:
        return f"CAST({name} AS VARCHAR)" if is_text(target) else None
    if is_text(target):
        return f"CAST({name} AS VARCHAR)"
    if not _is_number(target) or not (_is_number(source) or t.is_boolean(source)):
        return None
    if t.is_floating(source) and (t.is_decimal(target) or (how.round and t.is_integer(target))):
        scale = target.scale if t.is_decimal(target) else 0
        return numbers.exact_of_float(name, there, scale, rounds=how.round, digits=how.floats)
    value = f"TRY_CAST({name} AS {there})"
    if how.round:
        return value
    if t.is_decimal(source) and t.is_floating(target):
        return numbers.float_of_decimal(name, there)
    return f"CASE WHEN TRY_CAST({value} AS {known}) = {name} THEN {value} END"


def _moment_of_typed(name: str, source: "pa.DataType", target: "pa.DataType", how: ColumnCast) -> str | None:
    import pyarrow.types as t

    reading = _moment(target, how)
    if t.is_date(source):
        return moments.of_local(f"CAST({name} AS TIMESTAMP)", reading)
    if t.is_timestamp(source):
        exact = f"CAST({name} AS {'TIMESTAMPTZ' if source.tz else 'TIMESTAMP'})"
        if source.unit == "ns" and not how.round:
            exact = f"CASE WHEN CAST({exact} AS {duckdb_type(source)}) = {name} THEN {exact} END"
        return moments.of_instant(exact, reading) if source.tz else moments.of_local(exact, reading)
    if _is_number(source) and not moments.EXCEL.keys().isdisjoint(reading.formats):
        return moments.of_serial(f"CAST({name} AS DOUBLE)", reading)
    if _is_number(source):
        whole = f"CASE WHEN TRY_CAST({name} AS BIGINT) = {name} THEN TRY_CAST({name} AS BIGINT) END"
        return moments.of_epoch(whole, reading)
    return None


def type_alone(value: object) -> object:
    """Lets a type stand for a `ColumnCast` of nothing else."""
    return {"type": value} if isinstance(value, str) else value


Casting = Annotated[ColumnCast, BeforeValidator(type_alone, json_schema_input_type=str | ColumnCast)]

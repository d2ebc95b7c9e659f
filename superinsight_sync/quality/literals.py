"""Declared values as SQL over a column of a known type, without rounding."""

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Literal, TypeVar

from superinsight_sync.quality.expectations import Scalar

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Kind = Literal["int", "float", "decimal", "text", "bool", "date", "timestamp", "time"]

_EXACT = Context(prec=80)
_INT64 = 2**63
_FIRST_NS_YEAR, _LAST_NS_YEAR = 1678, 2261


class UnsuitableError(ValueError):
    """A declared value that cannot be compared with the column. The message names types only."""


def kind_of(type_: "pa.DataType") -> Kind | None:
    """The family of an Arrow type; None for those without an order or equality we can write down."""
    import pyarrow.types as pt

    if pt.is_dictionary(type_):
        return kind_of(type_.value_type)
    tests: tuple[tuple[Kind, bool], ...] = (
        ("bool", pt.is_boolean(type_)),
        ("int", pt.is_integer(type_)),
        ("float", pt.is_floating(type_)),
        ("decimal", pt.is_decimal(type_) and type_.bit_width <= 128),
        ("text", pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_)),
        ("date", pt.is_date(type_)),
        ("timestamp", pt.is_timestamp(type_)),
        ("time", pt.is_time(type_)),
    )
    return next((kind for kind, holds in tests if holds), None)


def outside(column: str, type_: "pa.DataType", low: Scalar | None, high: Scalar | None) -> str:
    """SQL that is TRUE for values below `low` or above `high`. Raises UnsuitableError."""
    kind = kind_of(type_)
    if kind in (None, "bool"):
        raise UnsuitableError(f"a range does not suit a column of type {type_}")
    subject = _subject(column, type_)
    parts = [f"isnan({subject})"] if kind == "float" else []
    if low is not None:
        parts.append(_beyond(subject, "<", low, type_))
    if high is not None:
        parts.append(_beyond(subject, ">", high, type_))
    return f"({' OR '.join(parts)})"


def not_among(column: str, type_: "pa.DataType", values: Iterable[Scalar]) -> str:
    """SQL that is TRUE for values that equal none of `values`. Raises UnsuitableError.

    A declared value that the type cannot hold, such as 1.5 among integers, equals nothing.
    """
    if kind_of(type_) is None:
        raise UnsuitableError(f"a set does not suit a column of type {type_}")
    literals = [text for v in values if (text := _literal(v, type_, None)) is not None]
    if not literals:
        return f"{column} IS NOT NULL"
    return f"{_subject(column, type_)} NOT IN ({', '.join(literals)})"


def _subject(column: str, type_: "pa.DataType") -> str:
    import pyarrow.types as pt

    if pt.is_uint64(type_):
        return f"{column}::HUGEINT"
    if pt.is_float16(type_) or pt.is_float32(type_):
        return f"{column}::DOUBLE"
    if pt.is_timestamp(type_) and type_.unit != "ns":
        return f"{column}::{'TIMESTAMPTZ' if type_.tz else 'TIMESTAMP'}"
    return column


def _beyond(subject: str, operator: Literal["<", ">"], bound: Scalar, type_: "pa.DataType") -> str:
    """`subject < bound` or `subject > bound`, a bound outside the type's range deciding for all."""
    literal = _literal(bound, type_, "up" if operator == "<" else "down")
    if literal is not None:
        return f"{subject} {operator} {literal}"
    everything = _is_positive(bound) == (operator == "<")
    return f"{subject} IS NOT NULL" if everything else "FALSE"


def _is_positive(bound: Scalar) -> bool:
    if isinstance(bound, date | str):
        return _moment(bound).year > _LAST_NS_YEAR
    return not isinstance(bound, time) and bound > 0


def _literal(value: Scalar, type_: "pa.DataType", rounding: Literal["up", "down"] | None) -> str | None:
    """The value as SQL of the column's type; None if the type cannot hold it.

    With `rounding`, a value between two of the type's becomes the next one up or down: `<` and `>` stay.
    """
    kind = kind_of(type_)
    if kind == "bool":
        return str(_typed(value, bool, type_)).upper()
    if kind == "text":
        return "'" + _typed(value, str, type_).replace("'", "''") + "'"
    if kind == "int":
        return _whole(_number(value, type_), 0, rounding, _INT64 * 2)
    if kind == "decimal":
        scaled = _whole(_number(value, type_), type_.scale, rounding, 10**38)
        return scaled and f"CAST({scaled} AS DECIMAL(38, {type_.scale}))"
    if kind == "float":
        return _double(_number(value, type_), type_, rounding)
    if kind == "date":
        return _date(_moment(value, type_), rounding)
    if kind == "timestamp":
        return _timestamp(_moment(value, type_), type_)
    return f"TIME '{_time(value, type_).isoformat()}'"


def _typed(value: Scalar, expected: type[T], type_: "pa.DataType") -> T:
    if not isinstance(value, expected):
        raise UnsuitableError(f"a {type(value).__name__} cannot be compared with a column of type {type_}")
    return value


def _number(value: Scalar, type_: "pa.DataType") -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UnsuitableError(f"a {type(value).__name__} cannot be compared with a column of type {type_}")
    number = Decimal(str(value))
    if number.is_nan():
        raise UnsuitableError("NaN cannot be compared")
    return number


def _whole(number: Decimal, scale: int, rounding: Literal["up", "down"] | None, limit: int) -> str | None:
    """The number with `scale` decimals as digits in quotes."""
    if not number.is_finite() or abs(number) >= Decimal(limit).scaleb(-scale):
        return None
    mode = ROUND_CEILING if rounding == "up" else ROUND_FLOOR
    whole = number.quantize(Decimal(1).scaleb(-scale), rounding=mode, context=_EXACT)
    if rounding is None and whole != number:
        return None
    return f"{whole:f}" if scale == 0 else f"'{whole:f}'"


def _double(number: Decimal, type_: "pa.DataType", rounding: Literal["up", "down"] | None) -> str:
    import pyarrow.types as pt

    value = float(number)
    literal = f"CAST('{value!r}' AS DOUBLE)" if math.isfinite(value) else f"CAST('{value}' AS DOUBLE)"
    narrow = rounding is None and not pt.is_float64(type_)
    return f"CAST(CAST({literal} AS FLOAT) AS DOUBLE)" if narrow else literal


def _moment(value: Scalar, type_: object = "date") -> datetime:
    """A declared date or time as naive UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UnsuitableError(
                f"a text that is no ISO date cannot be compared with type {type_}"
            ) from None
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - naive UTC, see the docstring
    raise UnsuitableError(f"a {type(value).__name__} cannot be compared with a column of type {type_}")


def _date(moment: datetime, rounding: Literal["up", "down"] | None) -> str | None:
    day = moment.date()
    if moment.time() != time():
        if rounding is None:
            return None
        day += timedelta(days=1 if rounding == "up" else 0)
    return f"DATE '{day.isoformat()}'"


def _timestamp(moment: datetime, type_: "pa.DataType") -> str | None:
    zone = "+00" if type_.tz else ""
    name = "TIMESTAMPTZ" if type_.tz else "TIMESTAMP"
    literal = f"{name} '{moment.isoformat(sep=' ')}{zone}'"
    if type_.unit != "ns":
        return literal
    if not _FIRST_NS_YEAR <= moment.year <= _LAST_NS_YEAR:
        return None
    return f"CAST({literal} AS {name}_NS)"


def _time(value: Scalar, type_: "pa.DataType") -> time:
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value)
        except ValueError:
            raise UnsuitableError(
                f"a text that is no ISO time cannot be compared with type {type_}"
            ) from None
    if not isinstance(value, time) or value.tzinfo:
        raise UnsuitableError(f"a {type(value).__name__} cannot be compared with a column of type {type_}")
    return value

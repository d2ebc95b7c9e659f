"""What a pushed column holds, and how its values are written.

A column's type follows from all that was ever pushed to it, not from what one load brings: the kinds of its values
are kept with the position and only grow. So it does not matter where loads are cut.

Values of one kind have a type of their own. Others share a column of text: texts and numbers as they stand, objects
and arrays as their JSON. There a text that begins as JSON does is written as a JSON string, so that the text
``{"a": 1}`` is not taken for an object.
"""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import texts
from superinsight_sync.records.json_text import text_of

Kinds = frozenset[str]
"""Of the values of a column: names of `_NAMES`, and sizes of integers of `_SIZES`."""
Convert = Callable[[pa.Array], pa.Array]

UNKNOWN = "unknown"
"""A column of text of a table that was landed before kinds were kept: nothing is written as a JSON string in it."""
FOREIGN = "foreign"
"""A column whose type was declared once: it keeps it as long as only such values come."""
_NAMES: dict[type, str] = {
    str: "text",
    bool: "boolean",
    float: "number",
    Decimal: "exact",
    dict: "object",
    list: "array",
}
_SIZES = (("small", 2**53), ("long", 2**63), ("huge", 10**38 - 1))
"""Integers below these bounds: those that a double holds, that 64 bits hold, that 38 digits hold."""
_INTEGERS = frozenset({"small", "long", "huge", "endless"})
_CONTAINERS = frozenset({"object", "array"})
_PEOPLE = {"exact": "number", **dict.fromkeys(_INTEGERS, "integer")}
_AS_JSON = '{["'
_LOOKS_AS_JSON = r'^[{\["]'


def kinds_of(values: Sequence[Any]) -> Kinds:
    """The kinds of some values; None is none."""
    found = set(map(type, values)) - {type(None)}
    kinds = {_NAMES[k] for k in found if k is not int}
    if int in found:
        integers = [v for v in values if type(v) is int]
        kinds |= {_size(min(integers)), _size(max(integers))}
    return frozenset(kinds)


def kinds_of_type(dtype: pa.DataType) -> Kinds:
    """What a column of that type may hold, of which no more is known."""
    if pa.types.is_string(dtype):
        return frozenset({UNKNOWN})
    if pa.types.is_boolean(dtype):
        return frozenset({"boolean"})
    if pa.types.is_floating(dtype):
        return frozenset({"number"})
    if pa.types.is_integer(dtype):
        return frozenset({"long"})
    return frozenset({"huge"}) if dtype == pa.decimal128(38, 0) else frozenset({FOREIGN})


def type_of(kinds: Kinds) -> pa.DataType:
    """The type that holds values of these kinds, each exactly; string where they share none."""
    integers, others = kinds & _INTEGERS, kinds - _INTEGERS
    if kinds == {"boolean"}:
        return pa.bool_()
    if others == {"number"} and integers <= {"small"}:
        return pa.float64()
    if integers and not others and "endless" not in integers:
        return pa.decimal128(38, 0) if "huge" in integers else pa.int64()
    return pa.string()


def fits(kinds: Kinds, dtype: pa.DataType, held: Kinds) -> bool:
    """Whether values of these kinds keep their meaning in a column of that type that holds `held`."""
    if kinds <= held or type_of(kinds) == dtype != pa.string():
        return True
    if pa.types.is_decimal(dtype) and kinds == {"small"}:
        return bool(dtype.precision - dtype.scale >= 16)
    return type_of(kinds | held) == dtype and FOREIGN not in held and not pa.types.is_string(dtype)


def told(kinds: Kinds) -> str:
    """What a person would call values of these kinds."""
    return " or ".join(sorted({_PEOPLE.get(k, k) for k in kinds})) or "null"


def array_of(values: list[Any], kinds: Kinds, dtype: pa.DataType) -> pa.Array:
    """The values as a column of that type, of which `kinds` are known."""
    if pa.types.is_string(dtype):
        if kinds == {"text"}:
            return pa.array(values, dtype)
        marks = _marks(kinds)
        return pa.array([None if v is None else _text(v, marks=marks) for v in values], dtype)
    if pa.types.is_floating(dtype):
        return pa.array([None if v is None else float(v) for v in values], dtype)
    if pa.types.is_decimal(dtype):
        return pa.array([None if v is None else Decimal(v) for v in values], dtype)
    return pa.array(values, dtype)


def rewrite(was: pa.DataType, now: pa.DataType, before: Kinds, after: Kinds) -> Convert | None:
    """How values that have landed as one type are written as another, once `after` is known of their column, of
    which `before` was; None if as they are."""
    if was != now:
        return number_texts if pa.types.is_floating(was) and pa.types.is_string(now) else _cast_to(now)
    is_marked_first = _marks(after) and not _marks(before) and "text" in before
    return marked if is_marked_first else None


def number_texts(values: pa.Array) -> pa.Array:
    """Doubles as the text that a pushed number has in a column of text."""
    found = values.dictionary_encode()
    return texts([_number(v) for v in found.dictionary.to_pylist()]).take(found.indices)


def marked(values: pa.Array) -> pa.Array:
    """Texts, those of them as JSON strings that begin as JSON does."""
    found = pc.fill_null(pc.match_substring_regex(values, _LOOKS_AS_JSON), fill_value=False)
    fresh = [_text(v, marks=True) for v in values.filter(found).to_pylist()]
    return pc.replace_with_mask(values, found, texts(fresh)) if fresh else values


def _cast_to(dtype: pa.DataType) -> Convert:
    return lambda values: values.cast(dtype)


def _marks(kinds: Kinds) -> bool:
    return bool(kinds & _CONTAINERS) and UNKNOWN not in kinds


def _size(value: int) -> str:
    return next((name for name, bound in _SIZES if -bound <= value < bound), "endless")


def _text(value: Any, *, marks: bool) -> str:
    match value:
        case str():
            return (
                json.dumps(value, ensure_ascii=False) if marks and value[:1] in _AS_JSON and value else value
            )
        case bool():
            return "true" if value else "false"
        case float():
            return _number(value) or ""
    return text_of(value)


def _number(value: float | None) -> str | None:
    """Without exponent, and a whole one as an integer: as such it may have been pushed."""
    return None if value is None else format(Decimal(repr(value)), "f").removesuffix(".0")

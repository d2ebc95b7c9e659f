"""The types of JSON values over a whole stream: exact and the same whatever the order of files and rows."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

from superinsight_sync.records.json_text import text_of

MAX_FIELDS = 200
"""An object with more keys than this is taken for a map and kept as JSON text."""
MAX_DEPTH = 16
"""Objects and arrays nested deeper than this are kept as JSON text."""
_INT64 = (-(2**63), 2**63 - 1)
_DOUBLE_INTS = 2**53
_DECIMAL_INTS = 10**38


class Seen:
    """What was seen at one place of the records.

    Scalars of one kind keep their type; integers beyond 64 bits become decimal(38,0); integers and floats
    together float64 if that holds each of them; objects structs, arrays lists. What has no exact common
    type is kept as JSON text.
    """

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.kinds: set[type] = set()
        self.low = 0
        self.high = 0
        self.fits_double = True
        self.fields: dict[str, Seen] = {}
        self.element: Seen | None = None
        self._type: pa.DataType | None = None

    def add(self, values: list[Any]) -> None:
        """Takes the values of one place in some records; None for none."""
        kinds = set(map(type, values)) - {type(None)}
        self.kinds |= kinds
        if int in kinds:
            integers = [v for v in values if type(v) is int]
            self.low = min(self.low, *integers)
            self.high = max(self.high, *integers)
            if self.high > _DOUBLE_INTS or self.low < -_DOUBLE_INTS:
                self.fits_double = self.fits_double and all(map(_is_double, integers))
        if dict in kinds and self.depth < MAX_DEPTH:
            self._add_objects([v for v in values if type(v) is dict])
        if list in kinds and self.depth < MAX_DEPTH:
            self.element = self.element or Seen(self.depth + 1)
            self.element.add(list(chain.from_iterable(v for v in values if type(v) is list)))

    def _add_objects(self, objects: list[dict[str, Any]]) -> None:
        for key in dict.fromkeys(chain.from_iterable(objects)):
            if key not in self.fields:
                if len(self.fields) > MAX_FIELDS:
                    return
                self.fields[key] = Seen(self.depth + 1)
        for key, seen in self.fields.items():
            seen.add([o.get(key) for o in objects])

    def arrow_type(self) -> pa.DataType:
        """The type that holds all values exactly; string for JSON text."""
        if self._type is None:
            self._type = self._arrow_type()
        return self._type

    @property
    def is_json_text(self) -> bool:
        """Whether values are kept as their JSON text."""
        return pa.types.is_string(self.arrow_type()) and self.kinds != {str} and bool(self.kinds)

    def _arrow_type(self) -> pa.DataType:
        if self.kinds == {bool}:
            return pa.bool_()
        if self.kinds == {float} or (self.kinds == {int, float} and self.fits_double):
            return pa.float64()
        if self.kinds == {int} and _INT64[0] <= self.low and self.high <= _INT64[1]:
            return pa.int64()
        if self.kinds == {int} and max(-self.low, self.high) < _DECIMAL_INTS:
            return pa.decimal128(38, 0)
        if self.kinds == {dict} and self.is_struct():
            return pa.struct([(name, seen.arrow_type()) for name, seen in self.fields.items()])
        if self.kinds == {list} and self.element and self.element.kinds:
            return pa.list_(self.element.arrow_type())
        return pa.string()

    def is_struct(self) -> bool:
        """Whether its keys can be fields."""
        folded = {name.casefold() for name in self.fields}
        return 0 < len(folded) == len(self.fields) <= MAX_FIELDS and "" not in folded

    def source_type(self) -> str:
        """What a person would call it."""
        names = {str: "text", bool: "boolean", int: "integer", float: "number", Decimal: "number"}
        names |= {dict: "object", list: "array"}
        if float in self.kinds:
            names[int] = "number"
        return " or ".join(sorted({names[k] for k in self.kinds})) or "null"

    def array(self, values: list[Any]) -> pa.Array:
        """The values as an Arrow array of `arrow_type`."""
        return pa.array(self._kept(values) if self._changes() else values, self.arrow_type())

    def _changes(self) -> bool:
        """Whether some value has to be rewritten before Arrow can take it."""
        dtype = self.arrow_type()
        if pa.types.is_struct(dtype):
            return any(s._changes() for s in self.fields.values())
        if pa.types.is_list(dtype) and self.element:
            return self.element._changes()
        return self.is_json_text or pa.types.is_decimal(dtype) or self._has_wide_integers()

    def _has_wide_integers(self) -> bool:
        """Whether integers stand among the floats that Arrow would take for inexact, though they are not."""
        return self.kinds == {int, float} and max(-self.low, self.high) > _DOUBLE_INTS

    def _kept(self, values: Iterable[Any]) -> list[Any]:
        dtype = self.arrow_type()
        if pa.types.is_struct(dtype):
            return [None if v is None else self._kept_object(v) for v in values]
        if pa.types.is_list(dtype) and self.element:
            return [None if v is None else self.element._kept(v) for v in values]
        if pa.types.is_decimal(dtype):
            return [None if v is None else Decimal(v) for v in values]
        if self.is_json_text:
            return [None if v is None else text_of(v) for v in values]
        if self._has_wide_integers():
            return [None if v is None else float(v) for v in values]
        return list(values)

    def _kept_object(self, value: dict[str, Any]) -> dict[str, Any]:
        return {name: seen._kept((value.get(name),))[0] for name, seen in self.fields.items()}


def _is_double(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False

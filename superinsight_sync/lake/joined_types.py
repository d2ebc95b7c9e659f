"""The type of a column that was of two types, where one holds the values of both."""

import pyarrow as pa

from superinsight_sync.lake.types import widens

_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}
_MOST_DIGITS = 38


def joined_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds every value of both (storable) types without loss; None if there is none.

    By rule a time without a zone is one of UTC beside one that has a zone.
    Structs have the fields of both: NULL where a value lacks one, as columns that are new.
    """
    if widens(one, other):
        return other
    if widens(other, one):
        return one
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return pa.timestamp("us", "UTC")
    if _is_exact(one) and _is_exact(other):
        whole, scale = (max(part(t) for t in (one, other)) for part in (_whole_digits, _scale))
        return pa.decimal128(whole + scale, scale) if whole + scale <= _MOST_DIGITS else None
    if pa.types.is_list(one) and pa.types.is_list(other):
        item = joined_type(one.value_type, other.value_type)
        return None if item is None else pa.list_(pa.field("element", item))
    if pa.types.is_map(one) and pa.types.is_map(other):
        key, item = joined_type(one.key_type, other.key_type), joined_type(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return _joined_struct(one, other)
    return None


def _joined_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The first's fields, and behind them those that it lacks."""
    fields = {f.name: f.type for f in one}
    for f in other:
        kind = joined_type(fields[f.name], f.type) if f.name in fields else f.type
        if kind is None:
            return None
        fields[f.name] = kind
    return pa.struct(list(fields.items()))


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _whole_digits(kind: pa.DataType) -> int:
    return int(kind.precision - kind.scale) if pa.types.is_decimal(kind) else _DIGITS[kind.bit_width]


def _scale(kind: pa.DataType) -> int:
    return int(kind.scale) if pa.types.is_decimal(kind) else 0

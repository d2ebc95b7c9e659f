"""What a table holds already counts among what was seen: an increment that has only NULL changes no type."""

import pyarrow as pa

from superinsight_sync.records.json_types import Seen

_BEYOND_INT64 = 2**63


def with_known(seen: Seen, known: pa.DataType) -> Seen | None:
    """What was seen, and what a column of this type may hold besides.

    None if the column cannot hold what was seen as it is, or is of no type that JSON values have by themselves.
    """
    held = _held(known, seen.depth)
    if held is None or not seen.kinds <= held.kinds or (seen.kinds and not _numbers_fit(seen, held)):
        return None
    held.low, held.high = min(held.low, seen.low), max(held.high, seen.high)
    held.fields = _fields(seen, held)
    if held.element is not None and seen.element is not None:
        held.element = _inner(seen.element, held.element)
    return held


def _numbers_fit(seen: Seen, held: Seen) -> bool:
    return float not in held.kinds or seen.fits_double


def _fields(seen: Seen, held: Seen) -> dict[str, Seen]:
    found = {n: _inner(seen.fields[n], h) if n in seen.fields else h for n, h in held.fields.items()}
    return {**found, **{n: s for n, s in seen.fields.items() if n not in found}}


def _inner(seen: Seen, held: Seen) -> Seen:
    return with_known(seen, held.arrow_type()) or seen


def _held(dtype: pa.DataType, depth: int) -> Seen | None:
    """As if values of this type had been seen; None if JSON values have no such type."""
    held = Seen(depth)
    if pa.types.is_string(dtype):
        held.kinds = {str}
    elif pa.types.is_boolean(dtype):
        held.kinds = {bool}
    elif pa.types.is_int64(dtype):
        held.kinds = {int}
    elif dtype == pa.decimal128(38, 0):
        held.kinds, held.high = {int}, _BEYOND_INT64
    elif pa.types.is_float64(dtype):
        held.kinds = {int, float}
    elif pa.types.is_list(dtype):
        held.kinds, held.element = {list}, _held(dtype.value_type, depth + 1)
        return None if held.element is None else held
    elif pa.types.is_struct(dtype):
        fields = {f.name: _held(f.type, depth + 1) for f in dtype}
        held.kinds, held.fields = {dict}, {n: f for n, f in fields.items() if f is not None}
        return held if len(held.fields) == len(fields) else None
    else:
        return None
    return held

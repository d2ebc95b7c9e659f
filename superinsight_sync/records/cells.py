"""Text into declared types, exactly or not at all."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_HEX = r"^[-+]?0[xX]"
_INFINITE = r"(?i)^[-+]?inf(inity)?$"
_ZONE = r":.*(Z|z|[+-]\d\d(:?\d\d)?)$"


def cast_texts(texts: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    """The texts as `dtype`, and the places of those that are not of this type (NULL in the result).

    Spaces around a value do not count. A time without a zone is UTC. A number that the type cannot hold
    (too big, too many digits) is not of the type.
    """
    if pa.types.is_string(dtype):
        return texts, []
    if pa.types.is_binary(dtype):
        return texts.cast(dtype), []
    return _bisect(pc.utf8_trim_whitespace(texts), dtype, lambda part: _cast(part, dtype))


def _bisect(values: Any, dtype: pa.DataType, cast: Callable[[Any], pa.Array]) -> tuple[pa.Array, list[int]]:
    """Casts all at once, and only around failures ever smaller parts: same rules for one value as for all."""
    done: list[pa.Array] = []
    bad: list[int] = []
    parts = [(0, len(values))]
    while parts:
        start, end = parts.pop()
        try:
            done.append(cast(values[start:end]))
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            if end - start == 1:
                bad.append(start)
                done.append(pa.nulls(1, dtype))
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
    return (pa.concat_arrays(done) if done else pa.array([], dtype)), bad


def _cast(texts: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Raises ArrowInvalid if one of them is not of the type."""
    if pa.types.is_date(dtype) or pa.types.is_timestamp(dtype):
        return _in_our_years(_cast_moments(texts, dtype))
    if pa.types.is_integer(dtype) and pc.any(pc.match_substring_regex(texts, _HEX)).as_py():
        raise pa.ArrowInvalid("hexadecimal")
    cast = texts.cast(dtype)
    if pa.types.is_floating(dtype):
        overflown = pc.and_(pc.is_inf(cast), pc.invert(pc.match_substring_regex(texts, _INFINITE)))
        if pc.any(overflown).as_py():
            raise pa.ArrowInvalid("too big")
    return cast


def _cast_moments(texts: pa.Array, dtype: pa.DataType) -> pa.Array:
    if not pa.types.is_timestamp(dtype) or not dtype.tz:
        return texts.cast(dtype)
    zoned = pc.match_substring_regex(texts, _ZONE)
    nothing = pa.scalar(None, pa.string())
    local = pc.if_else(zoned, nothing, texts).cast(pa.timestamp(dtype.unit))
    return pc.coalesce(pc.if_else(zoned, texts, nothing).cast(dtype), pc.assume_timezone(local, "UTC"))


def _in_our_years(moments: pa.Array) -> pa.Array:
    """There is no year 0, though Arrow reads one; an offset may lead out of the years 1 to 9999."""
    years = pc.year(moments)
    if pc.any(pc.or_(pc.less(years, 1), pc.greater(years, 9999))).as_py():
        raise pa.ArrowInvalid("year")
    return moments

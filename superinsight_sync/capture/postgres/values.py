"""PostgreSQL's text of a value → the Arrow value that a pull reads, a column of many rows at a time.

The log gives what the type's output function writes (with ISO dates, UTC, hexadecimal bytes and shortest exact
floats). Composites and such arrays that a pull reads as JSON are turned into it by the server itself.
"""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_buffers import fixed, lists
from superinsight_sync.core.errors import DataError
from superinsight_sync.databases.postgres_types import PgColumn

ToJson = Callable[[PgColumn, pa.Array], pa.Array]
"""The values of a column, given as texts, as JSON texts."""

_LEAST_DATE, _LEAST_TIME = -(2**31), -(2**63) + 1
"""Stand for infinite dates and times, as `Converter` expects them: below every finite one."""
_PLAIN_DATE = r"^\d{4}-\d{2}-\d{2}$"
_PLAIN_TIME = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d{1,6})?$"
_TIME = re.compile(r"(\d{4,})-(\d{2})-(\d{2})(?: (\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?)?(?:\+00)?( BC)?")
_DAY_US = 86_400_000_000


def values_of(column: PgColumn, written: pa.Array, to_json: ToJson) -> pa.Array:
    """The column's values for `Converter.convert`, of their texts.

    Raises DataError for a text that is no value of the column's type.
    """
    try:
        return _values(column, written, to_json)
    except (pa.ArrowInvalid, ValueError) as error:
        raise DataError(
            f"the log holds a value of column '{column.name}' that is no {column.source_type}",
            hint="Take a new snapshot of the stream: `sis capture resnapshot`",
        ) from error


def _values(column: PgColumn, written: pa.Array, to_json: ToJson) -> pa.Array:
    match column.read:
        case "json":
            return to_json(column, written) if written.null_count < len(written) else written
        case "list":
            return _lists(column, written)
        case "plain":
            return _plain(column.arrow, written)
    if column.base == "inet":  # a pull casts it to text, which names the network of a single host too
        hosts = pc.invert(pc.match_substring(written, "/"))
        ends = pc.if_else(pc.match_substring(written, ":"), "/128", "/32")
        return pc.if_else(hosts, pc.binary_join_element_wise(written, ends, ""), written)
    return written


def _plain(kind: pa.DataType, written: pa.Array) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pc.equal(written, "t")
    if pa.types.is_binary(kind):
        return _bytes(written)
    if pa.types.is_date(kind):
        return _dates(written)
    if pa.types.is_timestamp(kind):
        return _times(written, kind)
    return written.cast(kind)


def _bytes(written: pa.Array) -> pa.Array:
    """Of ``\\x`` and hexadecimal digits."""
    digits = pc.utf8_slice_codeunits(written, 2)
    (_, offsets, data) = digits.buffers()
    ends = np.frombuffer(offsets, np.int32)[digits.offset : digits.offset + len(digits) + 1]
    text = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    nibbles = np.where(text >= ord("a"), text - (ord("a") - 10), text - ord("0"))
    packed = (nibbles[0::2] << 4 | nibbles[1::2]).astype(np.uint8)
    places = pa.py_buffer(((ends - ends[0]) // 2).astype(np.int32).tobytes())
    whole = pa.Array.from_buffers(pa.binary(), len(digits), [None, places, pa.py_buffer(packed.tobytes())])
    return pc.if_else(written.is_valid(), whole, pa.scalar(None, pa.binary()))


def _dates(written: pa.Array) -> pa.Array:
    plain = pc.match_substring_regex(written, _PLAIN_DATE)
    if pc.all(plain, skip_nulls=True).as_py() is not False:
        return written.cast(pa.date32())
    return _one_by_one(written, pa.date32(), _LEAST_DATE, lambda us: us // _DAY_US)


def _times(written: pa.Array, kind: pa.DataType) -> pa.Array:
    naive = pc.replace_substring_regex(written, r"\+00( BC)?$", r"\1") if kind.tz else written
    plain = pc.match_substring_regex(naive, _PLAIN_TIME)
    if pc.all(plain, skip_nulls=True).as_py() is not False:
        return naive.cast(pa.timestamp("us")).cast(pa.int64()).cast(kind)
    return _one_by_one(written, kind, _LEAST_TIME, lambda us: us)


def _one_by_one(written: pa.Array, kind: pa.DataType, least: int, of: Callable[[int], int]) -> pa.Array:
    """Where a date is infinite, before Christ or after the year 9999: seldom, so a batch may take its time."""
    found = [None if text is None else _number(text, least, of) for text in written.to_pylist()]
    width = np.int32 if kind == pa.date32() else np.int64
    missing = np.array([n is None for n in found])
    return fixed(kind, np.array([0 if n is None else n for n in found], width), missing)


def _number(text: str, least: int, of: Callable[[int], int]) -> int:
    if text.endswith("infinity"):
        return least
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no date")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    year = 1 - year if found.group(8) else year
    days = _days(year, month, day)
    micros = int((found.group(7) or "0").ljust(6, "0"))
    return of(days * _DAY_US + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970 in the proleptic Gregorian calendar.

    After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    """
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _lists(column: PgColumn, written: pa.Array) -> pa.Array:
    """Of array literals of one dimension, such as ``{1,NULL,3}`` and ``[0:1]={1,2}``."""
    kind = column.arrow
    inner = pc.replace_substring_regex(written, r"^(\[[-\d:\[\]]+=)?\{", "")
    body = pc.utf8_slice_codeunits(inner, 0, -1)
    if pc.any(pc.starts_with(inner, "{")).as_py():
        raise DataError(
            f"column '{column.name}' is read as a list and holds an array of several dimensions",
            hint="Capture it under a type that has no list, or leave the column out of the publication",
        )
    quoted = pc.any(pc.match_substring_regex(body, r'["\\]')).as_py()
    if quoted:
        return pa.array([None if text is None else list(_elements(text)) for text in body.to_pylist()], kind)
    parts = pc.split_pattern(body, ",")
    lengths = pc.if_else(pc.equal(body, ""), 0, pc.list_value_length(parts))
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False))])
    flat = parts.flatten()
    empty = pc.fill_null(pc.equal(body, ""), False)
    if pc.any(empty).as_py():
        owner = pc.list_parent_indices(parts)
        flat = flat.filter(pc.invert(empty.take(owner)))
    flat = pc.if_else(pc.equal(flat, "NULL"), pa.scalar(None, pa.string()), flat)
    values = _plain(kind.value_type, flat)
    return lists(kind, offsets, values, body.is_null().to_numpy(zero_copy_only=False))


def _elements(body: str) -> Iterator[str | None]:
    """The texts between an array literal's braces; one without quotes that says NULL is none."""
    for found in re.finditer(r'"((?:[^"\\]|\\.)*)"|((?:[^,"\\]|\\.)+)', body, re.DOTALL):
        quoted, bare = found.groups()
        if quoted is None and bare == "NULL":
            yield None
        else:
            yield re.sub(r"\\(.)", r"\1", quoted if quoted is not None else bare, flags=re.DOTALL)

"""Arrow values made from Python ones, and back, without `pyarrow.array` and `pyarrow.scalar`.

Those import pandas, where it is installed, when they are first called: a quarter of a CPU second and 45 MB, in a
process that may have no other use for it. For the data path; elsewhere Arrow's own do.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT = pa.timestamp("us", "UTC")


def texts(values: Sequence[str | None]) -> pa.StringArray:
    """A string array."""
    encoded = [b"" if v is None else v.encode() for v in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    if ends[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{ends[-1]} bytes of text do not fit into one Arrow array")
    known = np.packbits(np.array([v is not None for v in values], bool), bitorder="little")
    buffers = [pa.py_buffer(known), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def text(value: str) -> pa.StringScalar:
    """A string."""
    return texts([value])[0]


def numbers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """An array of a type of 8, 16, 32 or 64 bits that keeps integers: integers, dates, times, durations."""
    kept = np.array([v or 0 for v in values], dtype=f"{'u' * _is_unsigned(kind)}int{kind.bit_width}")
    known = np.packbits(np.array([v is not None for v in values], bool), bitorder="little")
    return pa.Array.from_buffers(kind, len(kept), [pa.py_buffer(known), pa.py_buffer(kept)])


def number(value: int, kind: pa.DataType) -> pa.Scalar:
    """A value of such a type."""
    return numbers([value], kind)[0]


def moment(at: datetime) -> pa.TimestampScalar:
    """An aware time, as timestamp[us, UTC]."""
    return number((at - _EPOCH) // _MICROSECOND, _MOMENT)


def python_of(value: pa.Scalar) -> Any:
    """The value as `as_py` gives it, of times in UTC as a datetime of UTC; those would be another way to pandas."""
    if value.type == _MOMENT and value.is_valid:
        return _EPOCH + value.value * _MICROSECOND
    return value.as_py()


def shown_of(value: pa.Scalar) -> Any:
    """The value as `python_of` gives it; a date or time beyond the years 1 to 9999 as text."""
    try:
        return python_of(value)
    except (OverflowError, ValueError):
        return time_texts(pa.repeat(value, 1))[0]


def nearest_of(value: pa.Scalar) -> Any:
    """The value as `python_of` gives it; instead of a date or time beyond the years 1 to 9999 the nearest one."""
    try:
        return python_of(value)
    except (OverflowError, ValueError):
        nearest = datetime.max.replace(tzinfo=UTC) if value.value > 0 else datetime.min.replace(tzinfo=UTC)
        if pa.types.is_date(value.type):
            return nearest.date()
        return nearest if value.type.tz else nearest.replace(tzinfo=None)


def rows_of(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as objects; columns with dates or times beyond the years 1 to 9999 as text."""
    try:
        found: list[dict[str, Any]] = table.to_pylist()
    except (OverflowError, ValueError):
        columns = [_shown(column) for column in table.columns]
        found = [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]
    return found


def _shown(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    if pa.types.is_temporal(column.type):
        return time_texts(column)
    if pa.types.is_nested(column.type):
        column = column.cast(_times_as_text(column.type))
    return list(column.to_pylist())


def _times_as_text(kind: pa.DataType) -> pa.DataType:
    """The nested type with text for dates and times."""
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_times_as_text(f.type)) for f in kind])
    if pa.types.is_map(kind):
        return pa.map_(_times_as_text(kind.key_type), _times_as_text(kind.item_type))
    return pa.list_(_times_as_text(kind.value_type)) if pa.types.is_list(kind) else kind


_ARROWS_YEARS = 30_000
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def time_texts(values: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """Dates or times as text, of any year, those with a zone in UTC.

    Arrow's own cast takes a year beyond 32767 for another, and leaves out the seconds of an old zone's offset.
    """
    if pa.types.is_timestamp(values.type) and values.type.tz:
        values = values.cast(pa.timestamp(values.type.unit, "UTC"))
    found: list[str | None] = values.cast(pa.string()).to_pylist()
    if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        return found
    moments = values.cast(pa.timestamp("s")) if pa.types.is_date(values.type) else values
    most = _ARROWS_YEARS * 366 * 86_400 * _SECONDS[moments.type.unit]
    return [
        _far_text(tick, moments.type) if tick is not None and abs(tick) > most else said
        for tick, said in zip(moments.cast(pa.int64()).to_pylist(), found, strict=True)
    ]


def _far_text(tick: int, kind: pa.DataType) -> str:
    said = str(np.datetime64(tick, kind.unit)).replace("T", " ")
    return f"{said}Z" if kind.tz else said


def one_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The values in one piece."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def null(kind: pa.DataType) -> pa.Scalar:
    """NULL of any type."""
    return pa.nulls(1, kind)[0]


def falses(count: int) -> pa.BooleanArray:
    """So many false."""
    return pa.Array.from_buffers(pa.bool_(), count, [None, pa.py_buffer(bytes(count // 8 + 1))])


def _is_unsigned(kind: pa.DataType) -> bool:
    return bool(pa.types.is_unsigned_integer(kind))


def cut(batch: pa.RecordBatch, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batch in parts of at most so many bytes, or of one row. Parts are views."""
    if batch.num_rows <= 1 or batch.nbytes <= batch_bytes:
        yield batch
        return
    half = batch.num_rows // 2
    yield from cut(batch.slice(0, half), batch_bytes)
    yield from cut(batch.slice(half), batch_bytes)

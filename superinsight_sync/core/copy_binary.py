"""PostgreSQL's binary COPY → Arrow, a column of many rows at a time.

Format: PostgreSQL's documentation, "COPY, Binary Format"; one message of the protocol is one row ("Message Flow, COPY
Operations"). A row is the number of its fields, then for each its length (-1 for NULL) and its bytes, big-endian. So
where a row's next field begins is known once this one's length is: the walk goes field by field over all rows at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa

from superinsight_sync.core.errors import DataError
from superinsight_sync.core.gather import Ints, fixed, lists, numbers, pieces, runs

BATCH_BYTES = 8 << 20
BATCH_ROWS = 32_768
_TOGETHER = 128
"""Rows taken from the wire before it is looked how much there is: so few stay in the processor's cache."""
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_TRAILER = b"\xff\xff"
_MARGIN = 16
"""Bytes after the last row, so that the value of a last NULL can be looked at as all others are."""
_DATE_EPOCH = 10_957
_TIME_EPOCH = 946_684_800_000_000
"""1 January 2000, from 1970, in days and in microseconds. Infinite values wrap around to below every date."""


@dataclass(frozen=True)
class _Fixed:
    """A type whose values all have `width` bytes: how they are sent, kept, and moved to the epoch of 1970."""

    sent: str
    kept: str
    epoch: int = 0

    @property
    def width(self) -> int:
        return np.dtype(self.sent).itemsize


_FIXED = {
    pa.bool_(): _Fixed("?", "?"),
    pa.int16(): _Fixed(">i2", "i2"),
    pa.int32(): _Fixed(">i4", "i4"),
    pa.int64(): _Fixed(">i8", "i8"),
    pa.float32(): _Fixed(">f4", "f4"),
    pa.float64(): _Fixed(">f8", "f8"),
    pa.date32(): _Fixed(">i4", "i4", _DATE_EPOCH),
    pa.timestamp("us"): _Fixed(">i8", "i8", _TIME_EPOCH),
    pa.timestamp("us", tz="UTC"): _Fixed(">i8", "i8", _TIME_EPOCH),
}


def batches_of(rows: Iterable[bytes | bytearray | memoryview], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of `COPY … TO STDOUT (FORMAT binary)` as batches of at most about 8 MiB and 32,768 rows.

    Args:
        rows: the messages, header and trailer included.
        schema: of booleans, integers, floats, text, binary, date32, timestamp[us] (also with tz=UTC), and lists of
            these, whose arrays have one dimension.

    Raises:
        DataError: the bytes are not such rows. ArrowInvalid: a text is not UTF-8.
    """
    messages = iter(rows)
    header = bytes(next(messages, b""))
    if not header.startswith(_SIGNATURE):
        raise _malformed()
    skipped = len(_SIGNATURE) + 8 + int.from_bytes(header[15:19], "big")
    first, ended, buffer = header[skipped:], False, BytesIO()
    while not ended:
        buffer.seek(0)
        lengths = _take(messages, first, buffer)
        if not len(lengths):
            raise _malformed()
        with buffer.getbuffer() as data:
            end = buffer.tell() - _MARGIN
            ended = lengths[-1] == len(_TRAILER) and bytes(data[end - 2 : end]) == _TRAILER
            yield from _decoded(data, lengths[:-1] if ended else lengths, schema)
        first = b""


def _take(messages: Iterator[bytes | bytearray | memoryview], first: bytes, buffer: BytesIO) -> Ints:
    """Puts the next rows into the buffer; how many bytes each has."""
    lengths = [np.fromiter([buffer.write(first)] if first else [], np.int64)]
    count, widest = len(lengths[0]), max(1, len(first))
    while count < BATCH_ROWS and (room := BATCH_BYTES - buffer.tell()) > 0:
        together = min(_TOGETHER, max(1, room // widest))
        found = np.fromiter(map(buffer.write, islice(messages, together)), np.int64)
        if not len(found):
            break
        lengths.append(found)
        count, widest = count + len(found), max(widest, int(found.max()))
    buffer.write(bytes(_MARGIN))
    return np.concatenate(lengths)


def _decoded(data: memoryview, lengths: Ints, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Their rows: one batch, or several if rows became much longer all at once."""
    if not len(lengths):
        return
    ends = np.cumsum(lengths)
    starts = ends - lengths
    cuts = np.flatnonzero(np.diff(starts // (4 * BATCH_BYTES))) + 1
    for first, end in pairwise([0, *cuts.tolist(), len(lengths)]):
        base, last = starts[first], ends[end - 1] + _MARGIN
        yield _batch(data[base:last], starts[first:end] - base, ends[first:end] - base, schema)


def _batch(data: memoryview, starts: Ints, ends: Ints, schema: pa.Schema) -> pa.RecordBatch:
    at = starts + 2
    arrays = []
    try:
        if (_integers(data, starts, ">i2") != len(schema)).any():
            raise _malformed()
        for field in schema:
            array, at = _column(data, at, field.type)
            arrays.append(array)
    except IndexError:
        raise _malformed() from None
    if not np.array_equal(at, ends):
        raise _malformed()
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(data: memoryview, at: Ints, kind: pa.DataType) -> tuple[pa.Array, Ints]:
    """The values of the fields that begin `at` these places, and where the next ones begin."""
    if kind in _FIXED:
        return _fixed(data, at, kind)
    return _list(data, at, kind) if pa.types.is_list(kind) else _bytes(data, at, kind)


def _fixed(data: memoryview, at: Ints, kind: pa.DataType) -> tuple[pa.Array, Ints]:
    how = _FIXED[kind]
    step = 4 + how.width
    found = pieces(data, at, step).view([("length", ">i4"), ("value", how.sent)])
    length, values = found["length"], found["value"].astype(how.kept)
    if how.epoch:
        values += how.epoch
    null = length == -1
    if not ((length == how.width) | null).all():
        raise _malformed()
    return fixed(kind, values, null), at + (np.where(null, 4, step) if null.any() else step)


def _bytes(data: memoryview, at: Ints, kind: pa.DataType) -> tuple[pa.Array, Ints]:
    length = _integers(data, at, ">i4")
    null = length < 0
    first = at + 4
    after = first + np.maximum(length, 0)
    if length.min(initial=0) < -1 or after.max(initial=0) > len(data) - _MARGIN:
        raise _malformed()
    return runs(data, first, after, null, kind), after


def _list(data: memoryview, at: Ints, kind: pa.ListType) -> tuple[pa.Array, Ints]:
    """Arrays: dimensions, whether one is NULL, the elements' type; of each dimension size and first index; then the
    elements as fields."""
    length = _integers(data, at, ">i4")
    null, first = length == -1, at + 4
    dimensions, counts = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    dimensions[~null] = _integers(data, first[~null], ">i4")
    if (dimensions > 1).any():
        raise DataError("an array of several dimensions is no list")
    some = dimensions == 1
    counts[some] = _integers(data, first[some] + 12, ">i4")
    if counts.min(initial=0) < 0 or 4 * counts.sum() > len(data):
        raise _malformed()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    with_nulls = bool(_integers(data, first[some] + 4, ">i4").any())
    places = _elements(data, first + 20, counts, None if with_nulls else _FIXED.get(kind.value_type))
    values, _ = _column(data, places, kind.value_type)
    return lists(kind, offsets, values, null), first + np.where(null, 0, length)


def _elements(data: memoryview, first: Ints, counts: Ints, every: _Fixed | None) -> Ints:
    """Where each element of each list begins. They are gone through one after the other, unless `every` one has
    the same width."""
    ends = np.cumsum(counts)
    starts, total = ends - counts, int(counts.sum())
    if every is not None:
        within = np.arange(total) - np.repeat(starts, counts)
        placed: Ints = np.repeat(first, counts) + within * (4 + every.width)
        return placed
    places, at = np.empty(total, np.int64), first.copy()
    for number in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > number)
        places[starts[rows] + number] = at[rows]
        at[rows] += 4 + np.maximum(_integers(data, at[rows], ">i4"), 0)
    return places


def _integers(data: memoryview, at: Ints, sent: str) -> Ints:
    values: Ints = numbers(data, at, sent).astype(np.int64)
    return values


def _malformed() -> DataError:
    return DataError(
        "the server did not send rows in PostgreSQL's binary COPY format",
        hint="Connect to the database itself, or to a proxy that changes nothing",
    )

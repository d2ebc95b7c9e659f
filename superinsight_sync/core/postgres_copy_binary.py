"""PostgreSQL's binary COPY → Arrow, a column of many rows at a time.

Format: PostgreSQL's documentation, "COPY, Binary Format"; one message of the protocol is one row ("Message Flow, COPY
Operations"). A row is the number of its fields, then for each its length (-1 for NULL) and its bytes, big-endian. So
where a row's next field begins is known once this one's length is: the walk goes field by field over all rows at once.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa

from superinsight_sync.core.arrow_buffers import Ints, fixed, lists, numbers, pieces, runs
from superinsight_sync.core.errors import DataError

BATCH_BYTES = 8 << 20
BATCH_ROWS = 32_768
_TOGETHER = 128
"""Rows taken from the wire before it is looked how much there is: so few stay in the processor's cache."""
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_TRAILER = b"\xff\xff"
_MARGIN = 128
"""Bytes after the last row, so that what would follow a last NULL can be looked at as all others are; and so many
bytes of a row are fetched at once."""
_NULL = -1
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

    @property
    def length(self) -> int:
        """The field's length as its four bytes read here, so that none has to be turned around."""
        return int.from_bytes(self.width.to_bytes(4, "big"), sys.byteorder)


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
    first, ended, buffer, decoder = header[skipped:], False, BytesIO(), _Decoder(schema)
    while not ended:
        buffer.seek(0)
        lengths = _take(messages, first, buffer)
        if not len(lengths):
            raise _malformed()
        with buffer.getbuffer() as data:
            end = buffer.tell() - _MARGIN
            ended = lengths[-1] == len(_TRAILER) and bytes(data[end - 2 : end]) == _TRAILER
            yield from _decoded(data, lengths[:-1] if ended else lengths, decoder)
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


def _decoded(data: memoryview, lengths: Ints, decoder: "_Decoder") -> Iterator[pa.RecordBatch]:
    """Their rows: one batch, or several if rows became much longer all at once."""
    if not len(lengths):
        return
    ends = np.cumsum(lengths)
    starts = ends - lengths
    cuts = np.flatnonzero(np.diff(starts // (4 * BATCH_BYTES))) + 1
    for first, end in pairwise([0, *cuts.tolist(), len(lengths)]):
        base, last = starts[first], ends[end - 1] + _MARGIN
        yield decoder.batch(data[base:last], starts[first:end] - base, ends[first:end] - base)


class _Decoder:
    """Rows → batches of a schema. Columns of fixed width that follow each other are fetched together; where NULLs
    were seen, the next column begins elsewhere in each row."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._types = schema.types
        self._with_nulls: set[int] = set()

    def batch(self, data: memoryview, starts: Ints, ends: Ints) -> pa.RecordBatch:
        at = starts + 2
        arrays: list[pa.Array] = []
        try:
            if (_integers(data, starts, ">i2") != len(self._types)).any():
                raise _malformed()
            while len(arrays) < len(self._types):
                if kinds := self._neighbours(len(arrays)):
                    found, at = _fixed(data, at, kinds)
                    arrays += found
                    if found[-1].null_count:
                        self._with_nulls.add(len(arrays) - 1)
                else:
                    array, at = _column(data, at, self._types[len(arrays)])
                    arrays.append(array)
        except IndexError:
            raise _malformed() from None
        if not np.array_equal(at, ends):
            raise _malformed()
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _neighbours(self, first: int) -> list[pa.DataType]:
        """The types of the columns of fixed width from this one on, up to one that had a NULL."""
        kinds: list[pa.DataType] = []
        width = 0
        for column in range(first, len(self._types)):
            how = _FIXED.get(self._types[column])
            if how is None or (width := width + 4 + how.width) > _MARGIN:
                break
            kinds.append(self._types[column])
            if column in self._with_nulls:
                break
        return kinds


def _column(data: memoryview, at: Ints, kind: pa.DataType) -> tuple[pa.Array, Ints]:
    """The values of the fields that begin `at` these places, and where the next ones begin."""
    if kind in _FIXED:
        (array,), after = _fixed(data, at, [kind])
        return array, after
    return _list(data, at, kind) if pa.types.is_list(kind) else _bytes(data, at, kind)


def _fixed(data: memoryview, at: Ints, kinds: Sequence[pa.DataType]) -> tuple[list[pa.Array], Ints]:
    """The values of columns that follow each other, up to the first that has a NULL, and where the next ones begin."""
    parts = [
        part for n, k in enumerate(kinds) for part in ((f"length{n}", "i4"), (f"value{n}", _FIXED[k].sent))
    ]
    layout = np.dtype(parts)
    found = pieces(data, at, layout.itemsize).view(layout)
    arrays: list[pa.Array] = []
    step = 0
    for n, kind in enumerate(kinds):
        how, length = _FIXED[kind], found[f"length{n}"]
        values = found[f"value{n}"].astype(how.kept)
        if how.epoch:
            values += how.epoch
        whole = length == how.length
        if whole.all():
            arrays.append(fixed(kind, values, None))
            step += 4 + how.width
            continue
        null = length == _NULL
        if not (whole | null).all():
            raise _malformed()
        arrays.append(fixed(kind, values, null))
        return arrays, at + (step + np.where(null, 4, 4 + how.width))
    return arrays, at + step


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

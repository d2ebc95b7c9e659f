"""Documents as a server sent them, and where in their bytes each field's values are.

Format: BSON specification, version 1.1 (bsonspec.org). A document is its length, elements, and a zero; an element is
the code of a type, a name that ends with a zero, and the value. Where an element ends is known by its type and, for
some, the length it begins with: so many documents whose fields come in one order are walked field by field, all at
once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import Struct, error
from typing import Any

import bson
import numpy as np
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON

from superinsight_sync.core.arrow_buffers import Ints, numbers, pieces

ABSENT = 0
"""In the place of a type: the document has no such field."""
DOUBLE, STRING, OBJECT, ARRAY, BINARY = 1, 2, 3, 4, 5
OBJECT_ID, BOOLEAN, DATE, NULL = 7, 8, 9, 10
INT32, TIMESTAMP, INT64, DECIMAL = 16, 17, 18, 19
_MARGIN = 16
"""Bytes after the last document, so that a value that is not there can be looked at as all others are."""
_UNKNOWN = -1
_FIXED_BYTES = {
    ABSENT: 0,
    DOUBLE: 8,
    OBJECT_ID: 12,
    BOOLEAN: 1,
    DATE: 8,
    NULL: 0,
    INT32: 4,
    TIMESTAMP: 8,
    INT64: 8,
    DECIMAL: 16,
}
_BYTES_BESIDE = {STRING: 4, OBJECT: 0, ARRAY: 0, BINARY: 5}
"""Of values that begin with a length: the bytes that it does not count."""
_LEAST = {STRING: 1, OBJECT: 5, ARRAY: 5, BINARY: 0}
_LENGTH, _HEADER = Struct("<i"), Struct("<iBB")


def _table(by_type: dict[int, int], other: int) -> Ints:
    return np.array([by_type.get(code, other) for code in range(256)])


_BYTES = _table({**_FIXED_BYTES, **_BYTES_BESIDE}, _UNKNOWN)
_SHORTEST = _table(_LEAST, _UNKNOWN)


@dataclass(frozen=True)
class Values:
    """The values of one field in each document.

    Attributes:
        codes: their types.
        at: where they begin.
        after: where they end.
    """

    codes: Ints
    at: Ints
    after: Ints

    @cached_property
    def types(self) -> frozenset[int]:
        """The types there are, without NULL and absence."""
        return frozenset(np.flatnonzero(np.bincount(self.codes)).tolist()) - {ABSENT, NULL}

    @cached_property
    def null(self) -> Ints:
        """Which are NULL or absent."""
        found: Ints = (self.codes == NULL) | (self.codes == ABSENT)
        return found


class Raw:
    """Documents one behind the other.

    Args:
        sent: their bytes.
        options: how the driver makes objects of them.

    Raises InvalidBSON, here and where documents are asked for.
    """

    def __init__(self, sent: bytes, options: CodecOptions[dict[str, Any]]) -> None:
        self._sent, self._options = sent, options
        starts, at = [], 0
        try:
            while at < len(sent):
                starts.append(at)
                at += max(1, _LENGTH.unpack_from(sent, at)[0])
        except error:
            at = -1
        if at != len(sent):
            raise InvalidBSON("the documents' lengths are not those of what was sent")
        self._starts = np.array(starts, np.int64)
        self._ends = np.append(self._starts[1:], at)

    def __len__(self) -> int:
        return len(self._starts)

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """All of them as objects."""
        return bson.decode_all(self._sent, self._options)

    def document(self, place: int) -> dict[str, Any]:
        """One of them as an object."""
        return bson.decode(self._sent[self._starts[place] : self._ends[place]], self._options)

    def fields(self, names: Sequence[str]) -> tuple[memoryview, dict[str, Values]] | None:
        """The bytes, and where each field's values are in them; None if not all documents consist of these fields in
        this order, each there or not, of types that are looked at here."""
        keys = [name.encode() for name in names]
        if any(b"\0" in key for key in keys):
            return None
        data = memoryview(self._sent + bytes(_MARGIN + max(map(len, keys), default=0)))
        found, at = {}, self._starts + 4
        try:
            for name, key in zip(names, keys, strict=True):
                values = _values(data, at, key)
                if values is None:
                    return None
                found[name], at = values, values.after
            at_end = np.array_equal(at, self._ends - 1) and not numbers(data, at, "u1").any()
        except IndexError:
            return None
        return (data, found) if at_end else None

    def objects(self, values: Values) -> list[Any]:
        """A field's values as objects, NULL where it is absent."""
        found: list[Any] = [None] * len(self)
        there = np.flatnonzero(~values.null).tolist()
        alone = (
            _HEADER.pack(end - begin + 7, code, 0) + self._sent[begin:end] + b"\0"
            for begin, end, code in zip(
                values.at[there].tolist(),
                values.after[there].tolist(),
                values.codes[there].tolist(),
                strict=True,
            )
        )
        documents = bson.decode_all(b"".join(alone), self._options) if there else []
        for place, document in zip(there, documents, strict=True):
            found[place] = document[""]
        return found


def _values(data: memoryview, at: Ints, key: bytes) -> Values | None:
    """The values of the elements that begin at these places, if they have this name. Raises IndexError."""
    codes = numbers(data, at, "u1")
    here = (pieces(data, at + 1, len(key) + 1).view(f"S{len(key) + 1}") == key) & (codes != ABSENT)
    everywhere = bool(here.all())
    if not everywhere:
        codes = np.where(here, codes, ABSENT)
    begin = at + 2 + len(key)
    sizes = _BYTES[codes]
    if sizes.min(initial=0) == _UNKNOWN:
        return None
    shortest = _SHORTEST[codes]
    long = np.flatnonzero(shortest != _UNKNOWN)
    if len(long):
        lengths = numbers(data, begin[long], "<i4").astype(np.int64)
        if (lengths < shortest[long]).any():
            return None
        sizes[long] += lengths
    if everywhere:
        return Values(codes, begin, begin + sizes)
    return Values(codes, np.where(here, begin, at), np.where(here, begin + sizes, at))


def order_of(layouts: Iterable[Sequence[str]]) -> list[str]:
    """The names in an order in which those of each layout come, the first ones' rather than the last ones'."""
    found: list[str] = []
    for layout in layouts:
        at = 0
        for name in layout:
            if name in found:
                at = max(at, found.index(name) + 1)
            else:
                found.insert(at, name)
                at += 1
    return found

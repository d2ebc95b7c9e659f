"""Records of simple elements as texts, a field of all records at a time and without an object for each element.

A record that was parsed is written again: then it is well-formed, in UTF-8, and every `<` begins a tag. So which tag
begins at which `<` tells where each text is, as long as the elements come in the order of the fields and have no
attributes but `xsi:nil`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_buffers import Ints, pieces, runs
from superinsight_sync.sources.soap.answers import XSI

_LONGEST = 2**31 - 1
_ESCAPES = {"&lt;": "<", "&gt;": ">", "&#13;": "\r", "&amp;": "&"}
"""What the writer escapes in texts; the ampersand is last."""


def flat_texts(written: Sequence[bytes], record: Any, names: Sequence[str]) -> list[pa.Array] | None:
    """The texts of each field, NULL where it is not there or nil; None if a record is not as said above.

    Args:
        written: the records, each as XML.
        record: the first of them as an element.
        names: the fields, without namespace.
    """
    prefixes = {child.prefix for child in record.iterchildren("*")}
    if len(prefixes) != 1 or sum(map(len, written)) > _LONGEST:
        return None
    prefix = f"{found}:" if (found := prefixes.pop()) else ""
    nil = next((p for p, uri in record.nsmap.items() if uri == XSI), None)
    try:
        return _Walk(written, f' {nil}:nil="true"/>' if nil else "/>").texts([prefix + n for n in names])
    except IndexError:
        return None


class _Walk:
    def __init__(self, written: Sequence[bytes], nil: str) -> None:
        whole = b"".join(written)
        lengths = np.fromiter(map(len, written), np.int64, len(written))
        ends = np.cumsum(lengths)
        tags = np.flatnonzero(np.frombuffer(whole, np.uint8) == ord("<"))
        self._last = np.searchsorted(tags, ends) - 1
        """Which tag ends each record, and which is looked at."""
        self._at = np.searchsorted(tags, ends - lengths) + 1
        self._tags, self._whole, self._nil = tags, whole, nil

    def texts(self, names: Sequence[str]) -> list[pa.Array] | None:
        """Raises IndexError where a record ends too soon."""
        longest = max(len(n.encode()) for n in names) + len(self._nil) + 3
        data = memoryview(self._whole + bytes(longest))
        found = []
        for name in names:
            array = self._field(data, name)
            if array is None:
                return None
            found.append(array)
        return found if np.array_equal(self._at, self._last) else None

    def _field(self, data: memoryview, name: str) -> pa.Array | None:
        begin = self._tags[self._at]
        here = _is(data, begin, f"<{name}>")
        empty = _is(data, begin, f"<{name}/>")
        nil = _is(data, begin, f"<{name}{self._nil}")
        end = self._tags[self._at + here]
        if not _is(data, end, f"</{name}>")[here].all():
            return None
        self._at = self._at + 2 * here + (empty | nil)
        first = np.where(here, begin + len(name.encode()) + 2, end)
        return _unescaped(runs(data, first, end, ~(here | empty), pa.string()))


def _is(data: memoryview, at: Ints, text: str) -> Ints:
    """Where these bytes are."""
    wanted = text.encode()
    found: Ints = pieces(data, at, len(wanted)).view(f"S{len(wanted)}") == wanted
    return found


def _unescaped(texts: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring(texts, "&")).as_py():
        return texts
    for escaped, char in _ESCAPES.items():
        texts = pc.replace_substring(texts, escaped, char)
    return texts

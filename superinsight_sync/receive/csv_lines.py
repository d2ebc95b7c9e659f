"""CSV cut into records as it comes, just where the parser ends them.

A record ends at a line feed, a carriage return, or both, unless within quotes; and quotes are those that begin a cell:
``5" pipe`` has none.
"""

import re
from collections.abc import Iterator

_LONE_RETURN = re.compile(rb"\r(?!\n)")
_TO_CLOSING = re.compile(rb'(?:[^"]++|"")*+"')


class CsvLines:
    """Takes parts of any size and gives whole records.

    A record keeps its bytes, also the carriage return in front of a line feed that ends it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._open: list[bytes] = []
        self._open_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the record that is not at its end."""
        return self._open_bytes + len(self._rest)

    def feed(self, part: bytes, *, is_last: bool = False) -> list[bytes]:
        """The records that end in this part; if it is the last one, also what stands behind them."""
        data, held = self._rest + part, b""
        if not is_last and data.endswith(b"\r"):  # a line feed may follow
            data, held = data[:-1], b"\r"
        found: list[bytes] = []
        *whole, rest = _lines(data)
        for text, end in whole:
            if self._is_open_after(text):
                self._open.append(text + end)
                self._open_bytes += len(self._open[-1])
            else:
                found.append(self._closed(text))
        self._rest = rest[0] + held
        if is_last and self.waiting_bytes:
            found.append(self._closed(self._rest))
            self._rest = b""
        return found

    def _closed(self, text: bytes) -> bytes:
        if not self._open:
            return text
        text = b"".join([*self._open, text])
        self._open, self._open_bytes = [], 0
        return text

    def _is_open_after(self, text: bytes) -> bool:
        """Whether a quote is open behind a line, in front of which one is if a record has begun."""
        is_open = bool(self._open)
        if b'"' not in text:
            return is_open
        at = 0
        while True:
            if not is_open and text[at : at + 1] == b'"':
                is_open, at = True, at + 1
            if is_open:
                closing = _TO_CLOSING.match(text, at)
                if closing is None:
                    return True
                at, is_open = closing.end(), False
            at = text.find(b",", at) + 1
            if not at:
                return False


def csv_records(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a whole text, each with the number of its first line, from 1."""
    line = 1
    for record in CsvLines().feed(body, is_last=True):
        yield line, record
        line += lines_in(record)


def lines_in(record: bytes) -> int:
    """How many lines a record has."""
    text = record.removesuffix(b"\r")
    return 1 + text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _lines(data: bytes) -> list[tuple[bytes, bytes]]:
    """Lines and what ends each; nothing ends the last."""
    found: list[tuple[bytes, bytes]] = []
    for text in data.split(b"\n"):
        *before, last = _LONE_RETURN.split(text) if b"\r" in text else [text]
        if before and not last and text.endswith(b"\r"):
            # The line feed behind it was split off.
            last = before.pop() + b"\r"
        found += [(part, b"\r") for part in before]
        found.append((last, b"\n"))
    return found

"""Where the records of delimited text begin and end."""

import re
from collections.abc import Iterator
from typing import Protocol

from superinsight_sync.core.errors import DataError

MAX_RECORD_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 18
_NEWLINE = re.compile(rb"\r\n|\n|\r")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Located(Protocol):
    """Where records are from, as errors say it: ``file 'a.json'``."""

    @property
    def where(self) -> str: ...


class Scanner:
    """Cuts delimited text into records, quoted line breaks and all.

    A quote counts only where a field starts; a doubled one inside it stands for itself.

    Args:
        skip_blank: whether an empty line is no record.
        where: the file, for messages.
    """

    def __init__(self, delimiter: str, quote: str, *, skip_blank: bool, where: str = "") -> None:
        d, q = re.escape(delimiter.encode()), re.escape(quote.encode())
        field = rb"(?:%b(?:[^%b]++|%b%b)*+%b[^%b\r\n]*+|(?!%b)[^%b\r\n]*+)" % (q, q, q, q, q, d, q, d)
        self._record = re.compile(rb"(%b(?:%b%b)*+)(\r\n|\n|\r)" % (field, d, field))
        self._field = re.compile(field)
        self._quote = quote
        self._skip_blank = skip_blank
        self._where = where

    def records(self, stream: Readable, first_line: int = 1) -> Iterator[tuple[int, bytes, int]]:
        """(line it starts on, its text without line break, bytes up to its end) of each record.

        The last one may have no line break or an open quote. Raises DataError, with the line, for a
        record of more than 64 MB.
        """
        buffer, at, before, line = b"", 0, 0, first_line
        ended = False
        while True:
            found = self._record.match(buffer, at)
            if found and (found.end() < len(buffer) or ended or found.group(2) != b"\r"):
                text = found.group(1)
                at = found.end()
                if text or not self._skip_blank:
                    yield line, text, before + at
                line += 1 + len(_NEWLINE.findall(text))
                continue
            if ended:
                if buffer[at:]:
                    yield line, buffer[at:], before + len(buffer)
                return
            if len(buffer) - at > MAX_RECORD_BYTES:
                raise DataError(
                    f"line {line}: no record of at most {MAX_RECORD_BYTES >> 20} MB begins here",
                    where=self._where,
                    hint="Look for a quote that is left open, or declare format.quote",
                )
            more = stream.read(max(_CHUNK_BYTES, len(buffer) - at))
            ended = not more
            before += at
            buffer, at = buffer[at:] + more, 0

    def split(self, record: bytes) -> list[str]:
        """The cells of one record, as text."""
        cells, at = [], 0
        while True:
            found = self._field.match(record, at)
            cell = (found.group() if found else record[at:]).decode("utf-8", "replace")
            at = found.end() if found else len(record)
            if cell.startswith(self._quote):
                body, _, tail = cell[1:].rpartition(self._quote)
                cell = body.replace(self._quote * 2, self._quote) + tail
            cells.append(cell)
            if at >= len(record):
                return cells
            at += 1

    def found(self, stream: Readable, numbers: set[int], first_line: int = 1) -> dict[int, tuple[int, bytes]]:
        """The line on which each of these records starts and its text, by record number (1 is the first)."""
        found: dict[int, tuple[int, bytes]] = {}
        if numbers:
            last = max(numbers)
            for number, (line, text, _) in enumerate(self.records(stream, first_line), 1):
                if number in numbers:
                    found[number] = line, text
                if number >= last:
                    break
        return found

"""A form that comes in parts: its fields, and its files, which go to the disk as they come."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from superinsight_sync.core.private import open_private
from superinsight_sync.gateway.uploads import file_name
from superinsight_sync.receive.refusals import (
    MalformedError,
    TooLargeError,
    UnprocessableError,
    UnsupportedError,
)

MOST_FILES = 100
_MOST_FIELDS = 10
_FIELD_BYTES = 64 << 10


@dataclass(frozen=True)
class FilePart:
    """A file of a form. `name`: what its sender calls it, for people to read."""

    path: Path
    name: str
    media_type: str


class Form:
    """Takes a body of ``multipart/form-data``. Methods block: they write to the disk, and raise OSError.

    Args:
        make: gives paths of files to be written.
        most_bytes: of one file.

    Raises UnsupportedError: it is of another type, or names no boundary.
    """

    def __init__(self, content_type: str, make: Callable[[], Path], most_bytes: int) -> None:
        media, options = parse_options_header(content_type)
        if media != b"multipart/form-data" or not options.get(b"boundary"):
            raise UnsupportedError("files come as multipart/form-data, or by tus")
        self._make, self._most_bytes = make, most_bytes
        self.fields: dict[str, str] = {}
        self.files: list[FilePart] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._field = ""
        self._text = bytearray()
        self._out: IO[bytes] | None = None
        self._size = 0
        self._is_ended = False
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_end": self._all,
                },
            )
        except FormParserError:
            raise MalformedError("the boundary is too long") from None

    def feed(self, part: bytes) -> None:
        """Takes the next part of the body.

        Raises MalformedError: it is no such form. TooLargeError: a file or field is too large.
        UnprocessableError: too many of them, or a field twice.
        """
        try:
            self._parser.write(part)
        except FormParserError:
            raise MalformedError("the body is no valid multipart/form-data") from None

    def finish(self) -> None:
        """To be called at the body's end. Raises MalformedError if the form is not at its end."""
        if not self._is_ended:
            raise MalformedError("the form ends too early")

    def close(self) -> None:
        """Closes what is open."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def _begin(self) -> None:
        self._headers = {}
        self._text, self._size = bytearray(), 0

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise MalformedError("a part of the form has no name")
        self._field = _text(options[b"name"])
        if b"filename" not in options:
            if len(self.fields) >= _MOST_FIELDS:
                raise UnprocessableError(f"the form has more than {_MOST_FIELDS} fields")
            if self._field in self.fields:
                raise UnprocessableError("a field of the form is there twice")
            return
        if len(self.files) >= MOST_FILES:
            raise UnprocessableError(f"the form has more than {MOST_FILES} files")
        path = self._make()
        self._out = open_private(path, "xb")
        media_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self.files.append(FilePart(path, file_name(_text(options[b"filename"])), media_type))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._out is None:
            if self._size > _FIELD_BYTES:
                raise TooLargeError(f"a field of the form has more than {_FIELD_BYTES} bytes")
            self._text += data[start:end]
            return
        if self._size > self._most_bytes:
            raise TooLargeError(f"file {len(self.files)} has more than {self._most_bytes} bytes")
        self._out.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._out is None:
            self.fields[self._field] = _text(bytes(self._text))
        self.close()

    def _all(self) -> None:
        self._is_ended = True


def _text(given: bytes) -> str:
    try:
        return given.decode()
    except UnicodeDecodeError:
        raise MalformedError("a name or a field of the form is no UTF-8") from None

"""A file's content as a stream of valid UTF-8, decompressed and bounded, whatever it is on disk."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import IO, Any, cast

from superinsight_sync.core.errors import ConfigError, DataError, SisError, TransientError
from superinsight_sync.records.encodings import SAMPLE_BYTES, likely_encoding, looks_like_utf16, marked
from superinsight_sync.sources.files.listing import UNKNOWN, FoundFile

CHUNK_BYTES = 1 << 20
_RATIO_FLOOR_BYTES = 100 * 10**6
_LINE_END = re.compile(rb"\r\n|\n|\r")
_UTF8_BOM = b"\xef\xbb\xbf"
_CORRUPT = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Limits:
    """What a file may grow to when it is decompressed. The ratio counts only beyond the first 100 MB."""

    max_decompressed_bytes: int = 100 * 10**9
    max_ratio: int = 1000

    def check(self, file: FoundFile, size_bytes: int) -> None:
        """Raises DataError if the file has grown too much."""
        steepest = self.max_ratio * max(file.size_bytes, 1) if file.size_bytes != UNKNOWN else size_bytes
        too_steep = size_bytes > _RATIO_FLOOR_BYTES and size_bytes > steepest
        if size_bytes > self.max_decompressed_bytes or too_steep:
            raise DataError(
                f"{file.size_bytes} bytes grow to more than {size_bytes} when decompressed",
                where=f"file '{file.name}'",
                hint="If this is no attack, raise max_decompressed or max_ratio of the connection",
            )


def open_file(file: FoundFile) -> IO[bytes]:
    """The file, opened. Raises AccessError, or TransientError if it is gone."""
    if isinstance(file, ArchivedFile):
        return open_entry(file)
    return file.place.open(file, jumps=False)


def open_seekable(file: FoundFile) -> IO[bytes]:
    """The file, opened for readers that jump. Raises ConfigError for one in an archive."""
    if isinstance(file, ArchivedFile):
        raise ConfigError(
            "a file of this format cannot be read inside a ZIP archive",
            where=f"file '{file.name}'",
            hint="Unpack it first",
        )
    return file.place.open(file, jumps=True)


def check_encoding(encoding: str) -> None:
    """Raises ConfigError for a name that is no text encoding."""
    try:
        codecs.getincrementaldecoder(encoding)
        with suppress(UnicodeError):
            b"a".decode(encoding)
    except LookupError as error:
        raise ConfigError(
            f"'{encoding}' is no text encoding", hint="Write one like utf-8, utf-16, gb18030, latin-1"
        ) from error


MAX_ENTRIES = 1000
_ENCRYPTED = 1


@dataclass(frozen=True)
class ArchivedFile(FoundFile):
    """A file in a ZIP archive, called `archive.zip!name`; size and time are the archive's."""

    entry: str = ""


def entries(archive: FoundFile, limits: Limits) -> list[ArchivedFile]:
    """The files of a ZIP archive, sorted by name, folders and hidden ones left out.

    Raises:
        DataError: if it is damaged, has more than 1,000 entries, or would grow past the limits.
        ConfigError: for an entry that is encrypted, there twice, an archive, or leads out of the archive.
    """
    where = f"file '{archive.name}'"
    with open_seekable(archive) as raw:
        try:
            with zipfile.ZipFile(raw) as opened:
                found = [i for i in opened.infolist() if not i.is_dir()]
        except (*_CORRUPT, ValueError, NotImplementedError):
            raise DataError(
                "it is damaged or no ZIP archive", where=where, hint="Have the file written again"
            ) from None
    if len(found) > MAX_ENTRIES:
        raise DataError(f"it holds {len(found)} files; {MAX_ENTRIES} are the most", where=where)
    limits.check(archive, sum(i.file_size for i in found))
    names = [i.filename for i in found]
    for info in found:
        path = PurePosixPath(info.filename)
        wrong = "is encrypted" if info.flag_bits & _ENCRYPTED else None
        if path.is_absolute() or ".." in path.parts or "\\" in info.orig_filename or ":" in path.parts[0]:
            wrong = "leads out of the archive"
        elif path.suffix.lower() == ".zip":
            wrong = "is an archive itself"
        elif names.count(info.filename) > 1:
            wrong = "is there twice"
        if wrong:
            raise ConfigError(
                f"'{info.filename}' in it {wrong}", where=where, hint="Unpack it first, or pack it otherwise"
            )
    kept = sorted(n for n in names if not any(p.startswith((".", "_")) for p in PurePosixPath(n).parts))
    known = {f.name: getattr(archive, f.name) for f in fields(archive)}
    return [ArchivedFile(**(known | {"name": f"{archive.name}!{n}", "entry": n})) for n in kept]


def open_entry(file: ArchivedFile) -> IO[bytes]:
    """A file of an archive, opened. Raises DataError if it is damaged."""
    raw = file.place.open(file, jumps=True)
    try:
        return cast(IO[bytes], _Entry(raw, zipfile.ZipFile(raw).open(file.entry)))
    except (*_CORRUPT, KeyError, ValueError, NotImplementedError, RuntimeError):
        raw.close()
        raise DataError(
            "it is damaged", where=f"file '{file.name}'", hint="Have the archive written again"
        ) from None


class _Entry(io.RawIOBase):
    """A file of an archive, which is closed with it."""

    def __init__(self, archive: IO[bytes], entry: IO[bytes]) -> None:
        super().__init__()
        self._archive = archive
        self._entry = entry

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._entry.read(size)

    def close(self) -> None:
        if not self.closed:
            self._entry.close()
            self._archive.close()
        super().close()


class TextStream(io.RawIOBase):
    """Reads a file as UTF-8 without a byte order mark.

    Args:
        compression: none, gzip, zstd, bz2 or xz.
        encoding: how the text is written.
        any_mark: takes text that a byte order mark says to be in another encoding.

    Raises:
        DataError: while reading, with file and position, if the content is damaged, is not in this
            encoding, or grows past the limits.
        ConfigError: for text whose mark tells another encoding, or that is UTF-16 and declared as something else.
    """

    def __init__(
        self, file: FoundFile, compression: str, encoding: str, limits: Limits, *, any_mark: bool = False
    ) -> None:
        super().__init__()
        self._any_mark = any_mark
        self.failure: SisError | None = None
        self._file = file
        self._limits = limits
        self._raw = open_file(file)
        self._bytes: Any = _decompressor(self._raw, compression)
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
        self._taken = 0
        self._lines = 0
        self._ahead = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._bytes.close()
            self._raw.close()
        super().close()

    def unread(self, data: bytes) -> None:
        """Puts bytes back in front of what comes next."""
        self._ahead = data + self._ahead

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        parts, missing = [self._ahead], size - len(self._ahead)
        self._ahead = b""
        while not self._ended and (size < 0 or missing > 0):
            try:
                part = self._next()
            except SisError as error:
                self.failure = error
                raise
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        if 0 <= size < len(data):
            data, self._ahead = data[:size], data[size:]
        return data

    def _next(self) -> bytes:
        """The next piece of text; an empty one says nothing about the end."""
        where = f"file '{self._file.name}'"
        try:
            chunk = bytes(self._bytes.read(CHUNK_BYTES))
        except _CORRUPT as error:
            raise DataError(f"it is damaged near byte {self._taken} of its content", where=where) from error
        except OSError as error:
            if error.errno is None:
                raise DataError(
                    f"it is damaged near byte {self._taken} of its content", where=where
                ) from error
            raise TransientError("it cannot be read", where=where) from error
        first = self._taken == 0
        self._ended = not chunk
        if first and not self._any_mark:
            self._check_mark(chunk)
        if not (self._is_utf8 and chunk.isascii() and not self._decoder.getstate()[0]):
            chunk = self._decode(chunk, first)
        else:
            self._taken += len(chunk)
            self._lines += chunk.count(b"\n")
        self._limits.check(self._file, self._taken)
        return chunk

    def _decode(self, chunk: bytes, first: bool) -> bytes:
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(chunk, final=self._ended)
        except UnicodeError as error:
            start = getattr(error, "start", 0) - pending
            at = max(0, start)
            raise DataError(
                f"byte {self._taken + start}, about line {self._lines + chunk[:at].count(10) + 1}, "
                f"is not {self._encoding}",
                where=f"file '{self._file.name}'",
                hint=_what_to_declare(
                    chunk[max(0, start - SAMPLE_BYTES // 2) :][:SAMPLE_BYTES], self._encoding
                ),
            ) from None
        self._taken += len(chunk)
        self._lines += chunk.count(b"\n") if self._is_utf8 else text.count("\n")
        if first:
            text = text.removeprefix("\ufeff")
            chunk = chunk.removeprefix(_UTF8_BOM)
        return chunk if self._is_utf8 else text.encode()

    def _check_mark(self, chunk: bytes) -> None:
        own = codecs.lookup(self._encoding).name
        found = marked(chunk)
        if found is None and not own.startswith(("utf-16", "utf-32")):
            found = looks_like_utf16(chunk)
        if found is not None and not own.startswith(found):
            if found == "utf-8" and self._is_utf8:
                return
            raise ConfigError(
                f"it is {found.upper()}, not {self._encoding}",
                where=f"file '{self._file.name}'",
                hint=f"Write format: {{encoding: {found}}}",
            )


def skip_lines(stream: TextStream, count: int) -> None:
    """Reads so many lines, whatever ends them."""
    while count > 0:
        data = stream.read(CHUNK_BYTES)
        if not data:
            return
        if data.endswith(b"\r"):
            data += stream.read(1)
        at = 0
        for found in _LINE_END.finditer(data):
            at, count = found.end(), count - 1
            if count == 0:
                break
        stream.unread(data[at:] if count == 0 else b"")


def text_start(file: FoundFile, compression: str, limits: Limits) -> bytes:
    """The first bytes of a text file, decompressed, as they are."""
    with TextStream(file, compression, "latin-1", limits, any_mark=True) as stream:
        return stream.read(2 * SAMPLE_BYTES).decode("utf-8", "ignore").encode("latin-1")[:SAMPLE_BYTES]


def _what_to_declare(sample: bytes, encoding: str) -> str:
    """What to do about bytes that are not in the encoding. The sample may begin within a character."""
    likely = likely_encoding(sample)
    if likely is None or codecs.lookup(likely.name) == codecs.lookup(encoding):
        return "Declare format.encoding, or have the file written again"
    return (
        f"It may be {likely.name}: write format: {{encoding: {likely.name}}}, or have the file written again"
    )


def _decompressor(raw: IO[bytes], compression: str) -> Any:
    match compression:
        case "gzip":
            return gzip.GzipFile(fileobj=raw)
        case "bz2":
            return bz2.BZ2File(raw)
        case "xz":
            return lzma.LZMAFile(raw)
        case "zstd":
            # zstandard's own reader takes a file that was cut off for a complete one.
            import pyarrow as pa

            return pa.CompressedInputStream(raw, "zstd")
    return raw

"""A file on a server as a Python file: a connection that drops is made again and reading goes on."""

import io
import shutil
import tempfile
import time
from typing import IO, cast

from superinsight_sync.core.errors import ConfigError, SisError, TransientError
from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.sources.files.listing import UNKNOWN, FoundFile, Seen
from superinsight_sync.sources.files.remote.server import Server, Stream

_BUFFER_BYTES = 1 << 20
_SKIP_BYTES = 256 << 10
_POLICY = RetryPolicy(retries=3, base_s=0.5)


class RemotePlace:
    """The files of a server.

    Args:
        max_spool_bytes: a file whose size is not known grows to no more than this on the local disk.
    """

    def __init__(self, server: Server, max_spool_bytes: int) -> None:
        self.server = server
        self._max_spool_bytes = max_spool_bytes

    def look(self, path: str) -> Seen | None:
        entry = self.server.entry(path)
        return None if entry is None or entry.is_folder else entry.seen

    def open(self, file: FoundFile, *, jumps: bool) -> IO[bytes]:
        raw = ResumingFile(self.server, file)
        opened = cast(IO[bytes], io.BufferedReader(raw, _BUFFER_BYTES))
        if not jumps or (file.size_bytes != UNKNOWN and self.server.jumps(file)):
            return opened
        with opened:
            return self._spooled(file, opened)

    def _spooled(self, file: FoundFile, opened: IO[bytes]) -> IO[bytes]:
        """The whole file in an unnamed file on the local disk, for servers that only read on."""
        free_bytes = shutil.disk_usage(tempfile.gettempdir()).free
        if file.size_bytes > free_bytes:
            raise ConfigError(
                f"its {file.size_bytes} bytes do not fit on the local disk, where they are put to be read",
                where=f"file '{file.name}'",
                hint="Set TMPDIR to a folder with more room",
            )
        spool = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115 - it is given away
        taken = 0
        try:
            while part := opened.read(_BUFFER_BYTES):
                taken += len(part)
                if taken > self._max_spool_bytes:
                    raise ConfigError(
                        f"it has more than {self._max_spool_bytes} bytes",
                        where=f"file '{file.name}'",
                        hint="Raise max_decompressed of the connection",
                    )
                spool.write(part)
            spool.seek(0)
        except OSError as error:
            spool.close()
            raise TransientError(
                f"the local disk fails ({type(error).__name__})", where=tempfile.gettempdir()
            ) from None
        except SisError:
            spool.close()
            raise
        return spool


class ResumingFile(io.RawIOBase):
    """Reads exactly the bytes of the file that was listed.

    Raises:
        TransientError: after three new connections, or if the file is no longer what was listed.
    """

    def __init__(self, server: Server, file: FoundFile) -> None:
        super().__init__()
        self._server = server
        self._file = file
        self._end = None if file.size_bytes == UNKNOWN else file.size_bytes
        self._at = 0
        self._stream: Stream | None = None
        self._stream_at = 0
        self._failures = 0
        self._started = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._end is not None

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._end is None:
            raise io.UnsupportedOperation("seek in a file of unknown size")
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        if start + offset < 0:
            raise ValueError("negative seek position")
        self._at = start + offset
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        if self._end is not None and self._at >= self._end:
            return 0
        wanted = len(buffer) if self._end is None else min(len(buffer), self._end - self._at)
        while True:
            try:
                data = self._read(wanted)
                if data or self._end is None:
                    break
                raise TransientError("it ended before its end", where=f"file '{self._file.name}'")
            except TransientError as error:
                self._drop()
                self._wait(error)
        self._at += len(data)
        self._stream_at += len(data)
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        if self._stream is not None and self._stream_at != self._at:
            self._skip()
        if self._stream is None:
            if self._failures:
                self._check_unchanged()
            self._stream = self._server.stream(self._file, self._at)
            self._stream_at = self._at
            self._started = True
        return self._stream.read(size)

    def _skip(self) -> None:
        """Gets to where reading goes on: by reading if that is near, else with another stream."""
        if self._stream is not None and 0 < self._at - self._stream_at <= _SKIP_BYTES:
            while self._stream_at < self._at:
                part = self._stream.read(self._at - self._stream_at)
                if not part:
                    break
                self._stream_at += len(part)
            if self._stream_at == self._at:
                return
        self._drop()

    def _wait(self, error: TransientError) -> None:
        """Before the next try. Raises the error if there is none."""
        if not self._started or self._failures >= _POLICY.retries or isinstance(error, ChangedError):
            raise error
        time.sleep(_POLICY.delay_s(self._failures))
        self._failures += 1

    def _check_unchanged(self) -> None:
        if self._file.changed():
            raise changed(self._file)

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class ChangedError(TransientError):
    """The file is no longer what was listed: reading on would mix two files."""


def changed(file: FoundFile) -> ChangedError:
    """The error for a file that is another one now."""
    return ChangedError("it changed while it was read", where=f"file '{file.name}'")

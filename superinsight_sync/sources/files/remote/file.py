"""A file on a server as a Python file: a connection that drops is made again and reading goes on."""

import io
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.core.stopping import pause
from superinsight_sync.sources.files.listing import UNKNOWN, FoundFile, Seen
from superinsight_sync.sources.files.remote.server import Scope, Server, Stream

_BUFFER_BYTES = 1 << 20
_HEADS_BYTES = 8 << 20
_SKIP_BYTES = 256 << 10
_POLICY = RetryPolicy(retries=3, base_s=0.5)


@dataclass(frozen=True)
class LocalRoom:
    """Where files are put that have to be fetched as a whole, and what one of unknown size may grow to."""

    folder: Path
    max_bytes: int


class RemotePlace:
    """The files of a server. What is cheap to keep while it is in use spares transfers: the starts of files,
    which are looked at several times, and the last file that had to be fetched as a whole.
    """

    def __init__(self, server: Server, room: LocalRoom) -> None:
        self.server = server
        self._room = room
        self._scope = Scope(self._forget)
        self._lock = threading.Lock()
        self._heads: dict[FoundFile, bytes] = {}
        self._spool: tuple[FoundFile, Any] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """As `Server.kept`."""
        with self.server.kept(), self._scope.kept():
            yield

    def look(self, path: str) -> Seen | None:
        entry = self.server.entry(path)
        return None if entry is None or entry.is_folder else entry.seen

    def open(self, file: FoundFile, *, jumps: bool) -> IO[bytes]:
        whole = _whole(file)
        if not jumps or (file.size_bytes != UNKNOWN and self.server.jumps(file)):
            raw = ResumingFile(self.server, whole, self._heads.get(whole, b""), self._remember)
            return cast(IO[bytes], io.BufferedReader(raw, _BUFFER_BYTES))
        known = self._spool
        spool = known[1] if known and known[0] == whole else self._fetched(whole)
        return cast(IO[bytes], Path(spool.name).open("rb"))

    def _remember(self, file: FoundFile, head: bytes) -> None:
        can_go_on = file.size_bytes != UNKNOWN and (file.version or file.modified_ns != UNKNOWN)
        with self._lock:
            if not self._scope.users or not can_go_on or len(head) <= len(self._heads.get(file, b"")):
                return
            self._heads[file] = head
            while sum(map(len, self._heads.values())) > _HEADS_BYTES:
                del self._heads[next(iter(self._heads))]

    def _forget(self) -> None:
        with self._lock:
            self._heads, self._spool = {}, None

    def _fetched(self, file: FoundFile) -> Any:
        """The whole file on the local disk, where it goes as soon as nobody has it open."""
        folder = self._room.folder
        folder.mkdir(parents=True, exist_ok=True)
        if file.size_bytes > shutil.disk_usage(folder).free:
            raise ConfigError(
                f"its {file.size_bytes} bytes do not fit on the local disk, where they are put to be read",
                where=f"file '{file.name}'",
                hint="Free some disk space, or set SIS_HOME to a bigger disk",
            )
        try:
            with ExitStack() as on_failure:
                spool = on_failure.enter_context(tempfile.NamedTemporaryFile(prefix="file-", dir=folder))
                with io.BufferedReader(ResumingFile(self.server, file), _BUFFER_BYTES) as opened:
                    self._copy(file, cast(IO[bytes], opened), cast(IO[bytes], spool))
                spool.flush()
                on_failure.pop_all()
        except OSError as error:
            raise TransientError(
                f"the local disk fails ({type(error).__name__})", where=str(folder)
            ) from None
        self._spool = (file, spool)
        return spool

    def _copy(self, file: FoundFile, opened: IO[bytes], spool: IO[bytes]) -> None:
        taken = 0
        while part := opened.read(_BUFFER_BYTES):
            taken += len(part)
            if taken > self._room.max_bytes:
                raise ConfigError(
                    f"it has more than {self._room.max_bytes} bytes",
                    where=f"file '{file.name}'",
                    hint="Raise max_decompressed of the connection",
                )
            spool.write(part)


def _whole(file: FoundFile) -> FoundFile:
    """The file itself, for a file of an archive the archive: what is fetched is the same for all of them."""
    return FoundFile(file.path, file.path, file.size_bytes, file.modified_ns, file.version, file.place)


class ResumingFile(io.RawIOBase):
    """Reads exactly the bytes of the file that was listed.

    Args:
        head: its first bytes, if they are known already.
        remember: is given its first bytes when it is closed.

    Raises:
        TransientError: after three new connections, or if the file is no longer what was listed.
    """

    def __init__(
        self,
        server: Server,
        file: FoundFile,
        head: bytes = b"",
        remember: Callable[[FoundFile, bytes], None] | None = None,
    ) -> None:
        super().__init__()
        self._head = head
        self._remember = remember
        self._read_head = bytearray(head)
        self._server = server
        self._file = file
        self._end = None if file.size_bytes == UNKNOWN else file.size_bytes
        self._at = 0
        self._stream: Stream | None = None
        self._stream_at = 0
        self._failures = 0
        self._started = bool(head)

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
            if self._remember is not None:
                self._remember(self._file, bytes(self._read_head))
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        if self._end is not None and self._at >= self._end:
            return 0
        if self._at < len(self._head):
            data = self._head[self._at : self._at + len(buffer)]
            buffer[: len(data)] = data
            self._at += len(data)
            return len(data)
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
        if self._at == len(self._read_head) < _BUFFER_BYTES and self._remember is not None:
            self._read_head += data
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
        if not self._started or isinstance(error, ChangedError):
            raise error
        if self._failures >= _POLICY.retries:
            error.retried = True
            raise error
        pause(_POLICY.wait_s(self._failures, error))
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

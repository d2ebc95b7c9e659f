"""What a protocol gives: listing, looking, and reading from an offset. Everything else is built on these."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from superinsight_sync.core.errors import TransientError
from superinsight_sync.sources.files.listing import FoundFile, Seen

REACH = "Check that the server runs and can be reached from here"
C = TypeVar("C")


@dataclass(frozen=True)
class Entry:
    """A file or folder. `path` is relative to the source's folder and has no links in it; `seen` is None
    where a listing does not say it."""

    name: str
    path: str
    is_folder: bool = False
    seen: Seen | None = None


class Stream(Protocol):
    """A file's bytes from an offset. A connection that fails raises TransientError, at any time."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        ...

    def close(self) -> None:
        """Lets go of the connection, also in the middle. Never raises."""
        ...


class Server(Protocol):
    """A server's folder. Usable from threads. Errors are mapped and hold no secret."""

    where: str
    """Protocol, host and port, for people."""

    def kept(self) -> AbstractContextManager[None]:
        """Within it connections are used again; when the last one leaves it, they are closed."""
        ...

    def entry(self, path: str) -> Entry | None:
        """A file or folder below the source's folder ('' is the folder itself); None if it is not there."""
        ...

    def entries(self, folder: str, *, deep: bool) -> Iterator[Entry]:
        """What is in a folder. With `deep` a server that `lists_deep` gives all files below."""
        ...

    @property
    def lists_deep(self) -> bool: ...

    def stream(self, file: FoundFile, offset: int) -> Stream:
        """The file from a byte on. Raises TransientError also if it is no longer what was listed."""
        ...

    def jumps(self, file: FoundFile) -> bool:
        """Whether reading a file from an offset is cheap."""
        ...

    def warnings(self) -> list[str]:
        """What a person should change: the account can write."""
        ...


class Scope:
    """Counts who is within it; when the last one leaves, `emptied` is called."""

    def __init__(self, emptied: Callable[[], None]) -> None:
        self._emptied = emptied
        self._lock = threading.Lock()
        self.users = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self._lock:
            self.users += 1
        try:
            yield
        finally:
            with self._lock:
                self.users -= 1
                last = not self.users
            if last:
                self._emptied()


class Connections(Generic[C]):
    """Connections to one server, each lent to one at a time, open only while somebody is within `kept`."""

    def __init__(
        self, connect: Callable[[], C], close: Callable[[C], None], alive: Callable[[C], bool]
    ) -> None:
        self._connect = connect
        self._close = close
        self._alive = alive
        self._lock = threading.Lock()
        self._idle: list[C] = []
        self._scope = Scope(self._close_idle)
        self.kept = self._scope.kept

    def _close_idle(self) -> None:
        with self._lock:
            unused, self._idle = self._idle, []
        for connection in unused:
            self._close(connection)

    def take(self) -> C:
        """One that works; made if there is none."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            if self._alive(connection):
                return connection
            self._close(connection)

    def give(self, connection: C, *, usable: bool = True) -> None:
        """Takes one back."""
        with self._lock:
            keep = usable and self._scope.users > 0
            if keep:
                self._idle.append(connection)
        if not keep:
            self._close(connection)

    @contextmanager
    def lent(self) -> Iterator[C]:
        """One for a short while; it is not used again after an error."""
        connection = self.take()
        usable = False
        try:
            yield connection
            usable = True
        finally:
            self.give(connection, usable=usable)


def lost(where: str, error: Exception) -> TransientError:
    """The connection failed."""
    return TransientError(f"the connection failed ({type(error).__name__})", where=where, hint=REACH)


def unknown_host(where: str) -> TransientError:
    """The name of the host has no address."""
    return TransientError(
        "the host is not known",
        where=where,
        hint="Check the name of the host, and that name look-up works here",
    )

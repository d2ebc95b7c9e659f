"""Which files a stream is made of. Nothing outside the source's folder can be reached."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import AccessError, ConfigError, TransientError
from superinsight_sync.core.stopping import pause
from superinsight_sync.model.read import ReadRequest

FILE = "_sis_file"
MODIFIED_AT = "_sis_file_modified_at"
PUT_NS = "put_ns"
"""In a position: the newest `put_ns` of the files that have been read."""
_SAME_TIME_NS = 10**9
"""File systems may give the same time to what happens within so long."""
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", "~")
_WILD = frozenset("*?[")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_WAIT_S = 10.0
UNKNOWN = -1
"""The size or time of a file whose server does not tell it."""


@dataclass(frozen=True)
class Seen:
    """What a place says of a file: bytes, nanoseconds since 1970, and a mark that differs with the content."""

    size_bytes: int
    modified_ns: int
    version: str = ""


class Place(Protocol):
    """Where files are. All methods may raise TransientError, AccessError and ConfigError."""

    def look(self, path: str) -> Seen | None:
        """A file as it is now; None if it is not there."""
        ...

    def open(self, file: "FoundFile", *, jumps: bool) -> IO[bytes]:
        """A file to read from its start; with `jumps`, one that can seek."""
        ...


@dataclass(frozen=True, order=True)
class FoundFile:
    """A file as it was when it was listed. `name` is relative to the source's folder, with slashes; `path` is
    how its place calls it."""

    name: str
    path: str
    size_bytes: int
    modified_ns: int
    version: str
    place: Place = field(compare=False)
    put_ns: int = field(default=UNKNOWN, compare=False)
    """When it was put where it is, or changed: nanoseconds since 1970 by the clock of its place."""

    @property
    def modified_at(self) -> datetime:
        """The modification time, rounded down to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.modified_ns // 1000)

    def changed(self) -> bool:
        """Whether the file is no longer what it was when it was listed."""
        return self.place.look(self.path) != Seen(self.size_bytes, self.modified_ns, self.version)


class LocalFiles:
    """Files of this machine's file system. What tells versions apart is the time of the last change of content, name
    or rights (ctime), which nobody can set: it also tells content of the same size and modification time."""

    def look(self, path: str) -> Seen | None:
        try:
            stat = Path(path).stat()
        except FileNotFoundError:
            return None
        return Seen(stat.st_size, stat.st_mtime_ns, str(stat.st_ctime_ns))

    def open(self, file: FoundFile, *, jumps: bool) -> IO[bytes]:
        try:
            return Path(file.path).open("rb")
        except PermissionError as error:
            raise AccessError("it may not be read", where=f"file '{file.name}'") from error
        except OSError as error:
            raise TransientError("it cannot be opened", where=f"file '{file.name}'") from error


def is_asked_for(file: FoundFile, request: ReadRequest) -> bool:
    """Whether a file's modification time is within the bounds of a request by that cursor."""
    if request.stream.sync.cursor != MODIFIED_AT:
        return True
    at, window, after = file.modified_at, request.window, request.after
    return (window is None or window.start <= at < window.end) and (after is None or at >= after)


def reaching_back(files: Iterable[FoundFile], request: ReadRequest) -> ReadRequest:
    """The request, from the oldest modification time of the files that were put there since the last read if that is
    before its bound. All files from there on are read, since what has landed is told apart from there on."""
    seen_ns = (request.position or {}).get(PUT_NS)
    if request.after is None or seen_ns is None:
        return request
    put = [f.modified_at for f in files if f.put_ns >= seen_ns - _SAME_TIME_NS]
    return replace(request, after=min([request.after, *put]))


def token_of(files: Iterable[FoundFile]) -> str:
    """A hash of names, sizes, modification times and versions: equal means that nothing was touched."""
    digest = hashlib.sha256()
    for file in sorted(files):
        version = f"\0{file.version}" if file.version else ""
        line = f"{file.name}\0{file.size_bytes}\0{file.modified_ns}{version}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class Folder:
    """A source's folder, or the one file that its path names.

    Args:
        path: the folder or file.
        settle: a file modified more recently than this is taken to be still in the making.

    Raises:
        ConfigError: if the path is not there.
    """

    def __init__(self, path: Path, settle: timedelta = timedelta(0)) -> None:
        if not path.exists():
            raise ConfigError(f"'{path}' does not exist", hint="Correct `path` of the connection")
        self.only = path.name if path.is_file() else None
        self.root = path.resolve().parent if self.only else path.resolve()
        self.settle = settle

    def files(self, pattern: str, *, leave_young: bool) -> tuple[FoundFile, ...]:
        """The finished files that match a name or glob, sorted by name; see `settled`.

        Without wildcards any file can be named; with them, hidden (`.x`, `_x`) and unfinished ones
        (`*.tmp`, `*.part`, …) are left alone.

        Raises:
            ConfigError: for a pattern or symbolic link that leads out of the folder.
            TransientError: if what matches is still being written.
        """
        check_pattern(pattern, self.only)
        return settled(lambda: self._matches(pattern), pattern, self.settle, leave_young=leave_young)

    def everything(self) -> tuple[FoundFile, ...]:
        """All files of the folder as they are now."""
        return tuple(sorted(self._matches(self.only or "**/*")))

    def _matches(self, pattern: str) -> Iterator[FoundFile]:
        literal = self.root / pattern
        named = not is_glob(pattern) or literal.is_file()
        seen: set[Path] = set()
        try:
            if not named:
                self._check_readable(pattern)
            paths = [literal] if named else sorted(self.root.glob(pattern), key=lambda p: p.is_symlink())
            for path in paths:
                name = path.relative_to(self.root).as_posix()
                if not path.is_file() or (not named and is_hidden(name)):
                    continue
                target = self._target(path, name)
                if target not in seen:
                    seen.add(target)
                    stat = target.stat()
                    at, put_ns = stat.st_mtime_ns, stat.st_ctime_ns
                    yield FoundFile(name, str(target), stat.st_size, at, str(put_ns), _LOCAL, put_ns)
        except PermissionError as error:
            raise AccessError(
                f"'{error.filename}' may not be read", hint="Give this process the right to read it"
            ) from error
        except FileNotFoundError as error:
            raise TransientError(f"'{error.filename}' vanished while the folder was listed") from error

    def _check_readable(self, pattern: str) -> None:
        """Raises PermissionError for a folder that a glob would pass over in silence."""
        parts = PurePosixPath(pattern).parts[:-1]
        fixed = tuple(takewhile(lambda part: not is_glob(part), parts))
        base = self.root.joinpath(*fixed)
        if base.is_dir():
            for _, inner, _ in os.walk(base, onerror=_raise):
                inner[:] = [i for i in inner if not i.startswith((".", "_"))]
                if fixed == parts:
                    break

    def _target(self, path: Path, name: str) -> Path:
        try:
            target = path.resolve(strict=True)
        except RuntimeError as error:
            raise ConfigError(f"'{name}' is a symbolic link to itself", hint="Remove it") from error
        if not target.is_relative_to(self.root):
            raise ConfigError(
                f"'{name}' is a symbolic link that leads out of the source's folder",
                hint="Remove it, or declare its target's folder as a source of its own",
            )
        return target


_LOCAL = LocalFiles()


class Files(Protocol):
    """A source's folder, on this machine or on a server."""

    def files(self, pattern: str, *, leave_young: bool) -> tuple[FoundFile, ...]:
        """The finished files that match a name or glob, sorted by name; see `settled`."""
        ...

    def everything(self) -> tuple[FoundFile, ...]:
        """All files as they are now."""
        ...


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards."""
    return bool(_WILD.intersection(pattern))


def settled(
    look: Callable[[], Iterable[FoundFile]], pattern: str, settle: timedelta, *, leave_young: bool
) -> tuple[FoundFile, ...]:
    """The files that nobody seems to write any more, sorted.

    Files that were modified less than `settle` ago are waited for, at most so long, and never longer than 10 s:
    a longer `settle` leaves them alone.

    Args:
        look: lists the files.
        leave_young: such files are left for the next read as long as there are others.

    Raises:
        TransientError: if a file is still being written after that, or if there are others only that were
            modified lately.
    """
    files = sorted(look())
    young = [f for f in files if _wait_s(f, settle) > 0]
    wait_s = max((_wait_s(f, settle) for f in young), default=0.0)
    if young and wait_s <= _LONGEST_WAIT_S and not (leave_young and len(young) < len(files)):
        pause(wait_s)
        before = {f.name: f for f in files}
        files = sorted(look())
        young = [f for f in files if before.get(f.name) != f and (f.name in before or _wait_s(f, settle) > 0)]
        growing = [f for f in young if f.name in before]
        if growing and not leave_young:
            raise TransientError(
                "it is still being written",
                where=f"file '{growing[0].name}'",
                hint="It is read once it is left alone for `settle`; `settle: 0s` reads it as it is",
            )
    kept = tuple(f for f in files if f not in young)
    if files and not kept:
        raise TransientError(
            f"every file of '{pattern}' was modified less than {settle.total_seconds():g} s ago",
            hint="They are read once `settle` has passed",
        )
    return kept


def _wait_s(file: FoundFile, settle: timedelta) -> float:
    """How long until a file is not young any more. A time far in the future says nothing."""
    if not settle or file.modified_ns == UNKNOWN:
        return 0.0
    age = utc_now() - file.modified_at
    return (settle - age).total_seconds() if abs(age) < settle else 0.0


def check_pattern(pattern: str, only: str | None) -> None:
    """Raises ConfigError for a pattern that is none, leads out, or is not the source's `only` file."""
    path = PurePosixPath(pattern)
    if not pattern.strip() or path.is_absolute() or ".." in path.parts or "\\" in pattern or "\0" in pattern:
        raise ConfigError(
            f"path '{pattern}' does not stay in the source's folder",
            hint="Write a file name or glob below it, such as 'orders/*.csv', without '..' or a leading '/'",
        )
    if any("**" in part and part != "**" for part in path.parts):
        raise ConfigError(
            f"path '{pattern}' is no glob", hint="'**' stands alone between slashes: 'a/**/*.csv'"
        )
    if only and pattern != only:
        raise ConfigError(f"path '{pattern}' is not the file the source names", hint=f"Write path: {only}")


def _raise(error: OSError) -> None:
    raise error


def is_hidden(name: str) -> bool:
    """Whether wildcards pass a file over: `.x`, `_x` or in such a folder, and unfinished ones."""
    parts = PurePosixPath(name).parts
    return any(p.startswith((".", "_")) for p in parts) or parts[-1].endswith(_UNFINISHED)

"""Which files a stream is made of. Nothing outside the source's folder can be reached."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import AccessError, ConfigError, TransientError
from superinsight_sync.sources.protocol import ReadRequest

FILE = "_sis_file"
MODIFIED_AT = "_sis_file_modified_at"
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", "~")
_WILD = frozenset("*?[")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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

    @property
    def modified_at(self) -> datetime:
        """The modification time, rounded down to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.modified_ns // 1000)

    def changed(self) -> bool:
        """Whether the file is no longer what it was when it was listed."""
        return self.place.look(self.path) != Seen(self.size_bytes, self.modified_ns, self.version)


class LocalFiles:
    """Files of this machine's file system."""

    def look(self, path: str) -> Seen | None:
        try:
            stat = Path(path).stat()
        except FileNotFoundError:
            return None
        return Seen(stat.st_size, stat.st_mtime_ns)

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

    def files(self, pattern: str) -> tuple[FoundFile, ...]:
        """The finished files that match a name or glob, sorted by name.

        Without wildcards any file can be named; with them, hidden (`.x`, `_x`) and unfinished ones
        (`*.tmp`, `*.part`, …) are left alone.

        Raises:
            ConfigError: for a pattern or symbolic link that leads out of the folder.
            TransientError: if all that match are still being written.
        """
        check_pattern(pattern, self.only)
        return settled(self._matches(pattern), pattern, self.settle)

    def everything(self) -> tuple[FoundFile, ...]:
        """All finished files of the folder."""
        return self.files(self.only or "**/*")

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
                    yield FoundFile(name, str(target), stat.st_size, stat.st_mtime_ns, "", _LOCAL)
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

    def files(self, pattern: str) -> tuple[FoundFile, ...]:
        """The finished files that match a name or glob, sorted by name."""
        ...

    def everything(self) -> tuple[FoundFile, ...]:
        """All finished files."""
        ...


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards."""
    return bool(_WILD.intersection(pattern))


def settled(found: Iterable[FoundFile], pattern: str, settle: timedelta) -> tuple[FoundFile, ...]:
    """Those that were not modified lately, sorted. Raises TransientError if there are others only."""
    files = sorted(found)
    now = utc_now()
    kept = [f for f in files if not settle or f.modified_ns == UNKNOWN or now - f.modified_at >= settle]
    if files and not kept:
        raise TransientError(
            f"every file of '{pattern}' was modified less than {settle.total_seconds():g} s ago",
            hint="They are read once `settle` has passed",
        )
    return tuple(kept)


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

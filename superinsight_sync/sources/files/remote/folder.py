"""Which files of a server match a pattern. Nothing outside the source's folder can be reached."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from fnmatch import fnmatchcase

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.sources.files.listing import (
    UNKNOWN,
    FoundFile,
    Seen,
    check_pattern,
    is_glob,
    is_hidden,
    settled,
)
from superinsight_sync.sources.files.remote.file import RemotePlace
from superinsight_sync.sources.files.remote.server import Entry

State = tuple[str, ...]
MAX_FOLDERS = 100_000
"""More folders below one pattern are taken for a loop."""


class RemoteFolder:
    """A source's folder on a server, or the one file that its path names.

    Args:
        only: the name of that file.
        names: the files there are, where the server cannot list them.
    """

    def __init__(
        self, place: RemotePlace, settle: timedelta, *, only: str | None, names: Sequence[str] | None = None
    ) -> None:
        self.only = only
        self._place = place
        self._server = place.server
        self._settle = settle
        self._names = names

    @property
    def where(self) -> str:
        """The server, for people."""
        return self._server.where

    def kept(self) -> AbstractContextManager[None]:
        """As `Server.kept`."""
        return self._place.kept()

    def warnings(self) -> list[str]:
        """As `Server.warnings`."""
        return self._server.warnings()

    def files(self, pattern: str, *, leave_young: bool) -> tuple[FoundFile, ...]:
        """As `listing.Folder.files`."""
        check_pattern(pattern, self.only)
        if any(ord(c) < 32 for c in pattern):
            raise ConfigError("`path` holds control characters", hint="Write a file name or glob")
        with self._server.kept():
            return settled(lambda: self._found(pattern), pattern, self._settle, leave_young=leave_young)

    def everything(self) -> tuple[FoundFile, ...]:
        """As `listing.Folder.everything`."""
        with self._server.kept():
            return tuple(sorted(self._found(self.only or "**/*")))

    def _found(self, pattern: str) -> Iterator[FoundFile]:
        seen: set[str] = set()
        for name, entry in self._matches(pattern):
            if entry.path in seen:
                continue
            seen.add(entry.path)
            looked = entry if entry.seen is not None else self._server.entry(entry.path)
            if looked is not None and not looked.is_folder:
                at = looked.seen or Seen(UNKNOWN, UNKNOWN)
                yield FoundFile(name, entry.path, at.size_bytes, at.modified_ns, at.version, self._place)

    def _matches(self, pattern: str) -> Iterator[tuple[str, Entry]]:
        parts = [p for p in pattern.split("/") if p not in ("", ".")]
        if not is_glob(pattern) or "[" in pattern:
            path = "/".join(parts)
            entry = self._server.entry(path)
            if entry is not None and not entry.is_folder:
                yield path, entry
                return
            if not is_glob(pattern):
                return
        if self._names is not None:
            found = [(n, Entry(n.rpartition("/")[2], n)) for n in self._names]
            yield from ((n, e) for n, e in found if not is_hidden(n) and matches(n.split("/"), tuple(parts)))
            return
        fixed = next(i for i, p in enumerate(parts) if is_glob(p))
        folder, rest = "/".join(parts[:fixed]), parts[fixed:]
        if self._server.lists_deep:
            walk = self._listed(folder, tuple(rest))
        else:
            walk = self._walked(folder, folder, frozenset({tuple(rest)}), set())
        found = [(n, e) for n, e in walk if not is_hidden(n)]
        yield from sorted(found, key=lambda pair: (pair[0] != pair[1].path, pair[0]))

    def _listed(self, folder: str, rest: State) -> Iterator[tuple[str, Entry]]:
        prefix = len(folder) + 1 if folder else 0
        for entry in self._server.entries(folder, deep=len(rest) > 1):
            if not entry.is_folder and matches(entry.path[prefix:].split("/"), rest):
                yield entry.path, entry

    def _walked(
        self, name: str, folder: str, states: frozenset[State], been: set[tuple[str, frozenset[State]]]
    ) -> Iterator[tuple[str, Entry]]:
        """Folder by folder, into those only below which something can match."""
        if (folder, states) in been:
            return
        if len(been) >= MAX_FOLDERS:
            raise ConfigError(f"there are more than {MAX_FOLDERS} folders", hint="Narrow `path`")
        been.add((folder, states))
        for entry in self._server.entries(folder, deep=False):
            inner = f"{name}/{entry.name}" if name else entry.name
            left = _after(states, entry.name)
            if entry.is_folder:
                if left - {()} and not is_hidden(entry.name):
                    yield from self._walked(inner, entry.path, left, been)
            elif () in left:
                yield inner, entry


def matches(parts: Sequence[str], pattern: State) -> bool:
    """Whether a path matches a pattern; `**` stands for any number of folders."""
    states = frozenset({pattern})
    for part in parts:
        states = _after(states, part)
    return () in states


def _after(states: frozenset[State], part: str) -> frozenset[State]:
    """What of a pattern is still to be matched, in each way it can be, once a part of the path was."""
    left: set[State] = set()
    for state in states:
        while state and state[0] == "**":
            left.add(state)
            state = state[1:]
        if state and fnmatchcase(part, state[0]):
            left.add(state[1:])
    return frozenset(left)

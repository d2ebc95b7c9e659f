"""What streams a folder's files could be."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from superinsight_sync.core.errors import AccessError, ConfigError, DataError
from superinsight_sync.model.declaration import FormatSpec
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.model.types import type_text
from superinsight_sync.sources.files.listing import FILE, FoundFile
from superinsight_sync.sources.files.reading import Table
from superinsight_sync.sources.files.streams import Limits
from superinsight_sync.sources.naming import as_name, untaken
from superinsight_sync.sources.protocol import FoundStream

_MAX_LOOK_BYTES = 32 << 20
_Columns = tuple[ColumnInfo, ...]


def discover(files: Sequence[FoundFile], limits: Limits) -> Iterator[FoundStream]:
    """A stream for each group of files of one folder, extension and set of columns.

    Files that are no table of a known format are left out. A JSON file of more than 32 MB is proposed
    without columns, since they are known only when all of it was read.
    """
    groups: dict[tuple[str, str], dict[_Columns, list[FoundFile]]] = {}
    for file in files:
        columns = _columns(file, limits)
        if columns is not None:
            path = PurePosixPath(file.name)
            folder = "" if str(path.parent) == "." else f"{path.parent}/"
            names = tuple(ColumnInfo(c.name, "") for c in columns)
            place = groups.setdefault((folder, "".join(path.suffixes[-2:])), {})
            same = next((k for k in place if tuple(ColumnInfo(c.name, "") for c in k) == names), columns)
            place.setdefault(same, []).append(file)
    taken: set[str] = set()
    for (folder, suffix), by_columns in sorted(groups.items()):
        everything = [f.name for members in by_columns.values() for f in members]
        for columns, members in by_columns.items():
            for value in _paths(folder, suffix, [f.name for f in members], everything):
                name = untaken(_stream_name(value), taken)
                yield FoundStream(name=name, place="path", value=value, columns=columns)


def _columns(file: FoundFile, limits: Limits) -> _Columns | None:
    if file.size_bytes > _MAX_LOOK_BYTES and ".json" in file.name.lower():
        return ()
    try:
        table = Table([file], FormatSpec(), limits, None)
    except (ConfigError, DataError, AccessError):
        return None
    found = (c for c in table.columns if c.name != FILE)
    return tuple(ColumnInfo(c.name, type_text(c.arrow), c.source_type) for c in found) or None


def _paths(folder: str, suffix: str, members: list[str], everything: list[str]) -> list[str]:
    """The shortest glob that matches the members and nothing else of their kind; else each by its name."""
    if len(members) == 1 and len(everything) == 1 and not folder:
        return members
    for prefix in (folder, _common_start(members)):
        matched = [n for n in everything if n.startswith(prefix)]
        if len(members) > 1 and sorted(matched) == sorted(members) and not re.search(r"[*?\[]", prefix):
            return [f"{prefix}*{suffix}"]
    return members


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    same = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, len(first))]


def _stream_name(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return as_name(name.partition(".")[0].partition("*")[0] or folder or "files", "files")

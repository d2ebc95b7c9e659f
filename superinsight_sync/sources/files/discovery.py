"""What streams a folder's files could be."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from superinsight_sync.core.errors import AccessError, ConfigError, DataError
from superinsight_sync.model.declaration import FormatSpec, StreamSpec
from superinsight_sync.model.naming import as_name, untaken
from superinsight_sync.model.read import FoundStream, ReadRequest
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.model.types import type_text
from superinsight_sync.sources.files.detection import FAMILIES, likely
from superinsight_sync.sources.files.folders import folder_values
from superinsight_sync.sources.files.listing import FILE, FoundFile
from superinsight_sync.sources.files.proposals import Proposal, joined, proposal_of
from superinsight_sync.sources.files.reading import Table
from superinsight_sync.sources.files.streams import Limits

_MAX_LOOK_BYTES = 32 << 20
_GUESS = "encoding {} is a guess by its bytes: look at its text before you trust it"
_ANY = StreamSpec(name="found", path="any")
_Columns = tuple[ColumnInfo, ...]


@dataclass(frozen=True)
class _Look:
    """What one file is. `columns` are what files of one stream share, `encoding` what has to be declared."""

    columns: _Columns
    encoding: str | None = None
    is_guess: bool = False
    proposal: Proposal = field(default_factory=Proposal)
    folders: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        return (self.encoding, self.folders, *(c.name for c in self.columns))


def discover(files: Sequence[FoundFile], limits: Limits) -> Iterator[FoundStream]:
    """A stream for each group of files of one folder, extension, encoding and set of columns.

    A file that cannot be read is told with the reason. A JSON file of more than 32 MB is proposed without
    columns, since they are known only when all of it was read.
    """
    groups: dict[tuple[str, str], dict[tuple[object, ...], tuple[_Look, list[FoundFile]]]] = {}
    taken: set[str] = set()
    looks: dict[str, _Look] = {}
    for file in files:
        try:
            look = _look(file, limits)
        except (ConfigError, DataError, AccessError) as error:
            reason = f"{error.message}. {error.hint}".rstrip(". ")
            name = untaken(_stream_name(file.name), taken)
            yield FoundStream(name=name, place="path", value=file.name, problem=reason)
            continue
        path = PurePosixPath(file.name)
        folder = "" if str(path.parent) == "." else f"{path.parent}/"
        if look.folders:  # all of them are one table
            folder = folder.partition("=")[0].rpartition("/")[0]
            folder = f"{folder}/" if folder else ""
        place = groups.setdefault((folder, "".join(path.suffixes[-2:])), {})
        place.setdefault(look.key, (look, []))[1].append(file)
        looks[file.name] = look
    for (folder, suffix), by_look in sorted(groups.items()):
        everything = [f.name for _, members in by_look.values() for f in members]
        for look, members in by_look.values():
            for value in _paths(folder, suffix, [f.name for f in members], everything):
                its = [looks[m.name] for m in members if value in (m.name,)] or [
                    looks[m.name] for m in members
                ]
                name = untaken(_stream_name(value), taken)
                yield _found(name, value, look, joined([i.proposal for i in its]))


def _found(name: str, value: str, look: _Look, proposed: Proposal) -> FoundStream:
    form: dict[str, Any] = {"encoding": look.encoding} if look.encoding else {}
    if look.folders:
        form["folders"] = True
    if proposed.format_columns:
        form["columns"] = proposed.format_columns
    types = proposed.format_columns
    remarks = [_GUESS.format(look.encoding) if look.is_guess else "", proposed.remark]
    whole = proposed.whole
    return FoundStream(
        name=name,
        place="path",
        value=value,
        columns=tuple(replace(c, type=types.get(c.name, c.type)) for c in look.columns),
        primary_key=(proposed.key,) if proposed.key and whole else (),
        cursor=proposed.cursor if whole else None,
        format=form,
        remark="; ".join(r for r in remarks if r),
    )


def _look(file: FoundFile, limits: Limits) -> _Look:
    """Raises ConfigError, DataError or AccessError for a file that is no table of a known format."""
    if file.size_bytes > _MAX_LOOK_BYTES and ".json" in file.name.lower():
        return _Look(())
    try:
        return _looked(file, FormatSpec(), limits)
    except (ConfigError, DataError):
        found = likely(file, limits)
        if found is None or found.name == "utf-8":
            raise
    looked = _looked(file, FormatSpec(encoding=found.name), limits)
    return replace(looked, encoding=found.name, is_guess=not found.certain)


def _looked(file: FoundFile, spec: FormatSpec, limits: Limits) -> _Look:
    table = Table([file], spec, limits, None)
    found = (c for c in table.columns if c.name != FILE)
    columns = tuple(ColumnInfo(c.name, type_text(c.arrow), c.source_type) for c in found)
    if not columns:
        raise ConfigError("it holds no columns")
    delimited = all(FAMILIES[m.format.type] == "delimited" for m in table.members)
    proposal = proposal_of(table, ReadRequest(_ANY)) if delimited else Proposal()
    return _Look(columns, proposal=proposal, folders=tuple(folder_values(file.name)))


def _paths(folder: str, suffix: str, members: list[str], everything: list[str]) -> list[str]:
    """The shortest glob that matches the members and nothing else of their kind; else each by its name."""
    if len(members) == 1 and len(everything) == 1 and not folder:
        return members
    if len(members) == len(everything) and any("=" in n for n in members):
        return [f"{folder}**/*{suffix}"]
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

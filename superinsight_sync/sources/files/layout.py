"""What a family of formats gives once it has looked at all files of a stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import FormatSpec
from superinsight_sync.model.naming import check_names
from superinsight_sync.model.types import arrow_type
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.listing import FoundFile
from superinsight_sync.sources.files.streams import Limits

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FileFormat:
    """How one file is written, everything decided."""

    type: str
    compression: str = "none"
    encoding: str = "utf-8"
    delimiter: str = ","


@dataclass(frozen=True)
class Member:
    """A file of a stream and its format."""

    file: FoundFile
    format: FileFormat

    @property
    def where(self) -> str:
        return f"file '{self.file.name}'"


@dataclass(frozen=True)
class Reading:
    """What the readers of all formats are told."""

    members: Sequence[Member]
    spec: FormatSpec
    limits: Limits
    landed: "pa.Schema | None" = None
    """The columns of the stream's table."""

    def declared(self) -> dict[str, "pa.DataType"]:
        """The declared column types. Raises ConfigError for a text that is no type."""
        return {n: _declared_type(n, t) for n, t in (self.spec.columns or {}).items()}


@dataclass(frozen=True)
class FileColumn:
    """A column over all files of a stream."""

    name: str
    arrow: "pa.DataType"
    source_type: str


class Layout(Protocol):
    """A stream's columns over all its files, and its rows."""

    columns: tuple[FileColumn, ...]

    def batches(self, member: Member, rejects: Rejects, batch_rows: int) -> Iterator["pa.RecordBatch"]:
        """The file's rows with all of `columns`, in the file's order. A column it does not have is NULL."""
        ...

    def rows(self, member: Member) -> int | None:
        """How many rows the file has, where it says so itself."""
        ...


def merge_names(members: Sequence[tuple[Member, Sequence[str]]]) -> tuple[str, ...]:
    """The union of the files' column names in order of appearance. Raises ConfigError naming both files
    if two differ only by case."""
    first: dict[str, tuple[str, str]] = {}
    for member, names in members:
        check_names(names, member.where)
        for name in names:
            known, where = first.setdefault(name.casefold(), (name, member.where))
            if known != name:
                raise ConfigError(
                    f"column '{known}' is called '{name}' in {member.where}",
                    where=where,
                    hint="Names must differ by more than upper and lower case",
                )
    return tuple(name for name, _ in first.values())


def _declared_type(name: str, text: str) -> "pa.DataType":
    try:
        return arrow_type(text)
    except ConfigError as error:
        raise error.at(f"format.columns, column '{name}'") from None

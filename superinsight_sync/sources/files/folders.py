"""Folders whose names are columns: `year=2023/month=01/a.csv`, as Hive and Spark write them."""

from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.records.cells import cast_texts
from superinsight_sync.sources.files.layout import FileColumn, Member

_NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_values(name: str) -> dict[str, str | None]:
    """Column → value, of a file's name with its folders."""
    pairs = (part.partition("=") for part in name.split("/")[:-1] if "=" in part)
    return {unquote(key): None if value == _NULL else unquote(value) for key, _, value in pairs if key}


class FolderColumns:
    """The columns that the folders of a stream's files are.

    Raises ConfigError for one that the files have too, and for a value that is not of the declared type.
    """

    def __init__(
        self, members: Sequence[Member], declared: dict[str, pa.DataType], taken: Sequence[FileColumn]
    ) -> None:
        self._values = {m.file.name: folder_values(m.file.name) for m in members}
        names = dict.fromkeys(name for values in self._values.values() for name in values)
        inside = {c.name.casefold() for c in taken}
        for name in names:
            if name.casefold() in inside:
                raise ConfigError(
                    f"'{name}' is a folder's column and one of the files, too",
                    hint="Write format: {folders: false}, or have the files written without it",
                )
        self.columns = tuple(FileColumn(n, declared.get(n, pa.string()), "folder's name") for n in names)
        for member in members:
            self.arrays(member, 1)

    def arrays(self, member: Member, rows: int) -> list[pa.Array]:
        """The values of a file's rows."""
        found = []
        for column in self.columns:
            text = pa.array([self._values[member.file.name].get(column.name)], pa.string())
            value, bad = cast_texts(text, column.arrow)
            if bad:
                raise ConfigError(
                    f"the folder's '{column.name}' is not {column.arrow}",
                    where=member.where,
                    hint=f"Correct format.columns: {{{column.name}: …}}",
                )
            found.append(pa.repeat(value[0], rows))
        return found

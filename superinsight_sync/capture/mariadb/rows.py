"""Changes of one table, gathered until they become a batch."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from superinsight_sync.capture.mariadb.catalogue import TableColumn
from superinsight_sync.capture.mariadb.connecting import Special
from superinsight_sync.capture.mariadb.images import LoggedColumn, Read, bits, logged, read_row
from superinsight_sync.capture.protocol import Op
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.mysql_types import Converter
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.tables import COMMITTED_AT, OP, POSITION, UNCHANGED

CHANGE_FIELDS = (
    pa.field(OP, pa.string()),
    pa.field(POSITION, pa.string()),
    pa.field(COMMITTED_AT, pa.timestamp("us", "UTC")),
    pa.field(UNCHANGED, pa.list_(pa.string())),
)
_FULL = "SET GLOBAL binlog_row_metadata = FULL, binlog_row_image = FULL, on the server, and in its sessions"


class TableRows:
    """The changes of one table, while it has these columns.

    Args:
        logged_columns: as the log's table map has them.
        now: as the catalogue has them.

    Raises ConfigError for a type that the log does not tell exactly, or a key that is not there.
    """

    def __init__(
        self,
        stream: StreamSpec,
        logged_columns: Collection[Any],
        now: Collection[TableColumn],
        special: Special,
    ) -> None:
        self.stream = stream
        if any(c.name is None for c in logged_columns):
            raise ConfigError("the log has no names of columns", where=f"stream '{stream.name}'", hint=_FULL)
        known = {c.name: c for c in now}
        computed = {c.name for c in now if c.computed}
        self._all: list[LoggedColumn | None] = [
            None if c.name in computed else logged(c, known.get(c.name)) for c in logged_columns
        ]
        self._columns = [c for c in self._all if c is not None]
        names = [c.column.name for c in self._columns]
        if missing := [k for k in stream.primary_key if k not in names]:
            raise ConfigError(
                f"column '{missing[0]}' of the primary_key is gone from the table",
                where=f"stream '{stream.name}'",
                hint="Declare the table's primary key",
            )
        self._key = [names.index(k) for k in stream.primary_key]
        self._converter = Converter(ReadRequest(stream), special)
        self._reads: list[Read] = [c.read if c else _unread for c in self._all]
        self._clear()

    def _clear(self) -> None:
        self._rows: list[list[Any]] = []
        self._ops: list[str] = []
        self._places: list[str] = []
        self._times: list[int] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def key_of(self, row: list[Any]) -> tuple[Any, ...]:
        """The primary key's values."""
        return tuple(row[i] for i in self._key)

    def images(self, data: bytes, present: list[bytes]) -> list[list[list[Any]]]:
        """The images of a row event: of each row one for each bitmap of columns that are present."""
        shown = [bits(p, len(self._all)) for p in present]
        wanted = [n for n, c in enumerate(self._all) if c is not None]
        if not all(each[n] for each in shown for n in wanted):
            raise ConfigError("the log leaves columns out", where=f"stream '{self.stream.name}'", hint=_FULL)
        found, at = [], 0
        while at < len(data):
            row = []
            for each in shown:
                values, at = read_row(data, at, self._reads, each)
                row.append([values[n] for n in wanted])
            found.append(row)
        return found

    def add(self, op: Op, row: list[Any] | None, place: str, at_s: int, size_bytes: int = 0) -> None:
        """Puts a change behind those before. Of a delete, only the key is kept."""
        values = [None] * len(self._columns) if row is None else row
        if op == "delete":
            values = [v if i in self._key else None for i, v in enumerate(values)]
        self._rows.append(values)
        self._ops.append(op)
        self._places.append(place)
        self._times.append(at_s)
        self.size_bytes += size_bytes

    def take(self) -> pa.RecordBatch:
        """All of them, which are forgotten here. Raises DataError."""
        arrays = [
            self._converter.convert(pa.array(values, c.sent), c.column.column)
            for c, values in zip(self._columns, zip(*self._rows, strict=True), strict=True)
        ]
        times = pa.array([t * 1_000_000 for t in self._times], pa.int64()).cast(CHANGE_FIELDS[2].type)
        arrays += [
            pa.array(self._ops, pa.string()),
            pa.array(self._places, pa.string()),
            times,
            pa.nulls(len(self._rows), CHANGE_FIELDS[3].type),
        ]
        fields = [pa.field(c.column.name, c.column.arrow) for c in self._columns]
        self._clear()
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*fields, *CHANGE_FIELDS]))


def as_changes(rows: pa.RecordBatch, place: str, at: datetime | None) -> pa.RecordBatch:
    """Records of a snapshot as changes."""
    count = rows.num_rows
    arrays = [
        *rows.columns,
        pa.repeat(pa.scalar("snapshot"), count),
        pa.repeat(pa.scalar(place), count),
        pa.repeat(pa.scalar(at, CHANGE_FIELDS[2].type), count),
        pa.nulls(count, CHANGE_FIELDS[3].type),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*rows.schema, *CHANGE_FIELDS]))


def moment_of(seconds: int) -> datetime:
    """The server's clock as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def _unread(data: bytes, at: int) -> tuple[Any, int]:
    raise ConfigError(
        "the log has values of computed columns, which cannot be read",
        hint="Read the stream with mode: incremental or full",
    )

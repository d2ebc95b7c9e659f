"""The records that a table has already, read chunk by chunk while its changes go on.

MariaDB can begin a transaction that sees exactly the transactions up to a place in the binlog, and says which place
that is (`START TRANSACTION WITH CONSISTENT SNAPSHOT`, `binlog_snapshot_position`). A chunk read in it belongs at that
place, so it is put among the changes when the log has been read up to there. It takes no lock and writes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pymysql

from superinsight_sync.capture.mariadb.catalogue import place_of, quoted_place, table_columns
from superinsight_sync.capture.mariadb.connecting import Sessions, Special, file_number
from superinsight_sync.capture.mariadb.images import LoggedColumn
from superinsight_sync.capture.protocol import SnapshotStep
from superinsight_sync.databases.mysql_catalogue import describe, literal, rows_of
from superinsight_sync.databases.mysql_types import Converter, MyColumn, quoted
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest

_CHUNK_BYTES = 16 << 20
_FIRST_ROWS = 1_000
_CHANGED = (1054, 1412)
"""The table was altered since the transaction began, or its columns were looked up: the chunk is read again."""
_STATUS = "SHOW STATUS WHERE Variable_name IN ('binlog_snapshot_file', 'binlog_snapshot_position')"


@dataclass(frozen=True)
class Chunk:
    """Records, and the place in the log whose changes they have.

    Attributes:
        step: how far the snapshot is with it.
    """

    rows: pa.RecordBatch
    place: tuple[int, int]
    step: SnapshotStep


class Snapshot:
    """Reads one table's chunks, through a connection of its own.

    Args:
        step: how far it is.
        most_rows: in a chunk; a wide table has fewer.
    """

    def __init__(
        self, sessions: Sessions, stream: StreamSpec, step: SnapshotStep, most_rows: int, special: Special
    ) -> None:
        self.stream = stream
        self._after = step.after
        self._ask, self._db = sessions.ask, sessions.read
        self._most, self._special = most_rows, special
        self._rows = min(most_rows, _FIRST_ROWS)

    def read(self, behind: tuple[int, int]) -> Chunk | None:
        """The next chunk. None if it would not have all changes before a place that has been read: try again."""
        rows_of(self._db, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            status = {name.lower(): value for name, value in rows_of(self._db, _STATUS)}
            file, place = status["binlog_snapshot_file"], int(status["binlog_snapshot_position"])
            at = file_number(file), place
            if at < behind:
                return None
            rows = self._read()
        except pymysql.Error as error:
            if error.args and error.args[0] in _CHANGED:
                return None
            raise
        finally:
            self._db.rollback()
        done = rows.num_rows < self._rows
        if rows.num_rows:
            fitting = self._rows * _CHUNK_BYTES // max(rows.nbytes, 1)
            self._rows = max(100, min(self._most, fitting))
            self._after = tuple(_text(rows.column(k)[-1].as_py()) for k in self.stream.primary_key)
        return Chunk(rows, at, SnapshotStep(self._after, done))

    def _read(self) -> pa.RecordBatch:
        place = place_of(self._ask, self.stream)
        computed = {c.name for c in table_columns(self._ask, place) if c.computed}
        columns = [c for c in describe(self._ask, self.stream)[1] if c.name not in computed]
        by_name = {c.name: c for c in columns}
        keys = [by_name[k] for k in self.stream.primary_key]
        later = ""
        if self._after is not None:
            later = f" WHERE {_later(keys, [literal(_value(c, v)) for c, v in zip(keys, self._after, strict=True)])}"
        listed, order = ", ".join(map(_selected, columns)), ", ".join(quoted(k.name) for k in keys)
        # Of quoted names and literals alone.
        statement = f"SELECT {listed} FROM {quoted_place(place)}{later} ORDER BY {order} LIMIT {self._rows:d}"  # noqa: S608
        found = rows_of(self._db, statement)
        converter = Converter(ReadRequest(self.stream), self._special)
        arrays = []
        for column, values in zip(
            columns, zip(*found, strict=True) if found else [()] * len(columns), strict=True
        ):
            sent = LoggedColumn(column, _never).sent
            texts = pa.array(values, pa.binary() if pa.types.is_binary(sent) else pa.string())
            arrays.append(converter.convert(texts.cast(sent), column.column))
        schema = pa.schema([pa.field(c.name, c.arrow) for c in columns])
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _never(_data: bytes, _at: int) -> tuple[Any, int]:
    raise AssertionError


def _selected(column: MyColumn) -> str:
    """As a pull selects it; floats so that their text is exact."""
    name = quoted(column.name)
    if column.family == "float":
        return f"CAST({name} AS DOUBLE)"
    return column.select


def _later(keys: Sequence[MyColumn], values: Sequence[str]) -> str:
    """Those behind a key, in a form for which the server uses the index."""

    def parts() -> Iterator[str]:
        for n, (key, value) in enumerate(zip(keys, values, strict=True)):
            equal = [f"{quoted(k.name)} = {v}" for k, v in zip(keys[:n], values[:n], strict=True)]
            yield "(" + " AND ".join([*equal, f"{quoted(key.name)} > {value}"]) + ")"

    return " OR ".join(parts())


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _value(column: MyColumn, text: str) -> Any:
    match column.family:
        case "integer":
            return int(text)
        case "decimal":
            return Decimal(text)
        case "date":
            return date.fromisoformat(text)
        case "datetime" | "timestamp":
            return datetime.fromisoformat(text)
        case "binary":
            return bytes.fromhex(text)
    return text

"""Parquet, ORC and other files that say their types; several files' schemas are joined where nothing is lost."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.core.utf8_check import check_text
from superinsight_sync.lake.joined_types import joined_type
from superinsight_sync.lake.types import cast_array, storable_type
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.layout import FileColumn, Member, Reading, merge_names
from superinsight_sync.sources.files.streams import open_seekable

_OUT_OF_RANGE = "<value out of range"
"""How Arrow writes a time that no calendar has as text."""


class TypedLayout(ABC):
    """Of files that say their types: a format gives `_schema` and `_read`.

    Columns are those of all files, in order of appearance; a file that lacks one has NULL.
    """

    _format: ClassVar[str]

    def __init__(self, reading: Reading) -> None:
        self._types = reading.declared()
        self._limits = reading.limits
        self._spec = reading.spec
        self._landed = reading.landed
        schemas = {m.file.name: self._schema(m) for m in reading.members}
        self._rows = {name: rows for name, (_, rows) in schemas.items()}
        names = merge_names([(m, schemas[m.file.name][0].names) for m in reading.members])
        if not names and not reading.members:
            names = tuple(self._types)
        self.columns = tuple(
            self._column(n, [(m, schemas[m.file.name][0]) for m in reading.members]) for n in names
        )

    def rows(self, member: Member) -> int | None:
        return self._rows[member.file.name]

    def batches(self, member: Member, rejects: Rejects, batch_rows: int) -> Iterator[pa.RecordBatch]:
        for batch in self._read(member, batch_rows):
            yield self._fitted(member, batch)

    @abstractmethod
    def _schema(self, member: Member) -> tuple[pa.Schema, int | None]:
        """The file's columns, and how many rows it has if it says so."""

    @abstractmethod
    def _read(self, member: Member, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The file's rows with the columns of its `_schema`."""

    def _joined(self, one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
        """The type of a column that two files give these types; None if there is none."""
        return joined_type(one, other)

    def _damaged(self, member: Member) -> DataError:
        return DataError(
            f"it is damaged or no {self._format}", where=member.where, hint="Have the file written again"
        )

    def _column(self, name: str, schemas: list[tuple[Member, pa.Schema]]) -> FileColumn:
        found = [(m, s.field(name).type) for m, s in schemas if name in s.names]
        source_type = ", ".join(dict.fromkeys(str(t) for _, t in found))
        if name in self._types or not found:
            return FileColumn(name, self._types.get(name, pa.string()), source_type)
        known: tuple[Member, pa.DataType] | None = None
        for member, dtype in found:
            if pa.types.is_null(dtype):
                continue
            kept = storable_type(dtype)
            joined = kept if known is None or kept is None else self._joined(known[1], kept)
            if joined is None:
                other = (
                    f", but {known[1]} in '{known[0].file.name}'"
                    if known and kept
                    else ", which no table keeps"
                )
                raise ConfigError(
                    f"column '{name}' is {dtype}{other}",
                    where=member.where,
                    hint=_as_text(name, *(t for _, t in found)),
                )
            known = (member, joined)
        return FileColumn(name, known[1] if known else pa.string(), source_type)

    def _fitted(self, member: Member, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = []
        for column in self.columns:
            if column.name not in batch.schema.names:
                arrays.append(pa.nulls(batch.num_rows, column.arrow))
                continue
            values = batch.column(column.name)
            self._check_text(member, column, values)
            try:
                arrays.append(_cast(values, column.arrow, column.name))
            except DataError as error:
                hint = _as_text(column.name, values.type, column.arrow)
                raise DataError(error.message, where=member.where, hint=hint) from None
        return pa.RecordBatch.from_arrays(arrays, names=[c.name for c in self.columns])

    def _check_text(self, member: Member, column: FileColumn, values: pa.Array) -> None:
        if pa.types.is_binary(column.arrow):
            return
        try:
            check_text(values, column.name)
        except DataError as error:
            nested = pa.types.is_nested(values.type)
            bytes_ = "" if nested else f", or declare format.columns: {{{column.name}: binary}}"
            hint = f"Have the file written again{bytes_}"
            raise DataError(error.message, where=member.where, hint=hint) from None


class OrcLayout(TypedLayout):
    """By stripe."""

    _format = "ORC"

    def _schema(self, member: Member) -> tuple[pa.Schema, int | None]:
        with open_seekable(member.file) as raw:
            try:
                file = pa.orc.ORCFile(raw)
            except (pa.ArrowException, OSError):
                raise self._damaged(member) from None
            return file.schema, file.nrows

    def _read(self, member: Member, batch_rows: int) -> Iterator[pa.RecordBatch]:
        with open_seekable(member.file) as raw:
            try:
                file = pa.orc.ORCFile(raw)
                size_bytes = 0
                for stripe in range(file.nstripes):
                    batch = file.read_stripe(stripe)
                    size_bytes += batch.nbytes
                    self._limits.check(member.file, size_bytes)
                    for at in range(0, batch.num_rows, batch_rows):
                        yield batch.slice(at, batch_rows)
            except (pa.ArrowException, OSError):
                raise self._damaged(member) from None


def _cast(array: pa.Array, dtype: pa.DataType, column: str) -> pa.Array:
    """Raises DataError if a value would not survive."""
    if pa.types.is_timestamp(dtype) and pa.types.is_timestamp(array.type) and dtype.tz and not array.type.tz:
        array = array.cast(pa.timestamp(array.type.unit, tz="UTC"))
    if pa.types.is_duration(array.type) and pa.types.is_string(dtype):
        raise DataError(f"column '{column}' is {array.type}, which has no text that says its unit")
    cast = cast_array(array, dtype, column)
    written = pa.types.is_temporal(array.type) and pa.types.is_string(dtype)
    if written and pc.any(pc.starts_with(cast, _OUT_OF_RANGE)).as_py():
        raise DataError(f"column '{column}' holds a time that no calendar has")
    return cast


def _as_text(name: str, *types: pa.DataType) -> str:
    """What to do about values that no table keeps: as text if that says what they are."""
    if any(pa.types.is_nested(t) or pa.types.is_duration(t) for t in types) or pa.string() in types[-1:]:
        return "Have the file written with a type that a table keeps, or make `path` match other files"
    return f"Declare format.columns: {{{name}: string}} to keep it as text"

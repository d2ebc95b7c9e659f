"""Parquet: types come from the files; several files' schemas are joined where nothing is lost."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.sources.files.layout import FileColumn, Member, Reading, merge_names
from superinsight_sync.sources.files.rejects import Rejects
from superinsight_sync.sources.files.streams import open_file

_BUFFER_BYTES = 1 << 20
_INTS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.decimal128(20, 0))
_LADDERS = (_INTS, _UNSIGNED, (pa.float32(), pa.float64()))


class ParquetLayout:
    """Columns are those of all files, in order of appearance; a file that lacks one has NULL."""

    def __init__(self, reading: Reading) -> None:
        self._types = reading.declared()
        self._limits = reading.limits
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
        with open_file(member.file) as raw:
            try:
                file = pa.parquet.ParquetFile(raw, buffer_size=_BUFFER_BYTES, pre_buffer=False)
                for batch in file.iter_batches(batch_rows, use_threads=False):
                    yield self._fitted(member, batch)
            except (pa.ArrowException, OSError):
                raise _damaged(member) from None

    def _schema(self, member: Member) -> tuple[pa.Schema, int]:
        with open_file(member.file) as raw:
            try:
                file = pa.parquet.ParquetFile(raw)
            except (pa.ArrowException, OSError):
                raise _damaged(member) from None
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            self._limits.check(member.file, sum(g.total_byte_size for g in groups))
            return file.schema_arrow, file.metadata.num_rows

    def _column(self, name: str, schemas: list[tuple[Member, pa.Schema]]) -> FileColumn:
        known: tuple[Member, pa.DataType] | None = None
        source_types: dict[str, None] = {}
        for member, schema in schemas:
            if name not in schema.names:
                continue
            found = schema.field(name).type
            source_types[str(found)] = None
            if name in self._types:
                continue
            dtype = _landed(found, name, member)
            joined = dtype if known is None else _joined(known[1], dtype)
            if joined is None and known is not None:
                raise ConfigError(
                    f"column '{name}' is {found}, but {known[1]} in '{known[0].file.name}'",
                    where=member.where,
                    hint=f"Declare format.columns: {{{name}: …}}, or make a stream for each",
                )
            known = (member, joined)
        dtype = self._types.get(name) or (known[1] if known else pa.null())
        dtype = pa.string() if pa.types.is_null(dtype) else dtype
        return FileColumn(name, dtype, ", ".join(source_types))

    def _fitted(self, member: Member, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = []
        for column in self.columns:
            if column.name not in batch.schema.names:
                arrays.append(pa.nulls(batch.num_rows, column.arrow))
                continue
            array = batch.column(column.name)
            try:
                arrays.append(_cast(array, column.arrow))
            except pa.ArrowException:
                raise DataError(
                    f"column '{column.name}' holds {array.type} values that are not {column.arrow}",
                    where=member.where,
                    hint=f"Declare format.columns: {{{column.name}: string}} to keep them as text",
                ) from None
        return pa.RecordBatch.from_arrays(arrays, names=[c.name for c in self.columns])


def _cast(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_timestamp(dtype) and pa.types.is_timestamp(array.type) and dtype.tz and not array.type.tz:
        array = array.cast(pa.timestamp(array.type.unit, tz="UTC"))
    return array if array.type == dtype else array.cast(dtype)


def _landed(dtype: pa.DataType, name: str, member: Member) -> pa.DataType:
    """The type as which a Parquet type lands; every value survives, or reading it fails.

    Raises:
        ConfigError: for a type that no table keeps.
    """
    types = pa.types
    if isinstance(dtype, pa.BaseExtensionType):
        return _landed(dtype.storage_type, name, member)
    if types.is_dictionary(dtype):
        return _landed(dtype.value_type, name, member)
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return pa.list_(_landed(dtype.value_type, name, member))
    if types.is_struct(dtype) and dtype.num_fields:
        return pa.struct([(f.name, _landed(f.type, name, member)) for f in dtype])
    if types.is_map(dtype):
        return pa.map_(_landed(dtype.key_type, name, member), _landed(dtype.item_type, name, member))
    if types.is_timestamp(dtype):
        return pa.timestamp("us", tz="UTC" if dtype.tz else None)
    if types.is_decimal(dtype) and dtype.precision <= 38:
        return pa.decimal128(dtype.precision, dtype.scale)
    for test, landed in _LANDED:
        if test(dtype):
            return landed or dtype
    raise ConfigError(
        f"column '{name}' is {dtype}, which no table keeps",
        where=member.where,
        hint=f"Declare what to read it as, such as format.columns: {{{name}: string}}",
    )


_LANDED = (
    (pa.types.is_null, None),
    (pa.types.is_boolean, None),
    (lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or t == pa.string_view(), pa.string()),
    (pa.types.is_uint64, pa.decimal128(20, 0)),
    (pa.types.is_integer, None),
    (pa.types.is_float16, pa.float32()),
    (pa.types.is_floating, None),
    (pa.types.is_date, pa.date32()),
    (pa.types.is_time, pa.string()),
    (
        lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_fixed_size_binary(t),
        pa.binary(),
    ),
)


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both exactly; None if there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for ladder in _LADDERS:
        if one in ladder and other in ladder:
            return ladder[max(ladder.index(one), ladder.index(other))]
    if pa.types.is_decimal(one) and pa.types.is_decimal(other):
        scale = max(one.scale, other.scale)
        digits = max(one.precision - one.scale, other.precision - other.scale) + scale
        return pa.decimal128(digits, scale) if digits <= 38 else None
    return None


def _damaged(member: Member) -> DataError:
    return DataError("it is damaged or no Parquet", where=member.where, hint="Have the file written again")

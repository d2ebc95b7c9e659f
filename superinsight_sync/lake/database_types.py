"""How Arrow types become PostgreSQL types, and back.

| Arrow | PostgreSQL | read back as |
|---|---|---|
| bool | boolean | bool |
| int8, int16, uint8 | smallint | int16 |
| int32, uint16 | integer | int32 |
| int64, uint32 | bigint | int64 |
| uint64 | numeric(20,0) | decimal128(20, 0) |
| float16, float32 / float64 | real / double precision | float32 / float64 |
| decimal up to 38 digits | numeric(p,s) | decimal128(p, s) |
| text, also JSON as text; null | text | string |
| `arrow.json` | json (the text is kept as it is) | string |
| binary of any kind | bytea | binary |
| date32, date64 | date | date32 |
| time up to microseconds | time | time64[us] |
| timestamp without / with time zone | timestamp / timestamptz | timestamp[us] / timestamp[us, UTC] |
| list of one of these | an array | list |
| dictionary | as its values | |

Everything else (durations, intervals, structs, maps, lists of lists, decimals of more digits) is refused
with ConfigError: PostgreSQL has no type that gives the same values back.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError

_NAME_LIMIT_BYTES = 63
_HINT = "Convert it in a refine step (cast, or map to unnest), or use save: persistent"
_INTEGERS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_UTC = pa.timestamp("us", "UTC")

_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], str, pa.DataType], ...] = (
    (pa.types.is_boolean, "boolean", pa.bool_()),
    (lambda t: t in (pa.int8(), pa.int16(), pa.uint8()), "smallint", pa.int16()),
    (lambda t: t in (pa.int32(), pa.uint16()), "integer", pa.int32()),
    (lambda t: t in (pa.int64(), pa.uint32()), "bigint", pa.int64()),
    (pa.types.is_uint64, "numeric(20,0)", pa.decimal128(20, 0)),
    (lambda t: t in (pa.float16(), pa.float32()), "real", pa.float32()),
    (pa.types.is_float64, "double precision", pa.float64()),
    (lambda t: pa.types.is_string(t) or pa.types.is_large_string(t), "text", pa.string()),
    (lambda t: pa.types.is_string_view(t) or pa.types.is_null(t), "text", pa.string()),
    (lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t), "bytea", pa.binary()),
    (lambda t: pa.types.is_fixed_size_binary(t) or pa.types.is_binary_view(t), "bytea", pa.binary()),
    (pa.types.is_date, "date", pa.date32()),
    (pa.types.is_time, "time without time zone", pa.time64("us")),
    (lambda t: pa.types.is_timestamp(t) and t.tz is None, "timestamp without time zone", pa.timestamp("us")),
    (pa.types.is_timestamp, "timestamp with time zone", _UTC),
)
_READ: dict[str, pa.DataType] = {name: wire for _, name, wire in _SCALARS}


@dataclass(frozen=True)
class Column:
    """A column to be landed.

    Attributes:
        name: its name, the same on both sides.
        type: the table's type, written as PostgreSQL's `format_type` writes it.
        staged: the type in the staging table, which COPY fills.
        wire: the Arrow type that COPY's encoder is given.
    """

    name: str
    type: str
    staged: str
    wire: pa.DataType


@dataclass(frozen=True)
class StoredColumn:
    """A column of a table that exists: its PostgreSQL type, and how it is read."""

    name: str
    type: str

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type its values are read as; a type we never write (a user altered the table) is text."""
        if self.type.endswith("[]"):
            return pa.list_(_read_type(self.type.removesuffix("[]")))
        return _read_type(self.type)

    @property
    def read_as_text(self) -> str | None:
        """The type to cast to in SELECT because the driver knows no better, or None."""
        base = self.type.removesuffix("[]")
        if base in _READ and not _NUMERIC.fullmatch(base):
            return None
        return "text[]" if self.type.endswith("[]") else "text"


def _read_type(name: str) -> pa.DataType:
    numeric = _NUMERIC.fullmatch(name)
    if numeric:
        return pa.decimal128(int(numeric[1]), int(numeric[2]))
    return _READ.get(name, pa.string())


def columns_of(schema: pa.Schema, where: str) -> list[Column]:
    """The columns a read needs. Raises ConfigError naming one that PostgreSQL cannot keep."""
    columns = []
    for field in schema:
        if len(field.name.encode()) > _NAME_LIMIT_BYTES or not field.name:
            raise ConfigError(
                f"column name '{field.name}' is empty or longer than {_NAME_LIMIT_BYTES} bytes",
                where=where,
                hint="Rename it in a map step",
            )
        found = _mapped(field.type)
        if found is None:
            raise ConfigError(
                f"column {field.name} is {field.type}, which PostgreSQL cannot keep without loss",
                where=where,
                hint=_HINT,
            )
        columns.append(Column(field.name, *found))
    return columns


def _mapped(type_: pa.DataType) -> tuple[str, str, pa.DataType] | None:
    """The column's type, its staging type and its wire type."""
    if isinstance(type_, pa.BaseExtensionType):
        if type_.extension_name == "arrow.json":
            return "json", "json", pa.string()
        return _mapped(type_.storage_type)
    if pa.types.is_dictionary(type_):
        return _mapped(type_.value_type)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        item = None if pa.types.is_nested(type_.value_type) else _mapped(type_.value_type)
        if item is None or item[0] == "json":
            return None
        wire = pa.timestamp("us") if item[2] == _UTC else item[2]
        staged = _READ_NAIVE if item[2] == _UTC else item[1]
        return f"{item[0]}[]", f"{staged}[]", pa.list_(wire)
    if pa.types.is_decimal(type_):
        if type_.precision > 38 or not 0 <= type_.scale <= type_.precision:
            return None
        name = f"numeric({type_.precision},{type_.scale})"
        return name, name, pa.decimal128(type_.precision, type_.scale)
    return next(((name, name, wire) for fits, name, wire in _SCALARS if fits(type_)), None)


_READ_NAIVE = "timestamp without time zone"
"""The encoder knows no arrays of times with a zone: they are staged without one, in UTC, and cast in UTC."""


def widened(stored: str, new: str) -> str | None:
    """The type that holds both without loss: one of the two or a wider numeric; None if there is none."""
    if stored == new:
        return stored
    for family in (_INTEGERS, _FLOATS):
        if stored in family and new in family:
            return max(stored, new, key=family.index)
    mine, other = _NUMERIC.fullmatch(stored), _NUMERIC.fullmatch(new)
    if not mine or not other:
        return None
    scale = max(int(mine[2]), int(other[2]))
    digits = max(int(mine[1]) - int(mine[2]), int(other[1]) - int(other[2]))
    return f"numeric({digits + scale},{scale})" if digits + scale <= 38 else None


def to_wire(batch: pa.RecordBatch, columns: Sequence[Column], where: str) -> pa.RecordBatch:
    """The batch as the encoder takes it. Raises ConfigError where a value would lose precision."""
    arrays = []
    for column, array in zip(columns, batch.columns, strict=True):
        values = array.storage if isinstance(array, pa.ExtensionArray) else array
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        try:
            arrays.append(values if values.type == column.wire else values.cast(column.wire))
        except pa.ArrowInvalid:
            raise ConfigError(
                f"column {column.name} is {values.type} with values that {column.type} cannot keep",
                where=where,
                hint="PostgreSQL keeps microseconds, and text in UTF-8. " + _HINT,
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=wire_schema(columns))


def wire_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of `to_wire`'s batches."""
    return pa.schema([pa.field(c.name, c.wire) for c in columns])

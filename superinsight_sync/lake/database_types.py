"""How the lake's types (`lake.types`) become PostgreSQL types, and back.

| kept as | PostgreSQL | read back as |
|---|---|---|
| bool | boolean | bool |
| int8, int16 / int32 / int64 | smallint / integer / bigint | int16 / int32 / int64 |
| float32 / float64 | real / double precision | float32 / float64 |
| decimal128(p, s) | numeric(p,s) | decimal128(p, s) |
| string, also JSON as text | text | string |
| binary | bytea | binary |
| date32 | date | date32 |
| timestamp[us] / timestamp[us, UTC] | timestamp / timestamptz | the same |
| list of one of these | an array | list |

Structs, maps and lists of lists raise ConfigError: no PostgreSQL type gives the same values back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.types import cast_batch

_NAME_LIMIT_BYTES = 63
_HINT = "Convert it in a refine step (cast, or map to unnest), or use save: persistent"
_INTEGERS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_UTC = pa.timestamp("us", "UTC")

_NAIVE = "timestamp without time zone"
_SCALARS: dict[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.timestamp("us"): _NAIVE,
    _UTC: "timestamp with time zone",
}
_TIMES = (_NAIVE, _SCALARS[_UTC])
_READ: dict[str, pa.DataType] = {name: kind for kind, name in _SCALARS.items()}


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
        """The type to cast to in SELECT because its own form on the wire is not read, or None."""
        base = self.type.removesuffix("[]")
        if base in _READ and not _NUMERIC.fullmatch(base):
            return None
        return "text[]" if self.type.endswith("[]") else "text"

    @property
    def sent(self) -> pa.DataType:
        """What SELECT's values are on the wire."""
        kinds = {None: self.arrow, "text": pa.string(), "text[]": pa.list_(pa.string())}
        return kinds[self.read_as_text]


def _read_type(name: str) -> pa.DataType:
    numeric = _NUMERIC.fullmatch(name)
    if numeric:
        return pa.decimal128(int(numeric[1]), int(numeric[2]))
    return _READ.get(name, pa.string())


def columns_of(stored: pa.Schema, where: str) -> list[Column]:
    """The columns that rows in the lake's types need. Raises ConfigError naming one that cannot be kept."""
    columns = []
    for field in stored:
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


def _mapped(kind: pa.DataType) -> tuple[str, str, pa.DataType] | None:
    """The column's type, its staging type and its wire type, of one of the lake's types."""
    if pa.types.is_list(kind):
        item = None if pa.types.is_nested(kind.value_type) else _mapped(kind.value_type)
        if item is None:
            return None
        # The encoder knows no arrays of times with a zone: they are staged without one and cast in UTC.
        zoned = item[2] == _UTC
        staged, wire = (_NAIVE, pa.timestamp("us")) if zoned else item[1:]
        return f"{item[0]}[]", f"{staged}[]", pa.list_(wire)
    if pa.types.is_decimal(kind):
        name = f"numeric({kind.precision},{kind.scale})"
        return name, name, kind
    name = _SCALARS.get(kind, "")
    return (name, name, _READ[name]) if name else None


def widened(stored: str, new: str) -> str | None:
    """The type that holds both without loss: one of the two or a wider numeric; None if there is none.

    Times without a zone are of UTC, which is every session's zone here.
    """
    if stored == new:
        return stored
    for family in (_INTEGERS, _FLOATS, _TIMES):
        if stored in family and new in family:
            return max(stored, new, key=family.index)
    mine, other = _NUMERIC.fullmatch(stored), _NUMERIC.fullmatch(new)
    if not mine or not other:
        return None
    scale = max(int(mine[2]), int(other[2]))
    digits = max(int(mine[1]) - int(mine[2]), int(other[1]) - int(other[2]))
    return f"numeric({digits + scale},{scale})" if digits + scale <= 38 else None


def to_wire(batch: pa.RecordBatch, stored: pa.Schema, columns: Sequence[Column]) -> pa.RecordBatch:
    """The batch as the encoder takes it. Raises DataError where a value would lose precision."""
    rows = cast_batch(batch, stored)
    arrays = [a if a.type == c.wire else a.cast(c.wire) for c, a in zip(columns, rows.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=wire_schema(columns))


def wire_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of `to_wire`'s batches."""
    return pa.schema([pa.field(c.name, c.wire) for c in columns])

"""Which Arrow types a dataset may have: those that every format holds without loss."""

from collections.abc import Iterator

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError

_PLAIN = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal128,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_date32,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_null,
)


def check_types(schema: pa.Schema) -> None:
    """Raises ConfigError naming the column whose type, or a type inside it, no format can hold exactly."""
    for field in schema:
        for leaf in leaves(field.type):
            if not any(is_plain(leaf) for is_plain in _PLAIN):
                raise ConfigError(
                    f"column '{field.name}' has the type {leaf}, which not every format holds exactly",
                    hint="Cast it in the SELECT, to VARCHAR for instance",
                )


def leaves(kind: pa.DataType) -> Iterator[pa.DataType]:
    """The types without parts that a type is made of."""
    if kind.num_fields == 0:
        yield kind
    for index in range(kind.num_fields):
        if pa.types.is_union(kind):
            yield kind
            return
        yield from leaves(kind.field(index).type)


def has_text(kind: pa.DataType) -> bool:
    """Whether texts stand in values of the type."""
    return any(pa.types.is_string(leaf) or pa.types.is_large_string(leaf) for leaf in leaves(kind))

"""Which Arrow types the lake keeps, and the lossless way of those it does not know into one it does.

| Arrow type                                    | kept as                                              |
|-----------------------------------------------|------------------------------------------------------|
| uint8, uint16, uint32                         | int16, int32, int64                                  |
| uint64                                        | decimal128(20, 0)                                    |
| float16                                       | float32                                              |
| decimal32, decimal64, decimal256              | decimal128 of the same precision and scale           |
| decimal with a negative scale                 | decimal128 with scale 0                              |
| timestamp of any unit, naive                  | timestamp[us], still naive                           |
| timestamp of any unit and zone                | timestamp[us, UTC]: the instant stays                |
| date64                                        | date32                                               |
| time32, time64                                | string, ISO 8601 (``12:34:56.000001``)               |
| duration                                      | int64, microseconds                                  |
| month_day_nano_interval                       | struct of months, days, nanoseconds                  |
| large, view and fixed-size strings and bytes  | string, binary                                       |
| large, view and fixed-size lists              | list                                                 |
| dictionary, run-end encoded                   | the value's type                                     |
| uuid (extension)                              | string, ``8-4-4-4-12`` hex digits                    |
| other extension types                         | their storage type                                   |
| null                                          | string                                               |

A value that does not fit (nanoseconds into microseconds, a date64 that is no midnight) raises DataError.
A type with no lossless way (a decimal of more than 38 digits, a union) raises ConfigError.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import null, numbers
from superinsight_sync.core.errors import ConfigError, DataError

_MAX_PRECISION = 38
_INTERVAL = pa.struct([("months", pa.int32()), ("days", pa.int32()), ("nanoseconds", pa.int64())])


def storable_schema(schema: pa.Schema) -> pa.Schema:
    """The schema the lake keeps for rows of `schema`: same names and order, every field nullable.

    Raises ConfigError for a type with no lossless way, and for two columns of one name.
    """
    names = schema.names
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ConfigError(
            f"the columns {twice} come twice", hint="Rename one of them in a map step or a query"
        )
    return pa.schema([pa.field(f.name, _storable_at(f.name, f.type)) for f in schema])


def cast_batch(batch: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns of `target` that it has, in its own order, cast without loss.

    Raises DataError, naming column and types but no value, if a value would not survive.
    """
    fields = [target.field(name) for name in batch.schema.names]
    arrays = [cast_array(a, f.type, f.name) for a, f in zip(batch.columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def cast_array(array: pa.Array, target: pa.DataType, column: str) -> pa.Array:
    """The array as `target`. Raises DataError if a value would not survive."""
    if array.type == target:
        return array
    try:
        return _convert(array, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
        raise DataError(
            f"column '{column}' holds a value that does not survive from {array.type} to {target}",
            hint="Convert it in the query or with a cast step, or read it as text",
        ) from error


def widens(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether every value of `source` fits `target` unchanged (both storable)."""
    if source == target:
        return True
    if pa.types.is_integer(source):
        if pa.types.is_integer(target):
            return bool(source.bit_width <= target.bit_width)
        if pa.types.is_decimal(target):
            return bool(target.precision - target.scale >= _digits(source))
        exact = {16: 8, 32: 16, 64: 32}.get(target.bit_width, 0) if pa.types.is_floating(target) else 0
        return bool(source.bit_width <= exact)
    if pa.types.is_decimal(source) and pa.types.is_decimal(target):
        whole = source.precision - source.scale <= target.precision - target.scale
        return bool(whole and source.scale <= target.scale)
    if pa.types.is_floating(source) and pa.types.is_floating(target):
        return bool(source.bit_width <= target.bit_width)
    if pa.types.is_list(source) and pa.types.is_list(target):
        return widens(source.value_type, target.value_type)
    if pa.types.is_map(source) and pa.types.is_map(target):
        return widens(source.key_type, target.key_type) and widens(source.item_type, target.item_type)
    if pa.types.is_struct(source) and pa.types.is_struct(target):
        known = {f.name: f.type for f in target}
        return all(f.name in known and widens(f.type, known[f.name]) for f in source)
    return False


def _digits(integer: pa.DataType) -> int:
    return {8: 3, 16: 5, 32: 10, 64: 19}[integer.bit_width]


def _storable_at(name: str, kind: pa.DataType) -> pa.DataType:
    found = storable_type(kind)
    if found is None:
        raise ConfigError(
            f"column '{name}' has the type {kind}, which the lake cannot keep without loss",
            hint="Cast it to text or to a smaller type in the query",
        )
    return found


_PLAIN: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], Any]], ...] = (
    (pa.types.is_boolean, lambda _: pa.bool_()),
    (pa.types.is_signed_integer, lambda kind: kind),
    (pa.types.is_uint8, lambda _: pa.int16()),
    (pa.types.is_uint16, lambda _: pa.int32()),
    (pa.types.is_uint32, lambda _: pa.int64()),
    (pa.types.is_uint64, lambda _: pa.decimal128(20, 0)),
    (pa.types.is_float64, lambda kind: kind),
    (pa.types.is_floating, lambda _: pa.float32()),
    (pa.types.is_decimal, lambda kind: _storable_decimal(kind)),
    (pa.types.is_timestamp, lambda kind: pa.timestamp("us", "UTC" if kind.tz else None)),
    (pa.types.is_date, lambda _: pa.date32()),
    (pa.types.is_time, lambda _: pa.string()),
    (pa.types.is_duration, lambda _: pa.int64()),
    (pa.types.is_null, lambda _: pa.string()),
    (lambda kind: kind == pa.month_day_nano_interval(), lambda _: _INTERVAL),
    (pa.types.is_string, lambda kind: kind),
    (pa.types.is_large_string, lambda _: pa.string()),
    (lambda kind: kind == pa.string_view(), lambda _: pa.string()),
    (pa.types.is_binary, lambda _: pa.binary()),
    (pa.types.is_large_binary, lambda _: pa.binary()),
    (pa.types.is_fixed_size_binary, lambda _: pa.binary()),
    (lambda kind: kind == pa.binary_view(), lambda _: pa.binary()),
    (pa.types.is_dictionary, lambda kind: storable_type(kind.value_type)),
    (pa.types.is_run_end_encoded, lambda kind: storable_type(kind.value_type)),
    (lambda kind: _is_uuid(kind), lambda _: pa.string()),
    (lambda kind: isinstance(kind, pa.BaseExtensionType), lambda kind: storable_type(kind.storage_type)),
    (pa.types.is_map, lambda kind: _storable_map(kind)),
    (lambda kind: _is_list(kind), lambda kind: _storable_list(kind)),
    (pa.types.is_struct, lambda kind: _storable_struct(kind)),
)


def storable_type(kind: pa.DataType) -> pa.DataType | None:
    """The type the lake keeps for `kind`; None if there is none without loss."""
    return next((keep(kind) for matches, keep in _PLAIN if matches(kind)), None)


def _storable_decimal(kind: pa.DataType) -> pa.DataType | None:
    scale = max(kind.scale, 0)
    precision = max(kind.precision - min(kind.scale, 0), scale)
    return pa.decimal128(precision, scale) if precision <= _MAX_PRECISION else None


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _storable_list(kind: pa.DataType) -> pa.DataType | None:
    item = storable_type(kind.value_type)
    return None if item is None else pa.list_(pa.field("element", item))


def _storable_map(kind: pa.DataType) -> pa.DataType | None:
    key, item = storable_type(kind.key_type), storable_type(kind.item_type)
    return None if key is None or item is None else pa.map_(key, item)


def _storable_struct(kind: pa.DataType) -> pa.DataType | None:
    kinds = [storable_type(field.type) for field in kind]
    if not kinds or any(k is None for k in kinds):
        return None
    return pa.struct([pa.field(f.name, k) for f, k in zip(kind, kinds, strict=True)])


def _convert(array: pa.Array, target: pa.DataType) -> pa.Array:
    kind = array.type
    if array.type == target:
        return array
    if _is_uuid(kind):
        return _uuid_text(array.storage)
    if isinstance(kind, pa.BaseExtensionType):
        return _convert(array.storage, target)
    if pa.types.is_run_end_encoded(kind):
        return _convert(pc.run_end_decode(array), target)
    if pa.types.is_dictionary(kind):
        return _convert(array.dictionary_decode(), target)
    if kind == pa.month_day_nano_interval():
        return _interval_parts(array)
    if pa.types.is_duration(kind):
        return array.cast(pa.duration("us")).cast(pa.int64()).cast(target)
    if pa.types.is_struct(kind) and pa.types.is_struct(target):
        return _convert_struct(array, target)
    if _is_list(kind) and pa.types.is_list(target) and kind.value_type != target.value_type:
        plain = array.cast(pa.list_(pa.field("element", kind.value_type)))
        values = _convert(plain.flatten(), target.value_type)
        return pa.ListArray.from_arrays(_flat_offsets(plain), values, type=target, mask=plain.is_null())
    if pa.types.is_map(kind) and pa.types.is_map(target):
        return _convert_map(array, target)
    return array.cast(target)


def _convert_struct(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Field by field, by their names. One that the array lacks is NULL; one that the target lacks has no place."""
    found = {f.name: values for f, values in zip(array.type, array.flatten(), strict=True)}
    if homeless := [
        n for n, values in found.items() if target.get_field_index(n) < 0 and values.null_count < len(values)
    ]:
        raise pa.ArrowInvalid(f"no place for {homeless}")
    children = [
        _convert(found[f.name], f.type) if f.name in found else pa.nulls(len(array), f.type) for f in target
    ]
    return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())


def _flat_offsets(lists: pa.Array) -> pa.Array:
    """Offsets into `lists.flatten()`, which leaves out what NULL lists point to."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int32())
    return pa.concat_arrays([numbers([0], pa.int32()), pc.cumulative_sum(lengths)])


def _convert_map(array: pa.Array, target: pa.DataType) -> pa.Array:
    entries = pa.struct([pa.field("key", target.key_type), pa.field("value", target.item_type)])
    lists = array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
    converted = _convert(lists, pa.list_(pa.field("element", entries)))
    flat = converted.values
    keys, items = flat.field(0), flat.field(1)
    offsets = pa.concat_arrays([converted.offsets]) if converted.offset else converted.offsets
    if converted.null_count:
        return pa.MapArray.from_arrays(offsets, keys, items, type=target, mask=converted.is_null())
    return pa.MapArray.from_arrays(offsets, keys, items, type=target)


def _uuid_text(storage: pa.Array) -> pa.Array:
    import numpy as np

    nibbles = np.frombuffer(storage.fill_null(b"\0" * 16).cast(pa.binary()).buffers()[2] or b"", np.uint8)
    nibbles = nibbles[: len(storage) * 16].reshape(-1, 16)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.full((len(storage), 36), ord("-"), np.uint8)
    places = [i for i in range(36) if i not in (8, 13, 18, 23)]
    text[:, places[0::2]] = digits[nibbles >> 4]
    text[:, places[1::2]] = digits[nibbles & 15]
    offsets = np.arange(len(storage) + 1, dtype=np.int32) * 36
    plain = pa.StringArray.from_buffers(len(storage), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))
    return pc.if_else(storage.is_valid(), plain, null(pa.string()))


def _interval_parts(array: pa.Array) -> pa.Array:
    import numpy as np

    layout = np.dtype([("months", np.int32), ("days", np.int32), ("nanoseconds", np.int64)])
    raw = np.frombuffer(array.buffers()[1] or b"", layout)[array.offset : array.offset + len(array)]
    children = [pa.array(np.ascontiguousarray(raw[name])) for name in layout.names or ()]
    return pa.StructArray.from_arrays(children, fields=list(_INTERVAL), mask=array.is_null())

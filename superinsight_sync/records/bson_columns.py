"""Documents into the columns of a stream, a column at a time, where each value is what its JSON would give."""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from bson import Int64, ObjectId

from superinsight_sync.records.bson_records import changed_values
from superinsight_sync.records.declared_columns import declared_array
from superinsight_sync.records.json_rows import Shape, all_fit

_NONE = type(None)
_DIRECT = (
    (pa.types.is_string, frozenset((str, _NONE))),
    (pa.types.is_boolean, frozenset((bool, _NONE))),
    (pa.types.is_int64, frozenset((int, Int64, _NONE))),
    (pa.types.is_float64, frozenset((float, _NONE))),
)
_TIMES = frozenset((datetime, _NONE))
_IDS = frozenset((ObjectId, _NONE))


def columns_of(documents: list[dict[str, Any]], shape: Shape) -> pa.RecordBatch | None:
    """The documents as rows; None if one does not fit the columns, or only its whole text can tell."""
    if not documents or not set().union(*documents) <= set(shape.schema.names):
        return None
    arrays = []
    for field in shape.schema:
        array = array_of([d.get(field.name) for d in documents], field, shape)
        if array is None:
            return None
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=shape.schema)


def array_of(values: list[Any], field: pa.Field, shape: Shape) -> pa.Array | None:
    """The values of a field as its column; None as `columns_of` has it."""
    kinds = set(map(type, values))
    if field.name in shape.times and kinds <= _TIMES:
        return pa.array(values, field.type)
    seen = shape.seen(field.name)
    if seen is not None and not seen.is_json_text:
        if pa.types.is_string(field.type) and kinds <= _IDS:
            return pa.array([None if v is None else str(v) for v in values], field.type)
        if any(holds(field.type) and kinds <= fitting for holds, fitting in _DIRECT):
            array = pa.array(values, field.type)
            return array if float not in kinds or _all_finite(array) else None
    written = changed_values(values, kinds)
    if written is None:
        return None
    if seen is None:
        array, misfits = declared_array(written, field.type)
        return None if misfits else array
    return seen.array(written) if all_fit(seen, written) else None


def _all_finite(array: pa.Array) -> bool:
    return pc.all(pc.is_finite(array)).as_py() is not False

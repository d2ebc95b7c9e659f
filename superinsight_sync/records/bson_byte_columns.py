"""Documents' bytes into the columns of a stream, without objects where the types allow it.

What is given is what `columns_of` gives for the documents as objects; where that is not certain, it is asked.
"""

import numpy as np
import pyarrow as pa
from bson.errors import InvalidBSON

from superinsight_sync.core.arrow_buffers import Ints, fixed, numbers, pieces, runs
from superinsight_sync.records.bson_bytes import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INT32,
    INT64,
    OBJECT_ID,
    STRING,
    Raw,
    Values,
    order_of,
)
from superinsight_sync.records.bson_columns import array_of, columns_of
from superinsight_sync.records.bson_keys import Keys
from superinsight_sync.records.json_columns import Attempts
from superinsight_sync.records.json_rows import Shape

_FEW = 32
"""So many documents are objects sooner than their fields are walked."""
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999."""
_ID_BYTES = 12


class DocumentReader:
    """Reads documents into the columns of a stream."""

    def __init__(self, shape: Shape, keys: Keys) -> None:
        self._shape = shape
        self._keys = keys
        self._order = shape.schema.names
        self._attempts = Attempts()

    def read(self, raw: Raw) -> pa.RecordBatch | None:
        """The documents as rows; None if one does not fit the columns, or only its whole text can tell."""
        if len(raw) >= _FEW and self._attempts.worth():
            found = self._walked(raw)
            self._attempts.note(found is not None)
            if found is not None:
                return found
            self._learn(raw)
        return columns_of(self._keys.written(raw.documents), self._shape)

    def _learn(self, raw: Raw) -> None:
        layouts = sorted(dict.fromkeys(map(tuple, raw.documents)), key=len, reverse=True)
        if set().union(*layouts) <= set(self._shape.schema.names):
            self._order = order_of([*layouts, self._order])

    def _walked(self, raw: Raw) -> pa.RecordBatch | None:
        found = raw.fields(self._order)
        if found is None:
            return None
        data, fields = found
        arrays = []
        for field in self._shape.schema:
            values = fields[field.name]
            if not self._keys.are_plain(field.name, values.types):
                return None
            try:
                array = _array(data, values, field, self._shape)
                if array is None:
                    array = array_of(raw.objects(values), field, self._shape)
            except (pa.ArrowInvalid, InvalidBSON, IndexError):
                return None
            if array is None or not self._keys.are_plain_texts(field.name, array):
                return None
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, schema=self._shape.schema)


def _array(data: memoryview, values: Values, field: pa.Field, shape: Shape) -> pa.Array | None:
    """The values by their bytes; None where objects have to be made. Raises ArrowInvalid for a text that is not
    UTF-8."""
    types, kind = values.types, field.type
    if field.name in shape.times:
        return _dates(data, values, kind) if types <= {DATE} else None
    seen = shape.seen(field.name)
    if seen is None or seen.is_json_text:
        return None
    if pa.types.is_string(kind) and types <= {STRING}:
        return _texts(data, values)
    if pa.types.is_string(kind) and types <= {OBJECT_ID}:
        return _ids(data, values)
    if pa.types.is_boolean(kind) and types <= {BOOLEAN}:
        found = _numbers(data, values, "u1")
        return None if (found > 1).any() else fixed(kind, found, values.null)
    if pa.types.is_int64(kind) and types <= {INT32, INT64}:
        return fixed(kind, _integers(data, values), values.null)
    if pa.types.is_float64(kind) and types <= {DOUBLE}:
        found = _numbers(data, values, "<f8")
        return fixed(kind, found, values.null) if np.isfinite(found).all() else None
    return None


def _numbers(data: memoryview, values: Values, sent: str) -> Ints:
    """The values, 0 in the place of NULL."""
    found = numbers(data, values.at, sent)
    return np.where(values.null, np.zeros(1, found.dtype), found) if values.null.any() else found


def _integers(data: memoryview, values: Values) -> Ints:
    if values.types <= {INT32}:
        return _numbers(data, values, "<i4").astype(np.int64)
    if values.types <= {INT64}:
        return _numbers(data, values, "<i8").astype(np.int64)
    found: Ints = np.where(
        values.codes == INT64, _numbers(data, values, "<i8"), _numbers(data, values, "<i4").astype(np.int64)
    )
    return found


def _dates(data: memoryview, values: Values, kind: pa.DataType) -> pa.Array | None:
    """Milliseconds as microseconds; None for dates beyond the calendar."""
    found = _numbers(data, values, "<i8")
    if found.min(initial=0) < _FIRST_MS or found.max(initial=0) > _LAST_MS:
        return None
    return fixed(kind, found * 1000, values.null)


def _texts(data: memoryview, values: Values) -> pa.Array | None:
    """Strings: their length with the zero at their end, their bytes, the zero."""
    null = values.null
    first = np.where(null, values.at, values.at + 4)
    after = np.where(null, values.at, values.after - 1)
    if numbers(data, after, "u1")[~null].any():
        return None
    return runs(data, first, after, null, pa.string())


def _ids(data: memoryview, values: Values) -> pa.Array:
    """Ids as text: 24 hexadecimal digits."""
    null = values.null
    digits = pieces(data, values.at[~null], _ID_BYTES).tobytes().hex().encode()
    ends = 2 * _ID_BYTES * np.cumsum(~null, dtype=np.int32)
    first = np.where(null, ends, ends - 2 * _ID_BYTES)
    return runs(memoryview(digits), first, ends, null, pa.string())

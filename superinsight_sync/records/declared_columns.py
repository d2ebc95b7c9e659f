"""Values and texts into declared types, nested ones by the rules of plain ones at every depth."""

from itertools import chain
from typing import Any

import pyarrow as pa

from superinsight_sync.records.cells import cast_texts
from superinsight_sync.records.json_text import object_of, plain_text_of


def declared_array(values: list[Any], dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    """JSON values as `dtype`, and the places of those that are not of this type (NULL in the result).

    A value becomes a plain type by its text, as a cell of a table does. A list takes arrays only. A struct takes
    objects without a value in another field; fields that are missing are NULL.
    """
    if pa.types.is_list(dtype):
        return _lists(values, dtype)
    if pa.types.is_struct(dtype):
        return _structs(values, dtype)
    return cast_texts(pa.array([None if v is None else plain_text_of(v) for v in values], pa.string()), dtype)


def declared_texts(texts: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    """The same of texts; nested types are read from JSON."""
    if not pa.types.is_nested(dtype):
        return cast_texts(texts, dtype)
    read = [(None, "") if t is None else object_of(f'{{"": {t}\n}}') for t in texts.to_pylist()]
    array, places = declared_array([None if v is None else v[""] for v, _ in read], dtype)
    return array, sorted({*places, *(at for at, (_, reason) in enumerate(read) if reason)})


def _lists(values: list[Any], dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    lists = [v if type(v) is list else [] for v in values]
    parents = [at for at, v in enumerate(lists) for _ in v]
    inner, misfits = declared_array([*chain.from_iterable(lists)], dtype.value_type)
    bad = {parents[m] for m in misfits}
    bad.update(at for at, v in enumerate(values) if v is not None and type(v) is not list)
    ends = [0]
    for v in lists:
        ends.append(ends[-1] + len(v))
    array = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner, type=dtype, mask=_absent(values, bad))
    return array, sorted(bad)


def _structs(values: list[Any], dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    names = {f.name for f in dtype}
    bad = {
        at
        for at, v in enumerate(values)
        if v is not None and (type(v) is not dict or any(v[k] is not None for k in v.keys() - names))
    }
    objects = [v if type(v) is dict else {} for v in values]
    arrays = []
    for field in dtype:
        inner, misfits = declared_array([v.get(field.name) for v in objects], field.type)
        bad.update(misfits)
        arrays.append(inner)
    return pa.StructArray.from_arrays(arrays, fields=list(dtype), mask=_absent(values, bad)), sorted(bad)


def _absent(values: list[Any], bad: set[int]) -> pa.Array:
    return pa.array([v is None or at in bad for at, v in enumerate(values)], pa.bool_())

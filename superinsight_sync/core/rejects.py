"""The one table of records that could not be taken: where each stood, why, and its text."""

import base64
import itertools
import json
import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Reject = tuple[str | None, int | None, str, str]
"""File (or page, topic, table it stood in), line from 1, reason without values, the record's text."""


def rejects_table(rejects: Collection[Reject]) -> "pa.Table":
    """Columns: file (string), line (int64, NULL if unknown), reason (string), record (string)."""
    import pyarrow as pa

    from superinsight_sync.core.arrow_values import numbers, texts

    files, lines, reasons, records = zip(*rejects, strict=True) if rejects else ((), (), (), ())
    columns = [texts(files), numbers(lines, pa.int64()), texts(reasons), texts(records)]
    return pa.Table.from_arrays(columns, names=["file", "line", "reason", "record"])


def told(value: bytes | str | None) -> Any:
    """What was sent as JSON: text as text, bytes that are none as `{"base64": "…"}`, which no text looks like."""
    if value is None or isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def sent(value: Any) -> bytes | None:
    """The bytes that `told` tells of."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


def record_texts(rows: "pa.RecordBatch") -> Iterator[str]:
    """Each row as JSON that loses nothing: what JSON has no form for is an object of one field named after its kind.

    Bytes are ``{"base64": "…"}``, decimals ``{"decimal": "1.10"}``, dates, times, timestamps and durations
    ``{"timestamp": "2026-01-31 00:00:00.000001Z"}``, NaN and infinities ``{"double": "nan"}``, maps
    ``{"map": [[key, value], …]}``; a struct that looks like one of these is ``{"struct": {…}}``.
    """
    columns = [_json_values(column) for column in rows.columns]
    for values in zip(*columns, strict=True):
        yield json.dumps(dict(zip(rows.schema.names, values, strict=True)), ensure_ascii=False)


_KINDS = ("base64", "decimal", "double", "timestamp", "date", "time", "duration", "map", "struct")


def _json_values(values: "pa.Array") -> list[Any]:
    import pyarrow as pa

    from superinsight_sync.core.arrow_values import time_texts

    kind = values.type
    if pa.types.is_dictionary(kind):
        return _json_values(values.dictionary_decode())
    if pa.types.is_struct(kind):
        return _structs(values)
    if pa.types.is_map(kind):
        items = zip(_json_values(values.keys), _json_values(values.items), strict=True)
        return _lists(values, [list(item) for item in items], "map")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(values, _json_values(values.values), None)
    if pa.types.is_temporal(kind):
        name = str(kind).split("[")[0].rstrip("0123456789")
        return _tagged(time_texts(values), name)
    found = values.to_pylist()
    if pa.types.is_decimal(kind):
        return _tagged([v if v is None else str(v) for v in found], "decimal")
    if pa.types.is_floating(kind):
        return [v if v is None or math.isfinite(v) else {"double": str(v)} for v in found]
    coded = (base64.b64encode(v).decode() if isinstance(v, bytes) else v for v in found)
    return _tagged(list(coded), "base64") if any(isinstance(v, bytes) for v in found) else found


def _tagged(texts: list[Any], tag: str) -> list[Any]:
    return [None if text is None else {tag: text} for text in texts]


def _structs(values: "pa.Array") -> list[Any]:
    names = [field.name for field in values.type]
    fields = [_json_values(field) for field in values.flatten()]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)] or [{}] * len(values)
    clash = len(names) == 1 and names[0] in _KINDS
    told = ({"struct": row} if clash else row for row in rows)
    return [row if there else None for row, there in zip(told, values.is_valid().to_pylist(), strict=True)]


def _lists(values: "pa.Array", inner: list[Any], tag: str | None) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(values.type):
        size = values.type.list_size
        offsets = [(values.offset + row) * size for row in range(len(values) + 1)]
    else:
        offsets = values.offsets.to_pylist()
    lists = [inner[start:end] for start, end in itertools.pairwise(offsets)]
    rows: list[Any] = [{tag: found} for found in lists] if tag else list(lists)
    return [row if there else None for row, there in zip(rows, values.is_valid().to_pylist(), strict=True)]

"""A record set aside is whole: what is written of it says exactly what its values were."""

import base64
import json
import re
from datetime import time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings

from superinsight_sync.core.rejects import record_texts
from superinsight_sync_tests.lake.test_store_properties import columns

LOOKS_LIKE_BYTES = pa.table(
    {
        "text": ['{"base64": "YQ=="}', "b'a'", "YQ=="],
        "bytes": pa.array([b"a", b"\xff\0", None]),
        "struct": [{"base64": "YQ=="}, None, {"base64": None}],
    }
)
SLICED = pa.table(
    {
        "lists": pa.array([[1], [], None, [2, 3]], pa.list_(pa.int8())),
        "fixed": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int8(), 2)),
        "maps": pa.array([[("a", b"1")], None, [], [("b", None)]], pa.map_(pa.string(), pa.binary())),
    }
).slice(1)
FAR = pa.table({"far": pa.array([2**55, -(2**60)], pa.int64()).cast(pa.timestamp("us", "UTC"))})


def back(kind: pa.DataType, value: Any) -> Any:
    """The value that the JSON says, for `pa.array` to make one of its type."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return [(back(kind.key_type, k), back(kind.item_type, v)) for k, v in value["map"]]
    if isinstance(value, list):
        return [back(kind.value_type, v) for v in value]
    if pa.types.is_struct(kind):
        row = value.get("struct", value) if list(value) == ["struct"] else value
        return {f.name: back(f.type, row[f.name]) for f in kind}
    if not isinstance(value, dict):
        return value
    ((tag, text),) = value.items()
    match tag:
        case "base64":
            return base64.b64decode(text)
        case "decimal":
            return Decimal(text)
        case "double":
            return float(text)
    if tag == "time":
        return time.fromisoformat(text)
    if tag == "timestamp" and re.match("-?[0-9]{5}", text):
        return int(np.datetime64(text.rstrip("Z").replace(" ", "T"), "us").astype(int))
    if tag == "duration":
        return int(text)
    return pa.scalar(text).cast(kind).value


def exact(values: pa.Array) -> pa.Array:
    return (
        values.cast(pa.int64())
        if pa.types.is_temporal(values.type) and values.type.bit_width == 64
        else values
    )


@given(rows=columns())
@example(LOOKS_LIKE_BYTES)
@example(SLICED)
@example(FAR)
@settings(max_examples=150)
def test_what_was_set_aside_reads_back_as_it_was(rows: pa.Table) -> None:
    for batch in rows.to_batches():
        texts = [json.loads(text) for text in record_texts(batch)]
        for name in batch.schema.names:
            column = batch.column(name)
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            found = pa.array([back(column.type, text[name]) for text in texts], column.type)
            assert repr(exact(found).to_pylist()) == repr(exact(column).to_pylist())


def test_bytes_decimals_and_times_are_told_apart_from_text_that_looks_like_them() -> None:
    rows = pa.record_batch(
        {"v": pa.array([b"1.10"]), "d": pa.array([Decimal("1.10")]), "t": ["1.10"], "f": [float("nan")]}
    )
    assert list(record_texts(rows)) == [
        '{"v": {"base64": "MS4xMA=="}, "d": {"decimal": "1.10"}, "t": "1.10", "f": {"double": "nan"}}'
    ]

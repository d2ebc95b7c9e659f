"""Values as text formats write them, made by polars expressions: no row becomes a Python object.

| value | JSON, JSONL | CSV |
|---|---|---|
| integer | number, all digits | the same |
| float | shortest number that reads back equal; NaN, infinities: null | the same; `NaN`, `inf`, `-inf` |
| decimal | string with all its digits, `"1.10"` | `1.10` |
| timestamp with zone | `"2026-01-31T23:59:59.000000+00:00"`, in UTC | the same without quotes |
| timestamp without zone, date, time | ISO 8601 without offset | the same |
| bytes | Base64, RFC 4648 with padding | the same |
| list, struct | array, object | its JSON text |
| map | array of `{"key": …, "value": …}` | its JSON text |
| NULL | null | nothing; the empty text is `""` |
"""

import polars as pl
import pyarrow as pa
from polars.datatypes import DataTypeClass

_Type = pl.DataType | DataTypeClass


def json_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """The batch with every value in a form that polars writes as the JSON of the table above."""
    frame = _frame(batch)
    return frame.select(_json_value(pl.col(name), kind).alias(name) for name, kind in frame.schema.items())


def csv_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """The batch with every value in a form that polars writes as the CSV of the table above."""
    frame = _frame(batch)
    return frame.select(_csv_value(pl.col(name), kind).alias(name) for name, kind in frame.schema.items())


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches([batch]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _csv_value(value: pl.Expr, kind: _Type) -> pl.Expr:
    if not isinstance(_instance(kind), pl.List | pl.Array | pl.Map | pl.Struct):
        return _json_value(value, kind)
    wrapped = pl.struct(_json_value(value, kind).alias("v")).struct.json_encode()
    text = wrapped.str.slice(len('{"v":')).str.head(-1)
    return pl.when(value.is_null()).then(None).otherwise(text)


def _json_value(value: pl.Expr, kind: _Type) -> pl.Expr:
    match _instance(kind):
        case pl.Datetime(time_zone=zone):
            in_utc = value.dt.convert_time_zone("UTC") if zone else value
            return in_utc.dt.to_string("iso:strict")
        case pl.Date() | pl.Time():
            return value.dt.to_string("iso:strict")
        case pl.Binary():
            return value.bin.encode("base64")
        case pl.Array(inner=inner):
            return _list(value.arr.to_list(), inner)
        case pl.List(inner=inner):
            return _list(value, inner)
        case pl.Map(key=key, value=item):
            return _list(value.map.entries(), pl.Struct({"key": key, "value": item}))
        case pl.Struct(fields=fields):
            parts = [_json_value(value.struct.field(f.name), f.dtype).alias(f.name) for f in fields]
            return pl.when(value.is_null()).then(None).otherwise(pl.struct(parts))
    return value


def _list(value: pl.Expr, inner: _Type) -> pl.Expr:
    return value.list.eval(_json_value(pl.element(), inner))


def _instance(kind: _Type) -> pl.DataType:
    return kind if isinstance(kind, pl.DataType) else kind()

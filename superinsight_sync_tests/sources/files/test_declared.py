"""Declared lists and structs: the rules of plain columns at every depth, from values and from texts."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.model.types import arrow_type
from superinsight_sync.records.declared_columns import declared_array, declared_texts

FAILS = "set aside"
JAN = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("list<string>", "abc", FAILS),
        ("list<string>", [1, "a", None], ["1", "a", None]),
        ("list<int64>", [1.5], FAILS),
        ("list<int64>", ["7", 7], [7, 7]),
        ("list<int64>", 7, FAILS),
        ("list<int64>", [], []),
        ("list<int64>", None, None),
        ("list<int64>", {"0": 1}, FAILS),
        ("struct<a: int64>", {"a": 1, "b": 2}, FAILS),
        ("struct<a: int64>", {"a": 1, "b": None}, {"a": 1}),
        ("struct<a: int64>", {"A": 1}, FAILS),
        ("struct<a: int64, b: string>", {"a": 1}, {"a": 1, "b": None}),
        ("struct<a: int64>", {"a": 1.5}, FAILS),
        ("struct<a: int64>", [["a", 1]], FAILS),
        ("list<timestamp>", [0], FAILS),
        ("list<timestamp>", ["2026-01-31T00:00:00Z"], [JAN]),
        ("list<decimal(12,2)>", [12.34, "5", 5], [Decimal("12.34"), Decimal(5), Decimal(5)]),
        ("list<decimal(12,2)>", [12.345], FAILS),
        ("list<list<int64>>", [[1], None, []], [[1], None, []]),
        ("list<list<int64>>", [[1], ["x"]], FAILS),
        ("list<struct<a: list<bool>>>", [{"a": [True, "false"]}, {}], [{"a": [True, False]}, {"a": None}]),
        ("list<struct<a: list<bool>>>", [{"a": ["maybe"]}], FAILS),
    ],
)
def test_a_nested_value_is_what_it_says_or_is_set_aside(kind: str, value: Any, found: Any) -> None:
    texts = pa.array([None if value is None else json.dumps(value)], pa.string())
    for array, bad in (
        declared_array([value], arrow_type(kind)),
        declared_texts(texts, arrow_type(kind)),
    ):
        assert array.type == arrow_type(kind)
        assert (FAILS if bad else array[0].as_py()) == found


def test_what_is_no_json_is_of_no_nested_type() -> None:
    texts = pa.array(["[1", "", "[1]]", "[1]", None, '{"a": 1, "a": 2}'])
    array, bad = declared_texts(texts, pa.list_(pa.int64()))
    assert bad == [0, 1, 2, 5]
    assert array.to_pylist()[3:5] == [[1], None]


PLAIN = ("int8", "int64", "float64", "decimal(12,2)", "bool", "date", "timestamp", "string")
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-300, 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-1000, 1000, places=3)
    | st.sampled_from(["1", "1.50", "true", "2026-01-31", "2026-01-31T10:00:00+02:00", "x", "", " 7 "])
    | st.sampled_from([[1], {"a": 1}])
)


@given(values=st.lists(VALUES, max_size=8), kind=st.sampled_from(PLAIN))
def test_nested_and_flat_agree(values: list[Any], kind: str) -> None:
    dtype = arrow_type(kind)
    flat, bad = declared_array(values, dtype)
    for wrap, nested, unwrap in (
        (lambda v: [v], pa.list_(dtype), lambda v: v[0]),
        (lambda v: {"f": v}, pa.struct([("f", dtype)]), lambda v: v["f"]),
        (lambda v: [{"f": [v]}], pa.list_(pa.struct([("f", pa.list_(dtype))])), lambda v: v[0]["f"][0]),
    ):
        array, misfits = declared_array([wrap(v) for v in values], nested)
        assert misfits == bad
        kept = [unwrap(v) for at, v in enumerate(array.to_pylist()) if at not in bad]
        assert kept == [v for at, v in enumerate(flat.to_pylist()) if at not in bad]


@pytest.mark.parametrize("kind", ["date", "timestamp", "list<date>"])
def test_a_year_that_there_is_not_is_set_aside(kind: str) -> None:
    dtype = arrow_type(kind)
    days = ["0001-01-01", "0000-01-01", "9999-12-31", "0000-12-31", "10000-01-01"]
    values = [[d] for d in days] if pa.types.is_list(dtype) else days
    _, bad = declared_array(values, dtype)
    assert bad == [1, 3, 4]


def test_an_offset_does_not_lead_out_of_the_years() -> None:
    texts = pa.array(["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59+01:00"])
    assert declared_texts(texts, arrow_type("timestamp"))[1] == [0, 1]

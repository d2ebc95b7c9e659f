"""`cast` to lists and structs: the rules of plain columns at every depth, from JSON text and from nested columns."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.types import arrow_type
from superinsight_sync.transform.conversion import ColumnCast, convert
from superinsight_sync.transform.scratch import Scratch
from superinsight_sync_tests.transform.conftest import Run

FAILS = "set aside"
JAN = datetime(2026, 1, 31, tzinfo=UTC)
CASES: dict[str, list[tuple[Any, Any]]] = {
    "list<string>": [("abc", FAILS), ([1, "a", None], ["1", "a", None]), (["null", ""], ["null", ""])],
    "list<int64>": [
        ([1.5], FAILS),
        (["7", 7, " 7 "], [7, 7, 7]),
        (7, FAILS),
        ([], []),
        (None, None),
        ({"0": 1}, FAILS),
        ([[1]], FAILS),
        ([2**63], FAILS),
    ],
    "struct<a: int64>": [
        ({"a": 1, "b": 2}, FAILS),
        ({"a": 1, "b": None}, {"a": 1}),
        ({"A": 1}, FAILS),
        ({"a": 1.5}, FAILS),
        ([["a", 1]], FAILS),
        ({}, {"a": None}),
    ],
    "list<timestamp>": [([0], FAILS), (["2026-01-31T00:00:00Z"], [JAN]), (["0000-01-31"], FAILS)],
    "list<decimal(12,2)>": [([12.34, "5", 5], [Decimal("12.34"), Decimal(5), Decimal(5)]), ([12.345], FAILS)],
    "list<list<int64>>": [([[1], None, []], [[1], None, []]), ([[1], ["x"]], FAILS)],
    "list<struct<a: list<bool>>>": [
        ([{"a": [True, "false"]}, {}, None], [{"a": [True, False]}, {"a": None}, None]),
        ([{"a": ["maybe"]}], FAILS),
        ([{"a": [], "b": 0}], FAILS),
    ],
    "struct<a: struct<x/y: decimal(38,19)>>": [
        ({"a": {"x/y": "1.2345678901234567890"}}, {"a": {"x/y": Decimal("1.2345678901234567890")}}),
        ({"a": {"x~1y": 1}}, FAILS),
    ],
}


@pytest.mark.parametrize("kind", CASES)
def test_a_nested_value_is_what_it_says_or_is_set_aside(run: Run, kind: str) -> None:
    values, wanted = zip(*CASES[kind], strict=True)
    texts = pa.array([json.dumps(v) for v in values], pa.string())
    rows = pa.table({"n": pa.array(range(len(texts))), "c": texts})
    outcome = run(rows, {"step": "cast", "columns": {"c": kind}})
    assert outcome.table.schema.field("c").type == arrow_type(kind)
    assert outcome.rows == [{"n": n, "c": v} for n, v in enumerate(wanted) if v != FAILS]
    assert all(r["_sis_rule"] == "cast_c" and r["_sis_column"] == "c" for r in outcome.records)


def test_what_is_no_json_or_loses_digits_is_set_aside(run: Run) -> None:
    texts = ["[1", "", "[1]]", "[1]", None, " [2]\n", "[1.2345678901234567890]", "null", "leer"]
    how = {"type": "list<decimal(38,19)>", "null_values": ["leer"]}
    outcome = run({"c": pa.array(texts)}, {"step": "cast", "columns": {"c": how}})
    assert outcome.column("c") == [[Decimal(1)], None, [Decimal(2)], None, None]
    assert outcome.quarantined == {"cast_c": 4}
    twice = run({"c": ['{"a": 1, "a": 2}']}, {"step": "cast", "columns": {"c": "struct<a: int64>"}})
    assert twice.quarantined == {"cast_c": 1}


def test_how_values_are_written_holds_at_every_depth(run: Run) -> None:
    how = {
        "type": "list<struct<p: decimal(9,2)>>",
        "decimal_mark": ",",
        "currency": "€",
        "null_values": ["-"],
    }
    outcome = run({"c": ['[{"p": "1,50 €"}, {"p": "-"}]']}, {"step": "cast", "columns": {"c": how}})
    assert outcome.column("c") == [[{"p": Decimal("1.50")}, {"p": None}]]


def test_nested_columns_become_other_nested_ones(run: Run) -> None:
    rows = pa.table(
        {
            "l": pa.array([[1, None], None, []], pa.list_(pa.int64())),
            "s": pa.array([{"a": "1.5", "at": JAN}, None, {"a": "x", "at": None}]),
            "f": pa.array([[1.5], [float("inf")], [float("nan")]]),
        }
    )
    cast = {"l": "list<string>", "s": "struct<a: float64, at: timestamp>"}
    outcome = run(rows.drop_columns("f"), {"step": "cast", "columns": cast})
    assert outcome.rows == [{"l": ["1", None], "s": {"a": 1.5, "at": JAN}}, {"l": None, "s": None}]
    assert outcome.quarantined == {"cast_s": 1}
    floats = run(rows.select(["f"]), {"step": "cast", "columns": {"f": "list<decimal(9,2)>"}})
    assert floats.column("f") == [[Decimal("1.50")]]
    assert floats.quarantined == {"cast_f": 2}


@pytest.mark.parametrize("dtype", [pa.int64(), pa.list_(pa.binary()), pa.struct([("b", pa.binary())])])
def test_what_has_no_json_is_refused(run: Run, dtype: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="cannot be cast to list<string>"):
        run({"c": pa.array([None], dtype)}, {"step": "cast", "columns": {"c": "list<string>"}})


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    scratch = Scratch(tmp_path_factory.mktemp("nested"), 256 << 20)
    yield scratch.connection
    scratch.close()


PLAIN = ("int8", "int64", "float64", "decimal(12,2)", "bool", "date", "timestamp", "string")
TEXTS = st.none() | st.sampled_from(
    ["1", "1.50", "1.505", "300", "true", "2026-01-31", "2026-01-31T10:00:00+02:00", "x", "", " 7 ", "1e2"]
)
WRAPS: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("list<{}>", lambda v: [v], lambda v: v[0]),
    ("struct<f: {}>", lambda v: {"f": v}, lambda v: v["f"]),
    ("list<struct<f: list<{}>>>", lambda v: [{"f": [v]}], lambda v: v[0]["f"][0]),
]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=8), kind=st.sampled_from(PLAIN), wrap=st.sampled_from(WRAPS)
)
def test_nested_and_flat_agree(
    connection: duckdb.DuckDBPyConnection, texts: Any, kind: str, wrap: Any
) -> None:
    def cast(cells: list[str | None], kind: str) -> list[Any]:
        made = convert("c", pa.string(), arrow_type(kind), ColumnCast(type=kind), "read")
        connection.register("cells", pa.table({"c": pa.array(cells, pa.string())}))
        rows = f"SELECT *, {made.value} AS v FROM (SELECT *, {made.text} AS read FROM cells)"
        select = f"SELECT CASE WHEN {made.given} AND v IS NULL THEN 1 END, v FROM ({rows})"
        return [FAILS if bad else v for bad, v in connection.sql(select).fetchall()]

    outer, into, out_of = wrap
    nested = cast([json.dumps(into(t)) for t in texts], outer.format(kind))
    assert [v if v == FAILS else out_of(v) for v in nested] == cast(texts, kind)


def test_flatten_takes_nested_fields(run: Run) -> None:
    flatten = {"j": {"tags": "list<string>", "who": "struct<id: int64>"}}
    texts = [
        '{"tags": ["a", "b"], "who": {"id": 7}}',
        '{"tags": "a"}',
        '{"who": {"id": 1, "name": "x"}}',
        "{}",
    ]
    outcome = run({"j": texts}, {"step": "map", "flatten": flatten})
    assert outcome.rows == [{"j_tags": ["a", "b"], "j_who": {"id": 7}}, {"j_tags": None, "j_who": None}]
    assert outcome.quarantined == {"flatten_j": 2}


def test_sql_reads_long_numbers_as_the_guide_says(run: Run) -> None:
    select = (
        """SELECT from_json(j, '{"a": "DECIMAL(38,9)"}').a AS whole, j->>'b' AS b, j->>'c' AS c FROM input"""
    )
    text = '{"a": 12345678901234567890.123456789, "b": 12345678901234567890123, "c": "1.2345678901234567890"}'
    outcome = run({"j": [text]}, {"step": "sql", "select": select})
    assert outcome.rows == [
        {
            "whole": Decimal("12345678901234567890.123456789"),
            "b": "12345678901234567890123",
            "c": "1.2345678901234567890",
        }
    ]

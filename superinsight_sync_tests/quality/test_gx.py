from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from superinsight_sync.model.declaration import ExpectSpec
from superinsight_sync.quality.builtin import Finding
from superinsight_sync.quality.catalogue import GX_TYPES
from superinsight_sync.quality.gx import run_gx

CANARY = "canary-of-acme"
TABLE = pa.table(
    {
        "n": pa.array([1, 2, 3, 3, None], pa.int64()),
        "m": pa.array([2, 3, 4, 5, 6], pa.int64()),
        "s": ["x", "y", CANARY, "z", None],
        "day": ["2024-01-01"] * 5,
        "js": ['{"a": 1}'] * 5,
    }
)
ARGUMENTS: dict[str, Any] = {
    "column": "n",
    "column_A": "m",
    "column_B": "n",
    "column_list": ["n", "m"],
    "column_set": ["n", "m", "s", "day", "js"],
    "value_set": [1, 2, 3],
    "value_pairs_set": [[2, 1]],
    "value": 5,
    "min_value": 0,
    "max_value": 100,
    "type_": "int64",
    "type_list": ["int64", "Int64", "int"],
    "regex": "^x",
    "regex_list": ["^x"],
    "strftime_format": "%Y-%m-%d",
    "json_schema": {"type": "object"},
    "sum_total": 3,
    "threshold": 3,
    "double_sided": True,
    "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 10]]},
    "method": "iqr",
    "multiplier": 1.5,
    "partition_object": {"values": [1, 2, 3], "weights": [0.3, 0.3, 0.4]},
}


def run(*declared: dict[str, Any], table: pa.Table = TABLE, **options: Any) -> list[Finding]:
    return run_gx([ExpectSpec.model_validate(d) for d in declared], ds.dataset(table), **options)


@pytest.mark.parametrize("type_", sorted(GX_TYPES))
def test_every_type_runs(type_: str) -> None:
    _, needed, optional = GX_TYPES[type_]
    given = {k: ARGUMENTS[k] for k in (*needed, *optional) if k in ARGUMENTS}
    if "regex" in type_ or "lengths" in type_:
        given["column"] = "s"
    if "strftime" in type_ or "dateutil" in type_:
        given["column"] = "day"
    if "json" in type_:
        given["column"] = "js"
    found = run({"type": type_, **given})[0]
    assert found.error is None
    assert CANARY not in repr(found)


def test_counts_and_no_values_in_the_findings() -> None:
    null, between, top, distinct, most = run(
        {"type": "expect_column_values_to_not_be_null", "column": "s"},
        {"type": "expect_column_values_to_be_in_set", "column": "s", "value_set": ["x", "y", "z"]},
        {"type": "expect_column_max_to_be_between", "column": "s", "max_value": "a"},
        {"type": "expect_column_distinct_values_to_be_in_set", "column": "s", "value_set": ["x"]},
        {"type": "expect_column_most_common_value_to_be_in_set", "column": "s", "value_set": ["q"]},
    )
    assert (null.passed, null.checked, null.failed) == (False, 5, 1)
    assert (between.passed, between.checked, between.failed) == (False, 4, 1)
    assert not (top.passed or distinct.passed or most.passed)
    assert CANARY not in repr([null, between, top, distinct, most])


def test_a_check_that_errors_is_told_apart_and_says_no_value() -> None:
    bad, missing, arguments, fine = run(
        {"type": "expect_column_values_to_be_between", "column": "s", "min_value": 1},
        {"type": "expect_column_values_to_not_be_null", "column": "nn"},
        {"type": "expect_column_values_to_be_between", "column": "n", "min_value": 1, "mostly": 7},
        {"type": "expect_column_values_to_be_between", "column": "n", "min_value": 1},
    )
    assert bad.error is not None
    assert CANARY not in bad.error
    assert "no column 'nn'" in str(missing.error)
    assert "mostly" in str(arguments.error)
    assert (fine.error, fine.passed) == (None, True)


def test_row_by_row_checks_in_batches_count_what_one_batch_counts() -> None:
    rows = pa.table({"x": [*range(1000), None, 5000], "y": ["a"] * 1002})
    declared = (
        {"type": "expect_column_values_to_be_between", "column": "x", "max_value": 900, "mostly": 0.9},
        {"type": "expect_column_values_to_be_between", "column": "x", "max_value": 900, "mostly": 0.91},
        {"type": "expect_column_values_to_not_be_null", "column": "x"},
        {"type": "expect_column_values_to_be_in_set", "column": "y", "value_set": ["a"]},
    )
    whole = run(*declared, table=rows)
    assert run(*declared, table=rows, batch_rows=100) == whole
    assert [(f.passed, f.checked, f.failed) for f in whole] == [
        (True, 1001, 100),
        (False, 1001, 100),
        (False, 1002, 1),
        (True, 1002, 0),
    ]


def test_over_the_limit_a_check_of_whole_columns_says_that_it_was_not_run() -> None:
    unique, rows, exists, null = run(
        {"type": "expect_column_values_to_be_unique", "column": "m"},
        {"type": "expect_table_row_count_to_equal", "value": 5},
        {"type": "expect_column_to_exist", "column": "m"},
        {"type": "expect_column_values_to_not_be_null", "column": "m"},
        max_rows=4,
    )
    assert "not run" in str(unique.error)
    assert "5 rows are over the limit of 4" in str(unique.error)
    assert (rows.passed, rows.observed, exists.passed, null.passed) == (True, "5", True, True)


def test_large_integers_with_nulls_are_not_rounded() -> None:
    big = 2**60 + 1
    table = pa.table({"x": pa.array([big, None], pa.int64()), "y": pa.array([big - 1, None], pa.int64())})
    right, wrong = run(
        {"type": "expect_column_values_to_be_in_set", "column": "x", "value_set": [big]},
        {"type": "expect_column_values_to_be_in_set", "column": "x", "value_set": [big - 1]},
        table=table,
    )
    assert (right.passed, wrong.passed) == (True, False)
    same = run(
        {"type": "expect_column_pair_values_to_be_equal", "column_A": "x", "column_B": "y"}, table=table
    )[0]
    assert not same.passed


def test_dates_decimals_zones_and_weird_names() -> None:
    name = 'a "b" 😀'
    table = pa.table(
        {
            name: [1, 2],
            "d": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
            "t": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
            "day": [date(2024, 1, 1), None],
        }
    )
    found = run(
        {"type": "expect_column_values_to_not_be_null", "column": name},
        {"type": "expect_column_values_to_be_between", "column": "d", "min_value": 1, "max_value": 2},
        {
            "type": "expect_column_values_to_be_between",
            "column": "t",
            "min_value": datetime(2023, 1, 1, tzinfo=UTC),
        },
        {"type": "expect_column_values_to_be_between", "column": "day", "min_value": date(2023, 1, 1)},
        table=table,
    )
    assert [(f.passed, f.error) for f in found] == [(True, None)] * 4


def test_an_empty_table_passes_what_asks_of_each_value() -> None:
    found = run(
        {"type": "expect_column_values_to_not_be_null", "column": "n"},
        {"type": "expect_table_row_count_to_equal", "value": 0},
        table=TABLE.slice(0, 0),
    )
    assert [(f.passed, f.checked, f.error) for f in found] == [(True, 0, None)] * 2


def test_system_columns_are_not_part_of_the_table_s_columns() -> None:
    table = pa.table({"a": [1], "_sis_hash": ["x"]})
    found = run({"type": "expect_table_columns_to_match_set", "column_set": ["a"]}, table=table)
    assert found[0].passed


def test_a_row_condition_narrows_the_rows() -> None:
    found = run(
        {
            "type": "expect_column_values_to_be_between",
            "column": "m",
            "min_value": 5,
            "row_condition": "n == 3",
        }
    )
    assert (found[0].checked, found[0].failed, found[0].error) == (2, 1, None)

import math
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import ExpectSpec
from superinsight_sync.model.results import CheckOutcome
from superinsight_sync.quality.builtin import Surroundings, run_builtin
from superinsight_sync.quality.expectations import parse_builtin
from superinsight_sync.quality.run import run_checks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def nothing(key: str) -> ds.Dataset:
    raise ConfigError(f"there is no stream '{key}'")


def run(table: pa.Table, *declared: dict[str, Any], **around: Any) -> list[CheckOutcome]:
    surroundings = {"references": nothing, "source_count": lambda: None, "now": NOW, **around}
    specs = [ExpectSpec.model_validate(d) for d in declared]
    return run_checks(specs, dataset=ds.dataset(table), **surroundings)


def one(column: pa.Array, **declared: Any) -> CheckOutcome:
    needs_column = {} if declared["type"] == "unique" else {"column": "x"}
    return run(
        pa.table({"x": column}),
        {"columns": ["x"], **declared} if not needs_column else {**needs_column, **declared},
    )[0]


INTS = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
BOUND = st.one_of(INTS, st.floats(allow_nan=False), st.floats(-3, 3))
DECIMALS = st.decimals(Decimal(-9), Decimal(9), allow_nan=False, places=2)
TIMES = st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2040-01-01"))
EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def values(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(st.none(), of), max_size=30)


TYPED = st.one_of(
    values(INTS).map(lambda v: (pa.array(v, pa.int64()), v)),
    values(st.floats(width=64)).map(lambda v: (pa.array(v, pa.float64()), v)),
    values(DECIMALS).map(lambda v: (pa.array(v, pa.decimal128(10, 2)), v)),
    values(st.sampled_from(["a", "b", "", "é😀", "a'b"])).map(lambda v: (pa.array(v, pa.string()), v)),
)


@EXAMPLES
@given(TYPED)
def test_not_null_and_unique_agree_with_a_naive_python_count(typed: tuple[pa.Array, list[Any]]) -> None:
    array, rows = typed
    found = one(array, type="not_null")
    assert (found.checked, found.failed, found.error) == (len(rows), rows.count(None), None)
    found = one(array, type="unique")
    present = ["NaN" if isinstance(v, float) and math.isnan(v) else v for v in rows if v is not None]
    assert (found.checked, found.failed) == (len(present), len(present) - len(Counter(present)))
    assert found.passed == (found.failed == 0)


@EXAMPLES
@given(
    st.one_of(
        st.tuples(values(INTS).map(lambda v: (pa.array(v, pa.int64()), v)), BOUND, BOUND),
        st.tuples(
            values(st.integers(0, 2**64 - 1)).map(lambda v: (pa.array(v, pa.uint64()), v)), BOUND, BOUND
        ),
        st.tuples(
            values(st.floats()).map(lambda v: (pa.array(v, pa.float64()), v)),
            st.floats(-9, 9),
            st.floats(-9, 9),
        ),
        st.tuples(
            values(DECIMALS).map(lambda v: (pa.array(v, pa.decimal128(10, 2)), v)), BOUND, DECIMALS.map(float)
        ),
    )
)
def test_range_agrees_with_a_naive_python_count(case: tuple[tuple[pa.Array, list[Any]], Any, Any]) -> None:
    (array, rows), low, high = case
    found = one(array, type="range", min=low, max=high)
    exact_low, exact_high = (
        b if isinstance(b, int) or math.isinf(b) else Decimal(str(b)) for b in (low, high)
    )
    if rows and isinstance(next((v for v in rows if v is not None), None), float):
        exact_low, exact_high = low, high
    bad = sum(v is not None and not exact_low <= v <= exact_high for v in rows)
    assert found.error is None
    assert (found.checked, found.failed) == (len(rows) - rows.count(None), bad)


@EXAMPLES
@given(values(TIMES), TIMES, TIMES, st.sampled_from(["us", "ns"]), st.booleans())
def test_range_of_times_agrees_with_a_naive_python_count(
    rows: list[Any], low: datetime, high: datetime, unit: str, zoned: bool
) -> None:
    array = pa.array(rows, pa.timestamp("us")).cast(pa.timestamp(unit))
    if zoned:
        array = array.cast(pa.timestamp(unit, "UTC"))
        array = array.cast(pa.timestamp(unit, "America/New_York"))
    bad = sum(v is not None and not low <= v <= high for v in rows)
    found = one(array, type="range", min=low.isoformat(), max=high.replace(tzinfo=UTC).isoformat())
    assert (found.error, found.failed) == (None, bad)
    days = pa.array([v and v.date() for v in rows], pa.date32())
    bad_days = sum(v is not None and not low.date() <= v.date() <= high.date() for v in rows)
    assert one(days, type="range", min=low.date(), max=high.date()).failed == bad_days


@EXAMPLES
@given(
    st.one_of(
        st.tuples(
            values(st.integers(-3, 3)).map(lambda v: (pa.array(v, pa.int8()), v)), st.integers(-300, 300)
        ),
        st.tuples(values(DECIMALS).map(lambda v: (pa.array(v, pa.decimal128(10, 2)), v)), DECIMALS),
        st.tuples(
            values(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=2)).map(
                lambda v: (pa.array(v, pa.string()), v)
            ),
            st.just("zzz"),
        ),
        st.tuples(
            values(st.floats(allow_nan=False)).map(lambda v: (pa.array(v, pa.float64()), v)), st.just(2.5)
        ),
    ),
    st.data(),
)
def test_set_agrees_with_a_naive_python_count(
    case: tuple[tuple[pa.Array, list[Any]], Any], data: st.DataObject
) -> None:
    (array, rows), other = case
    present = [v for v in rows if v is not None]
    allowed = [other, *data.draw(st.lists(st.sampled_from(present), max_size=4) if present else st.just([]))]
    found = one(array, type="set", values=allowed)
    assert found.error is None
    assert (found.checked, found.failed) == (len(present), sum(v not in allowed for v in present))


def test_unique_over_several_columns_leaves_out_rows_with_null() -> None:
    table = pa.table({"a": [1, 1, 1, None, None], "b": ["x", "x", "y", "z", "z"]})
    found = run(table, {"type": "unique", "columns": ["a", "b"]})[0]
    assert (found.checked, found.failed, found.passed) == (3, 1, False)


def test_reference_counts_orphans_and_lets_null_pass() -> None:
    table = pa.table({"c": [1, 2, 2, 9, None]})
    parents = ds.dataset(pa.table({"id": [1, 2, 2, None], "other": ["a"] * 4}))
    found = run(
        table,
        {"type": "reference", "column": "c", "to": "shop/customers", "to_column": "id"},
        references=lambda k: parents,
    )
    assert (found[0].checked, found[0].failed, found[0].error) == (4, 1, None)


def test_a_reference_that_cannot_be_followed_is_an_error_of_the_check() -> None:
    table = pa.table({"c": [1], "id": ["a"]})
    parents = ds.dataset(pa.table({"id": [1]}))
    missing, wrong, type_ = (
        run(table, {"type": "reference", "column": "c", "to": "shop/nowhere"})[0],
        run(table, {"type": "reference", "column": "c", "to": "shop/x"}, references=lambda k: parents)[0],
        run(table, {"type": "reference", "column": "id", "to": "shop/x"}, references=lambda k: parents)[0],
    )
    assert "shop/nowhere" in str(missing.error)
    assert "no column 'c'" in str(wrong.error)
    assert "string cannot be compared with int64" in str(type_.error)
    assert not (missing.passed or wrong.passed or type_.passed)


@pytest.mark.parametrize(
    ("column", "passed"),
    [
        (pa.array([NOW - timedelta(minutes=59), None], pa.timestamp("us", "UTC")), True),
        (pa.array([NOW - timedelta(minutes=61)], pa.timestamp("us", "UTC")), False),
        (pa.array([NOW - timedelta(minutes=59)], pa.timestamp("ns", "UTC")), True),
        (
            pa.array([NOW - timedelta(minutes=59)], pa.timestamp("us", "UTC")).cast(
                pa.timestamp("us", "Asia/Tokyo")
            ),
            True,
        ),
        (pa.array([(NOW - timedelta(minutes=59)).replace(tzinfo=None)], pa.timestamp("ms")), True),
        (pa.array([NOW.date()], pa.date32()), False),
        (pa.array([NOW + timedelta(minutes=4)], pa.timestamp("s", "UTC")), True),
        (pa.array([NOW, NOW + timedelta(minutes=6)], pa.timestamp("s", "UTC")), False),
        (pa.array([(NOW + timedelta(days=1)).date()], pa.date32()), True),
        (pa.array([(NOW + timedelta(days=2)).date()], pa.date32()), False),
        (pa.array([NOW.replace(year=9999)], pa.timestamp("us", "UTC")), False),
        (pa.array([None], pa.timestamp("us", "UTC")), False),
        (pa.array([], pa.timestamp("us")), False),
    ],
)
def test_freshness_of_every_kind_of_time(column: pa.Array, passed: bool) -> None:
    found = one(column, type="freshness", max_age="1h")
    assert (found.error, found.passed) == (None, passed)


def test_row_count_against_bounds_and_the_source() -> None:
    table = pa.table({"x": [1, 2, 3]})
    inside, short, over = run(
        table,
        {"type": "row_count", "min": 3, "max": 3},
        {"type": "row_count", "min": 5, "name": "short"},
        {"type": "row_count", "match_source": True, "name": "source"},
        source_count=lambda: 1,
    )
    assert (inside.passed, inside.failed) == (True, 0)
    assert (short.passed, short.failed) == (False, 2)
    assert (over.passed, over.failed, over.observed) == (False, 2, "3 rows; the source has 1")
    assert (
        run(table, {"type": "row_count", "match_source": True})[0].error
        == "the source does not tell its row count"
    )


def test_one_broken_check_does_not_stop_the_others_and_the_order_stays() -> None:
    table = pa.table({"x": ["secret-canary", None], "y": [1, 2]})
    found = run(
        table,
        {"type": "range", "column": "x", "min": 1},
        {"type": "not_null", "column": "x"},
        {"type": "not_null", "column": "z"},
        {"type": "expect_column_values_to_not_be_null", "column": "x"},
        {"type": "freshness", "column": "y", "max_age": "1d"},
        {"type": "not_null", "column": "y", "severity": "critical"},
    )
    assert [f.error is None for f in found] == [False, True, False, True, False, True]
    assert [f.failed for f in found] == [0, 1, 0, 1, 0, 0]
    assert found[5].severity == "critical"
    assert "secret-canary" not in repr(found)


def test_checks_that_read_rows_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    import superinsight_sync.quality.builtin as module

    real = module._query
    monkeypatch.setattr(module, "_query", lambda con, group: asked.append("x") or real(con, group))
    table = pa.table({"x": [1, 2, None]})
    run(
        table,
        {"type": "not_null", "column": "x"},
        {"type": "range", "column": "x", "min": 0},
        {"type": "set", "column": "x", "values": [1, 2]},
        {"type": "row_count", "min": 1},
    )
    assert len(asked) == 1


def test_a_reader_gives_the_same_findings_as_a_dataset() -> None:
    table = pa.table({"x": [1, 1, None, 4], "y": [1, 2, 3, 4]})
    checks = [
        parse_builtin(ExpectSpec.model_validate(d))
        for d in (
            {"type": "not_null", "column": "x"},
            {"type": "unique", "column": "x"},
            {"type": "row_count", "min": 9},
        )
    ]
    around = Surroundings(nothing, lambda: None, NOW)
    assert run_builtin(checks, table.to_reader(1), around) == run_builtin(checks, ds.dataset(table), around)


def test_weird_names_types_and_empty_tables() -> None:
    name = 'we"ird; DROP TABLE x -- 😀'
    odd = pa.table(
        {name: pa.array([None, 1]), "d": pa.array([Decimal(1)] * 2, pa.decimal256(60, 2)), "n": pa.nulls(2)}
    )
    found = run(odd, {"type": "not_null", "column": name}, {"type": "unique", "column": name})
    assert [(f.failed, f.error) for f in found] == [(1, None), (0, None)]
    assert run(odd, {"type": "not_null", "column": "d"})[0].error is not None
    empty = pa.table({"x": pa.array([], pa.int64())})
    found = run(
        empty,
        {"type": "not_null", "column": "x"},
        {"type": "unique", "column": "x"},
        {"type": "row_count", "max": 0},
    )
    assert [(f.passed, f.checked) for f in found] == [(True, 0)] * 3


@pytest.mark.parametrize(
    ("column", "declared", "failed"),
    [
        (pa.array([1, 2], pa.int32()), {"min": 2**70}, 2),
        (pa.array([1, 2], pa.int32()), {"max": -1e300}, 2),
        (pa.array([1, 2], pa.int32()), {"min": -(2**70), "max": math.inf}, 0),
        (pa.array([2**64 - 1], pa.uint64()), {"max": 2**64 - 2}, 1),
        (pa.array([Decimal("9" * 38)], pa.decimal128(38, 0)), {"min": 10**40}, 1),
        (pa.array(["b", "a'c"]), {"min": "a'd"}, 1),
        (pa.array([time(8), time(18)]), {"max": "17:00"}, 1),
        (pa.array([date(2024, 1, 1)], pa.date64()), {"max": "2024-01-01"}, 0),
        (
            pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC")),
            {"max": "9999-12-31", "min": "0001-01-01"},
            0,
        ),
        (pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC")), {"min": "9999-12-31"}, 1),
        (pa.array(["b", None]).dictionary_encode(), {"min": "c"}, 1),
        (pa.array([0.5], pa.float32()), {"max": 0.5}, 0),
    ],
)
def test_bounds_at_the_edges_of_types(column: pa.Array, declared: dict[str, Any], failed: int) -> None:
    found = one(column, type="range", **declared)
    assert (found.error, found.failed) == (None, failed)


@pytest.mark.parametrize(
    ("column", "declared"),
    [
        (pa.array([1]), ["1"]),
        (pa.array([1]), [True]),
        (pa.array(["1"]), [1]),
        (pa.array([True]), [1]),
        (pa.array([[1]]), [1]),
        (pa.array([date(2024, 1, 1)]), ["yesterday"]),
    ],
)
def test_a_set_of_another_type_is_an_error_not_a_failure_of_the_data(
    column: pa.Array, declared: list[Any]
) -> None:
    found = one(column, type="set", values=declared)
    assert found.error is not None
    assert not found.passed

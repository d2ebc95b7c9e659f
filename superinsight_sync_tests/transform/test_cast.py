"""Typed conversion: a cell becomes what it says, or its record is quarantined. Nothing in between."""

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync_tests.transform.conftest import Run

FAILS = "quarantined"
D = Decimal


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


LABELLED: list[tuple[Any, dict[str, Any]]] = [
    (
        "decimal(12,2)",
        {"1.5": D("1.50"), "-1": D("-1.00"), "1.005": FAILS, "1.500": D("1.50"), " 7 ": D("7.00")},
    ),
    (
        "decimal(12,2)",
        {"1.234,50": FAILS, "1,234.50": FAILS, "1e3": FAILS, "": FAILS, "N/A": FAILS, "1_000": FAILS},
    ),
    (
        "decimal(4,2)",
        {"99.99": D("99.99"), "100": FAILS, "12.340000": D("12.34"), ".5": D("0.50"), "5.": D("5.00")},
    ),
    ({"type": "decimal(12,2)", "round": True}, {"1.005": D("1.01"), "1.0049": D("1.00"), "x": FAILS}),
    (
        {"type": "decimal(12,2)", "decimal_mark": ",", "thousands": "."},
        {
            "1.234,50": D("1234.50"),
            "1234,5": D("1234.50"),
            "1.23,5": FAILS,
            "1.234.567": D("1234567"),
            "1,234.5": FAILS,
        },
    ),
    (
        {"type": "decimal(12,2)", "thousands": ","},
        {"1,234.50": D("1234.50"), "12,34.5": FAILS, "(300.00)": FAILS},
    ),
    ({"type": "decimal(12,2)", "null_values": ["N/A", ""]}, {"N/A": None, "": None, " ": None, "-": FAILS}),
    (
        "int64",
        {"12": 12, "+7": 7, "-0": 0, "12.7": FAILS, "12.0": 12, "0x1F": FAILS, "1e2": FAILS, "１２": FAILS},
    ),
    (
        "int64",
        {
            "9223372036854775807": 2**63 - 1,
            "9223372036854775808": FAILS,
            "00042": 42,
            "5%": FAILS,
            "😀": FAILS,
        },
    ),
    ("int8", {"127": 127, "128": FAILS, "-128": -128}),
    ("uint64", {"18446744073709551615": 2**64 - 1, "-1": FAILS}),
    (
        "float64",
        {
            "0.1": 0.1,
            "1e-7": 1e-7,
            "1E+20": 1e20,
            "inf": FAILS,
            "NaN": FAILS,
            "1e400": FAILS,
            "1e-400": FAILS,
        },
    ),
    ("float64", {"9007199254740993": FAILS, "9007199254740992": 2.0**53, "0.30000000000000004": 0.1 + 0.2}),
    ("float32", {"16777217": FAILS, "16777216": 16777216.0, "0.5": 0.5}),
    ("bool", {"true": True, "NO": False, "1": True, "2": FAILS, "maybe": FAILS, "": FAILS}),
    (
        {"type": "bool", "true_values": ["是"], "false_values": ["否"]},
        {"是": True, "否": False, "true": FAILS},
    ),
    ("date", {"2026-03-05": date(2026, 3, 5), "2026-02-30": FAILS, "20260305": FAILS, "05/03/2026": FAILS}),
    (
        "date",
        {
            "2026-3-5": FAILS,
            "2026-03-05T00:00:00": date(2026, 3, 5),
            "2026-03-05 10:00": FAILS,
            "epoch": FAILS,
        },
    ),
    (
        {"type": "date", "day_first": True},
        {"05/03/2026": date(2026, 3, 5), "5.3.2026": date(2026, 3, 5), "13/13/2026": FAILS},
    ),
    (
        {"type": "date", "day_first": False},
        {"05/03/2026": date(2026, 5, 3), "13/03/2026": FAILS, "05/03/26": FAILS},
    ),
    (
        {"type": "date", "formats": ["%Y年%m月%d日", "%b %d %Y", "%Y%m%d"]},
        {
            "2026年3月5日": date(2026, 3, 5),
            "Mar 5 2026": date(2026, 3, 5),
            "20260305": date(2026, 3, 5),
            "1772668800": FAILS,
        },
    ),
    (
        {"type": "date", "formats": ["%d/%m/%Y", "%m/%d/%Y"]},
        {
            "05/03/2026": FAILS,
            "13/03/2026": date(2026, 3, 13),
            "03/13/2026": date(2026, 3, 13),
            "05/05/2026": date(2026, 5, 5),
        },
    ),
    ({"type": "date", "format": "%d/%m/%Y"}, {"05/03/26": FAILS, "05/03/2026": date(2026, 3, 5)}),
    ({"type": "date", "round": True}, {"2026-03-05 23:59:59": date(2026, 3, 5)}),
    (
        "timestamp",
        {
            "2026-01-01": at(2026, 1, 1),
            "2026-01-01 10:00": at(2026, 1, 1, 10),
            "2026-01-01T10:00:00Z": at(2026, 1, 1, 10),
            "2026-01-01T10:00:00+05:30": at(2026, 1, 1, 4, 30),
            "2026-01-01 10:00:00.123456": at(2026, 1, 1, 10, 0, 0, 123456),
            "2026-01-01 10:00:00.1234567": FAILS,
            "2026-01-01 24:00:00": FAILS,
            "2026-12-31 23:59:60": FAILS,
            "infinity": FAILS,
            "now": FAILS,
            "1772668800": FAILS,
        },
    ),
    (
        {"type": "timestamp", "timezone": "Europe/Berlin"},
        {
            "2026-07-01 10:00": at(2026, 7, 1, 8),
            "2026-01-01 10:00": at(2026, 1, 1, 9),
            "2026-01-01T10:00:00Z": at(2026, 1, 1, 10),
            "2026-03-29 02:30": FAILS,
            "2026-10-25 02:30": FAILS,
            "2026-10-25 01:59": at(2026, 10, 24, 23, 59),
            "2026-10-25 03:00": at(2026, 10, 25, 2),
        },
    ),
    ("timestamp_ntz", {"2026-01-01 10:00": datetime(2026, 1, 1, 10), "2026-01-01T10:00:00Z": FAILS}),
    (
        {"type": "timestamp", "format": "epoch_s"},
        {"1772668800": at(2026, 3, 5), "1772668800.5": FAILS, "x": FAILS},
    ),
    (
        {"type": "timestamp", "formats": ["epoch_ms", "%Y-%m-%d"]},
        {"1772668800000": at(2026, 3, 5), "2026-03-05": at(2026, 3, 5)},
    ),
    ({"type": "timestamp", "format": "%d.%m.%Y %H:%M %z"}, {"05.03.2026 10:00 +0100": at(2026, 3, 5, 9)}),
    ({"type": "string", "null_values": ["-"]}, {"-": None, " x ": " x ", "😀": "😀", "": ""}),
    ("binary", {"é": "é".encode()}),
]


@pytest.mark.parametrize(("how", "cells"), LABELLED, ids=lambda v: str(v)[:40])
def test_every_labelled_cell_becomes_what_it_says_or_is_quarantined(
    run: Run, how: Any, cells: dict[str, Any]
) -> None:
    outcome = run({"key": list(cells), "c": list(cells)}, {"step": "cast", "columns": {"c": how}})
    found = dict(zip(outcome.column("key"), outcome.column("c"), strict=True))
    found |= {json.loads(r["_sis_record"])["key"]: FAILS for r in outcome.records}
    assert found == cells
    assert {r["_sis_column"] for r in outcome.records} <= {"c"}


TYPED: list[tuple[pa.Array, Any, list[Any]]] = [
    (pa.array([1, 300, None]), "int8", [1, FAILS, None]),
    (pa.array([2**53, 2**53 + 1]), "float64", [2.0**53, FAILS]),
    (pa.array([1.0, 1.5, math.nan, math.inf, -0.0, 1e300]), "int64", [1, FAILS, FAILS, FAILS, 0, FAILS]),
    (pa.array([2.675, 2.5, 0.1]), "decimal(12,2)", [FAILS, D("2.50"), D("0.10")]),
    (pa.array([2.675]), {"type": "decimal(12,2)", "round": True}, [D("2.68")]),
    (pa.array([D("1.005"), D("1.100")]), "decimal(12,2)", [FAILS, D("1.10")]),
    (pa.array([D("123.45")]), "decimal(4,2)", [FAILS]),
    (pa.array([D("0.10"), D("1.50")], pa.decimal128(9, 2)), "float64", [0.1, 1.5]),
    (pa.array([D("19336256299.204608"), D("-7.000000")]), "float64", [FAILS, -7.0]),
    (pa.array([0, 1, 2]), "bool", [False, True, FAILS]),
    (pa.array([True, False]), "int64", [1, 0]),
    (pa.array([1.5, None]), "string", ["1.5", None]),
    (pa.array([D("1.50")]), "string", ["1.50"]),
    (pa.array([at(2026, 1, 1), at(2026, 1, 1, 5)]), "date", [date(2026, 1, 1), FAILS]),
    (pa.array([at(2026, 1, 1, 5)]), {"type": "date", "round": True}, [date(2026, 1, 1)]),
    (
        pa.array([at(2026, 1, 1, 23, 30)]),
        {"type": "date", "round": True, "timezone": "Asia/Tokyo"},
        [date(2026, 1, 2)],
    ),
    (
        pa.array([date(2026, 1, 1)]),
        {"type": "timestamp", "timezone": "Europe/Berlin"},
        [at(2025, 12, 31, 23)],
    ),
    (pa.array([1772668800]), {"type": "timestamp", "format": "epoch_s"}, [at(2026, 3, 5)]),
    (pa.array([1, 2**62]), {"type": "timestamp", "format": "epoch_s"}, [at(1970, 1, 1, 0, 0, 1), FAILS]),
    (pa.array([1767225600000000001], pa.timestamp("ns")), "timestamp", [FAILS]),
    (pa.array([b"\xc3\xa9", b"\xc3"]), "string", ["é", FAILS]),
    (pa.array(["a", "b", "a"]).dictionary_encode(), "string", ["a", "b", "a"]),
    (pa.array([None, None], pa.null()), "int64", [None, None]),
    (pa.array([[1, 2]]), "string", ["[1,2]"]),
]


@pytest.mark.parametrize(("values", "how", "expected"), TYPED, ids=lambda v: str(v)[:30])
def test_typed_values_convert_without_loss_or_are_quarantined(
    run: Run, values: pa.Array, how: Any, expected: list[Any]
) -> None:
    outcome = run({"key": list(range(len(values))), "c": values}, {"step": "cast", "columns": {"c": how}})
    found = dict(zip(outcome.column("key"), outcome.column("c"), strict=True))
    assert [found.get(i, FAILS) for i in range(len(values))] == expected


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        (pa.array([1]), "timestamp", "Set format: epoch_s"),
        (pa.array([True]), "date", "cannot be cast"),
        (pa.array(["[1]"]), "list<int64>", "cannot be cast"),
        (pa.array(["1"]), "decimal(40,2)", "out of bounds"),
        (pa.array(["1"]), "timestmp", "Did you mean 'timestamp'"),
        (pa.array(["1"]), {"type": "int64", "thousand": ","}, "thousand"),
        (pa.array(["1"]), {"type": "int64", "thousands": ","}, None),
        (pa.array(["1"]), {"type": "int64", "thousands": "."}, "cannot be told"),
        (pa.array(["1"]), {"type": "date", "format": "%Q"}, "%Q"),
        (pa.array(["1"]), {"type": "timestamp", "timezone": "Europe/Bärlin"}, "no time zone"),
        (
            pa.array(["1"]),
            {"type": "bool", "true_values": ["1"], "false_values": ["1"]},
            "in true_values and",
        ),
    ],
)
def test_a_wrong_cast_is_refused_with_the_step_and_what_to_write(
    run: Run, values: pa.Array, how: Any, message: str | None
) -> None:
    if message is None:
        assert run({"c": values}, {"step": "cast", "columns": {"c": how}}).rows_read == 1
        return
    with pytest.raises(ConfigError) as caught:
        run({"c": values}, {"step": "cast", "columns": {"c": how}})
    assert message in str(caught.value)


NUMBERS = st.from_regex(r"[+-]?[0-9]{0,22}([.,][0-9]{0,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
TEXTS = st.one_of(
    NUMBERS,
    st.text(max_size=8),
    st.dates().map(str),
    st.datetimes().map(str),
    st.sampled_from(["", " ", "true", "No", "1,234.5", "2026-02-30", "0x10", "1_0", "nan", "-inf", "😀"]),
)
TYPES = st.sampled_from(
    [
        "int8",
        "int64",
        "uint32",
        "decimal(12,2)",
        "decimal(38,10)",
        "float64",
        "float32",
        "bool",
        "date",
        "timestamp",
    ]
)


def says(text: str, value: Any) -> bool:
    """Whether a value is what a text says, judged by Python's own readers."""
    bare = text.strip(" \t\r\n\u00a0\u3000")
    if isinstance(value, bool):
        return bare.lower() in (("true", "t", "yes", "y", "1") if value else ("false", "f", "no", "n", "0"))
    if isinstance(value, float):
        return math.isfinite(value) and D(repr(value)) == D(bare)
    if isinstance(value, int | D):
        return D(bare) == D(value)
    if isinstance(value, datetime):
        read = datetime.fromisoformat(bare)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)) == value
    return isinstance(value, date) and datetime.fromisoformat(bare) == datetime.combine(
        value, datetime.min.time()
    )


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cells=st.lists(st.none() | TEXTS, max_size=25), target=TYPES)
@example(
    cells=["0001-01-01", "9999-12-31", "1.7976931348623157e308", "5e-324", "-0", "0e9"], target="float64"
)
def test_no_cell_is_silently_changed_by_cast(run: Run, cells: list[str | None], target: str) -> None:
    table = {"key": pa.array(range(len(cells)), pa.int64()), "c": pa.array(cells, pa.string())}
    outcome = run(table, {"step": "cast", "columns": {"c": target}})
    passed = dict(zip(outcome.column("key"), outcome.column("c"), strict=True))
    aside = {json.loads(r["_sis_record"])["key"]: json.loads(r["_sis_record"])["c"] for r in outcome.records}
    assert set(passed) | set(aside) == set(range(len(cells)))
    assert not set(passed) & set(aside)
    for key, cell in enumerate(cells):
        if key in aside:
            assert aside[key] == cell is not None
        elif cell is None:
            assert passed[key] is None
        elif target == "float32":
            assert D(str(np.float32(passed[key]))) == D(cell.strip())
        else:
            assert says(cell, passed[key]), (cell, passed[key])


SOURCES = st.one_of(
    st.tuples(st.just(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20)),
    st.tuples(st.just(pa.float64()), st.lists(st.none() | st.floats(), max_size=20)),
    st.tuples(
        st.just(pa.decimal128(30, 6)),
        st.lists(st.none() | st.decimals(-(10**20), 10**20, places=6), max_size=20),
    ),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    source=SOURCES,
    target=st.sampled_from(
        ["int8", "int64", "uint32", "decimal(12,2)", "decimal(38,6)", "float64", "float32"]
    ),
)
def test_no_number_is_silently_changed_by_cast(
    run: Run, source: tuple[pa.DataType, list[Any]], target: str
) -> None:
    dtype, values = source
    table = {"key": pa.array(range(len(values)), pa.int64()), "c": pa.array(values, dtype)}
    outcome = run(table, {"step": "cast", "columns": {"c": target}})
    assert outcome.table.num_rows + outcome.quarantine.num_rows == len(values)
    for key, found in zip(outcome.column("key"), outcome.column("c"), strict=True):
        value = values[key]
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            assert found is value or str(found) == str(value)
        elif isinstance(value, D) and isinstance(found, float):
            assert D(str(np.float32(found) if target == "float32" else found)) == value
        elif isinstance(value, float) and isinstance(found, D):
            assert float(found) == value
        else:
            assert Fraction(found) == Fraction(value)

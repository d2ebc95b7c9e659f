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
        {"1.234,50": FAILS, "1,234.50": FAILS, "1e3": D("1000.00"), "": FAILS, "N/A": FAILS, "1_000": FAILS},
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
        {"12": 12, "+7": 7, "-0": 0, "12.7": FAILS, "12.0": 12, "0x1F": FAILS, "1e2": 100, "１２": 12},
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
    (
        {"type": "decimal(12,3)", "decimal_mark": ",", "thousands": "."},
        {
            "0.500": FAILS,
            "-0.125": FAILS,
            "0.500.000": FAILS,
            "0500": D("500"),
            "012.345": FAILS,
            "1.000": D("1000"),
            "12.345,678": D("12345.678"),
            "0,5": D("0.5"),
            "1234.567": FAILS,
            "1.234e2": D("123400"),
        },
    ),
    ({"type": "int64", "thousands": ","}, {"0,500": FAILS, "1,500": 1500, "1,50": FAILS, "1,2345": FAILS}),
    ({"type": "float64", "thousands": " "}, {"0 500": FAILS, "1 500.25": 1500.25}),
    (
        "int64",
        {
            "1e2": 100,
            "1.5e1": 15,
            "1.5e0": FAILS,
            "1E+18": 10**18,
            "1e19": FAILS,
            "100e-2": 1,
            "1e-2": FAILS,
            "-2.50e2": -250,
            "0e9999": 0,
            "1e9999": FAILS,
            "\u22125": -5,
            "－７": -7,
            "e5": FAILS,
        },
    ),
    (
        "decimal(12,2)",
        {
            "1.5e3": D("1500"),
            "12345e-2": D("123.45"),
            "12345e-3": FAILS,
            "５．２５": D("5.25"),
            "\u22120.5": D("-0.5"),
        },
    ),
    (
        {"type": "decimal(12,2)", "round": True},
        {
            "2.675": D("2.68"),
            "-2.675": D("-2.68"),
            "2.665": D("2.67"),
            "1.00499999": D("1.00"),
            "1005e-3": D("1.01"),
        },
    ),
    ({"type": "int64", "round": True}, {"2.5": 3, "-2.5": -3, "0.4999999999999999999999": 0, "25e-1": 3}),
    (
        {"type": "decimal(12,2)", "currency": ["€", "EUR", "$"], "thousands": ","},
        {
            "€1,200.50": D("1200.50"),
            "1,200.50 €": D("1200.50"),
            "EUR 5": D("5"),
            "5eur": D("5"),
            "-$5": D("-5"),
            "$-5": D("-5"),
            "-$-5": FAILS,
            "£5": FAILS,
            "7": D("7"),
            "$": FAILS,
            "(5)": FAILS,
        },
    ),
    (
        {"type": "decimal(12,2)", "currency": "￥", "accounting": True},
        {
            "(300.00)": D("-300"),
            "300.00-": D("-300"),
            "(￥300)": D("-300"),
            "￥(300)": FAILS,
            "(300": FAILS,
            "300)": FAILS,
            "(-300)": FAILS,
            "-300-": FAILS,
            "+300": D("300"),
            "５－": D("-5"),
        },
    ),
    (
        {"type": "decimal(12,4)", "percent": "fraction"},
        {
            "5%": D("0.05"),
            "12.5 %": D("0.125"),
            "0.005%": FAILS,
            "5": D("5"),
            "-5％": D("-0.05"),
            "%": FAILS,
            "5%%": FAILS,
        },
    ),
    ({"type": "float64", "percent": "number"}, {"5%": 5.0, "-0.1 %": -0.1}),
    ({"type": "float64", "percent": "fraction"}, {"5%": 0.05}),
    (
        "float64",
        {
            "8.3945900000000009": 8.39459,
            "8.394590000000000884e+00": 8.39459,
            "8.3945900000000008": FAILS,
            "1.100000000000000089e+00": 1.1,
            "0.1000000000000000055511151231257827021181583404541015625": 0.1,
            "1.00000000000000000e+00": 1.0,
            "1.0000000000000001": FAILS,
            "4.940656458412465e-324": 5e-324,
            "-8.3945900000000009E0": -8.39459,
            "0.30000000000000004440892098500626": 0.1 + 0.2,
        },
    ),
    ("float32", {"0.100000001490116119384765625": float(np.float32(0.1)), "0.1": float(np.float32(0.1))}),
    (
        {"type": "timestamp", "format": "%Y-%m-%d %H:%M %Z"},
        {
            "2026-07-01 10:00 UTC": at(2026, 7, 1, 10),
            "2026-07-01 10:00 gmt": at(2026, 7, 1, 10),
            "2026-07-01 10:00 Europe/Berlin": at(2026, 7, 1, 8),
            "2026-01-01 10:00 America/New_York": at(2026, 1, 1, 15),
            "2026-03-29 02:30 Europe/Berlin": FAILS,
            "2026-10-25 02:30 Europe/Berlin": FAILS,
            "2026-07-01 10:00 BST": FAILS,
            "2026-07-01 10:00 PST": FAILS,
            "2026-07-01 10:00 CET": FAILS,
            "2026-07-01 10:00 Europe/Nowhere": FAILS,
            "2026-07-01 10:00": FAILS,
        },
    ),
    (
        {"type": "timestamp", "format": "%Y-%m-%d %H:%M %z"},
        {
            "2026-07-01 10:00 Z": at(2026, 7, 1, 10),
            "2026-07-01 10:00 +0530": at(2026, 7, 1, 4, 30),
            "2026-07-01 10:00 -08": at(2026, 7, 1, 18),
            "2026-07-01 10:00 +14:00": at(2026, 6, 30, 20),
            "2026-07-01 10:00 +25:00": FAILS,
            "2026-07-01 10:00 +14:30": FAILS,
            "2026-07-01 10:00 +05:75": FAILS,
            "2026-07-01 10:00": FAILS,
            "9999-12-31 23:00 -05:00": FAILS,
        },
    ),
    (
        "timestamp",
        {
            "2026-01-01T00:00:00+25:00": FAILS,
            "2026-01-01T00:00:00+05:75": FAILS,
            "2026-01-01T00:00:00-12:00": at(2026, 1, 1, 12),
            "2026-01-01T00:00:00z": at(2026, 1, 1),
            "0000-01-01": FAILS,
            "0001-01-01": at(1, 1, 1),
            "9999-12-31T23:30:00-01:00": FAILS,
            "0001-01-01T00:30:00+01:00": FAILS,
            "12024-05-01": FAILS,
            "２０２６-01-01": at(2026, 1, 1),
        },
    ),
    (
        "date",
        {
            "2026-W10-4": date(2026, 3, 5),
            "2026-W53-5": date(2027, 1, 1),
            "2025-W53-1": FAILS,
            "2026-W10-8": FAILS,
        },
    ),
    ({"type": "date", "format": "%G-W%V-%u"}, {"2026-W01-1": date(2025, 12, 29), "2025-W53-1": FAILS}),
    (
        {"type": "date", "format": "%Y-%j"},
        {"2026-365": date(2026, 12, 31), "2026-366": FAILS, "2024-366": date(2024, 12, 31), "2026-0": FAILS},
    ),
    (
        {"type": "date", "format": "%a %d %B %Y"},
        {
            "Thu 5 March 2026": date(2026, 3, 5),
            "Mon 5 March 2026": FAILS,
            "Donnerstag 5 März 2026": date(2026, 3, 5),
            "jeu. 5 mars 2026": date(2026, 3, 5),
            "lun. 5 mars 2026": FAILS,
            "JUEVES 5 marzo 2026": date(2026, 3, 5),
            "Thu 5 Brumaire 2026": FAILS,
        },
    ),
    (
        {"type": "date", "formats": ["%d. %b %Y", "%d de %B de %Y", "%d %b %Y"]},
        {
            "1. Dez. 2026": date(2026, 12, 1),
            "1. Okt 2026": date(2026, 10, 1),
            "1 de enero de 2026": date(2026, 1, 1),
            "1 août 2026": date(2026, 8, 1),
            "1 févr. 2026": date(2026, 2, 1),
            "31 févr. 2026": FAILS,
        },
    ),
    (
        {"type": "date", "format": "%Y年%m月%d日"},
        {
            "二〇二六年三月五日": date(2026, 3, 5),
            "二零二六年十二月三十一日": date(2026, 12, 31),
            "２０２６年３月５日": date(2026, 3, 5),
            "二〇二六年十月廿三日": date(2026, 10, 23),
            "二〇二六年二月二十日": date(2026, 2, 20),
            "二〇二六年二月三十日": FAILS,
        },
    ),
    (
        {"type": "timestamp", "format": "epoch_s"},
        {
            "1767225600000": FAILS,
            "253402300799": at(9999, 12, 31, 23, 59, 59),
            "253402300800": FAILS,
            "-62135596801": FAILS,
        },
    ),
    (
        {"type": "timestamp", "format": "excel"},
        {
            "46086": at(2026, 3, 5),
            "46086.385416666664": at(2026, 3, 5, 9, 15),
            "1": at(1900, 1, 1),
            "59": at(1900, 2, 28),
            "60": FAILS,
            "61": at(1900, 3, 1),
            "0.5": FAILS,
            "2958465": at(9999, 12, 31),
            "2958466": FAILS,
        },
    ),
    (
        {"type": "date", "format": "excel_1904"},
        {"0": date(1904, 1, 1), "44624": date(2026, 3, 5), "1.5": FAILS},
    ),
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
    (
        pa.array([2.675, 1.005, -1.005, 2.665]),
        {"type": "decimal(12,2)", "round": True},
        [D("2.68"), D("1.01"), D("-1.01"), D("2.67")],
    ),
    (
        pa.array([2.675, 1.005]),
        {"type": "decimal(12,2)", "round": True, "floats": "exact"},
        [D("2.67"), D("1.00")],
    ),
    (pa.array([0.1, 0.5, 1e22]), {"type": "decimal(38,10)", "floats": "exact"}, [FAILS, D("0.5"), D(10**22)]),
    (
        pa.array([200000000000000.0, -2455555555.33, 1e22, 1e30, 1e-7, math.nan, math.inf]),
        "decimal(38,10)",
        [D("200000000000000"), D("-2455555555.33"), D(10**22), FAILS, D("0.0000001"), FAILS, FAILS],
    ),
    (pa.array([0.1, 16777216.0], pa.float32()), "decimal(12,2)", [D("0.10"), D("16777216")]),
    (pa.array([2.5, -2.5, 3.5]), {"type": "int64", "round": True}, [3, -3, 4]),
    (pa.array([D("2.5"), D("-2.5")]), {"type": "int64", "round": True}, [3, -3]),
    (pa.array([D("8.394590000000000900")]), "float64", [8.39459]),
    (
        pa.array([46086.385416666664, 60.0]),
        {"type": "timestamp", "format": "excel"},
        [at(2026, 3, 5, 9, 15), FAILS],
    ),
    (pa.array([46086]), {"type": "date", "format": "excel"}, [date(2026, 3, 5)]),
    (pa.array([1767225600000, -(10**12)]), {"type": "timestamp", "format": "epoch_s"}, [FAILS, FAILS]),
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
        (pa.array([1]), "list<int64>", "cannot be cast"),
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

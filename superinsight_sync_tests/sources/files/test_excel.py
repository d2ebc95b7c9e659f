"""Excel: what cells hold lands as that, and what is no value is set aside or no row at all."""

import json
import re
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlsxwriter

from superinsight_sync.core.errors import DataError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import open_engine, table_of
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.sources.files.folder import read, rows
from superinsight_sync_tests.sources.files.test_delimited import rejected


def book(path: Path, *columns: tuple[str, list[Any]], form: str = "General", **options: Any) -> None:
    """A workbook of these columns; cells that are times or numbers have the format."""
    with xlsxwriter.Workbook(path, options) as made:
        sheet, style = made.add_worksheet("data"), made.add_format({"num_format": form})
        for at, (name, cells) in enumerate(columns):
            sheet.write(0, at, name)
            for row, cell in enumerate(cells, 1):
                if isinstance(cell, tuple):
                    sheet.write_formula(row, at, *cell)
                elif cell is not None:
                    sheet.write(row, at, cell, style)


def without_results(path: Path) -> None:
    """As programs write workbooks that compute nothing."""
    with zipfile.ZipFile(path) as parts:
        held = {name: parts.read(name) for name in parts.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    held[sheet] = re.sub(rb"(</f>)<v>0</v>", rb"\1<v></v>", held[sheet])
    held[sheet] = held[sheet].replace(b'"><f>""</f>', b'" t="str"><f>""</f>')  # an empty text is a result
    with zipfile.ZipFile(path, "w") as out:
        for name, content in held.items():
            out.writestr(name, content)


ERRORS = ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"]


@pytest.mark.parametrize(
    ("error", "beside"), [*((e, 1) for e in ERRORS), *(("#N/A", b) for b in (1.5, "text", True, None))]
)
def test_an_error_sets_its_row_aside(tmp_path: Path, error: str, beside: Any) -> None:
    book(tmp_path / "a.xlsx", ("id", [1, 2, 3]), ("v", [beside, ("=1/0", None, error), beside]))
    with pytest.raises(DataError, match=re.escape(error)):
        rows(tmp_path, "a.xlsx")
    kept, aside = rejected(tmp_path, "a.xlsx")
    assert [r["id"] for r in kept] == [1, 3]
    assert [a[1:3] for a in aside] == [(3, f"column 'v' holds {error}")]
    assert json.loads(aside[0][3])["v"] == error


def test_a_formula_without_a_stored_result_sets_its_row_aside(tmp_path: Path) -> None:
    cells = [("=A2+1", None, 0), ("=A3+1", None, 7), ('=""', None, ""), 4, ("=A6+1", None, 0)]
    book(tmp_path / "a.xlsx", ("id", [1, 2, 3, 4, None]), ("v", cells))
    without_results(tmp_path / "a.xlsx")
    kept, aside = rejected(tmp_path, "a.xlsx")
    assert [r["id"] for r in kept] == [2, 3, 4], aside
    wanted = [(n, f"the formula in cell B{n} has no stored result") for n in (2, 6)]
    assert [a[1:3] for a in aside] == wanted


@pytest.mark.parametrize(
    ("cells", "form", "wanted"),
    [
        ([9.25 / 24, 0, 0.5], "hh:mm", ["09:15:00", "00:00:00", "12:00:00"]),
        ([9.25 / 24 + 0.25 / 86400, 0.5], "hh:mm:ss.000", ["09:15:00.250", "12:00:00.000"]),
        ([9.25 / 24, datetime(2026, 1, 2, 3, 4)], "yyyy-mm-dd hh:mm", ["09:15:00", "2026-01-02 03:04:00"]),
        ([9.25 / 24, "late"], "hh:mm", ["09:15:00", "late"]),
        ([1.5, 0.25], "[h]:mm", [timedelta(hours=36) // timedelta(microseconds=1), 21_600_000_000]),
        ([datetime(2026, 1, 2)], "yyyy-mm-dd", [datetime(2026, 1, 2)]),
        ([1, 2**40, -3, None], "0", [1, 2**40, -3, None]),
        ([1, 1.5], "0.00", [1.0, 1.5]),
    ],
)
def test_a_cell_is_what_it_shows(tmp_path: Path, cells: list[Any], form: str, wanted: list[Any]) -> None:
    book(tmp_path / "a.xlsx", ("id", list(range(len(cells)))), ("v", cells), form=form)
    found = [r["v"] for r in rows(tmp_path, "a.xlsx")]
    assert found == wanted
    assert [type(v) for v in found] == [type(v) for v in wanted]


def test_times_of_workbooks_that_count_from_1904(tmp_path: Path) -> None:
    book(tmp_path / "a.xlsx", ("v", [9.25 / 24]), form="hh:mm", date_1904=True)
    assert [r["v"] for r in rows(tmp_path, "a.xlsx")] == ["09:15:00"]


def test_empty_rows_are_none(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as made:
        sheet = made.add_worksheet()
        grey = made.add_format({"bg_color": "gray"})
        sheet.write_row(3, 2, ["id", "v"])
        for row in (4, 6, 9):
            sheet.write(row, 2, row)
        sheet.write_blank(5, 2, None, grey)
        sheet.write_formula(9, 3, "=1/0", None, "#N/A")
        sheet.write_blank(12, 3, None, grey)
    kept, aside = rejected(tmp_path, "a.xlsx")
    assert [r["id"] for r in kept] == [4, 6]
    assert [a[1] for a in aside] == [10]


def test_whole_numbers_of_one_file_and_others_of_another_are_numbers(tmp_path: Path) -> None:
    book(tmp_path / "a.xlsx", ("v", [1, 2]))
    book(tmp_path / "b.xlsx", ("v", [1.5]))
    assert read(tmp_path, "*.xlsx").column("v").to_pylist() == [1.0, 2.0, 1.5]


def test_durations_beside_numbers_are_refused(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as made:
        sheet = made.add_worksheet()
        sheet.write_column(0, 0, ["v", 3.25])
        sheet.write(2, 0, 1.5, made.add_format({"num_format": "[h]:mm"}))
    with pytest.raises(DataError, match="column 'v' holds durations beside other values"):
        rows(tmp_path, "a.xlsx")


def test_whole_numbers_come_to_fractions_in_a_table_without_changing_it(tmp_path: Path) -> None:
    """A later workbook whose cells happen to be whole."""
    book(tmp_path / "a.xlsx", ("id", [1]), ("price", [1.5]))
    engine = open_engine("run", load_settings({"SIS_PROJECT_DIR": str(tmp_path)}))
    by_file = {"mode": "incremental", "cursor": "_sis_file_modified_at"}
    declared = SourceSpec.model_validate(
        {
            "name": "s",
            "connection": {"kind": "files", "path": str(tmp_path), "settle": "0s"},
            "streams": [{"name": "s", "path": "*.xlsx", "sync": by_file}],
        }
    )
    pull_stream(engine, declared, declared.streams[0])
    (tmp_path / "a.xlsx").unlink()
    book(tmp_path / "b.xlsx", ("id", [2]), ("price", [2]))
    pull_stream(engine, declared, declared.streams[0])
    table = engine.lake.scan(table_of(declared, declared.streams[0], "raw")).read_all()
    assert sorted(table["price"].to_pylist()) == [1.5, 2.0]
    assert (table.schema.field("price").type, table.schema.field("id").type) == (pa.float64(), pa.int64())

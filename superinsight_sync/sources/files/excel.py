"""Excel: whole numbers, numbers, dates, times and flags have the types of their cells; a column of several kinds is
text. A row with an error, or a formula without a stored result, is set aside; an empty row is none."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.core.extras import need
from superinsight_sync.core.rejects import record_texts
from superinsight_sync.lake.joined_types import joined_type
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.columnar import TypedLayout
from superinsight_sync.sources.files.layout import FileColumn, Member
from superinsight_sync.sources.files.streams import open_seekable
from superinsight_sync.sources.files.workbook import DAMAGED, SheetFacts, readable, sheet_facts

MAX_BYTES = 512 << 20
"""A workbook is held in memory as a whole; a larger one, unpacked, is refused."""
_ERRORS = {
    "Div0": "#DIV/0!",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
    "GettingData": "#GETTING_DATA",
}
_EMPTY_TEXT = 'String("")'
_ERROR = re.compile(r"Error\((\w+)\)")
_DAY_ZERO = {False: "1899-12-31", True: "1904-01-01"}
"""What the reader makes of the date of a number below 1, which has none, by whether dates begin in 1904."""


@dataclass(frozen=True)
class _Sheet:
    """Attributes: rows: those with a value. bad: (row of the sheet, reason, text), of those set aside."""

    rows: pa.RecordBatch
    bad: list[tuple[int, str, str]] = field(default_factory=list)


class ExcelLayout(TypedLayout):
    """One sheet of each workbook."""

    _format = "Excel workbook"

    def batches(self, member: Member, rejects: Rejects, batch_rows: int) -> Iterator[pa.RecordBatch]:
        sheet = self._sheet(member)
        for line, reason, record in sheet.bad:
            rejects.add(member.file.name, line, reason, record)
        for at in range(0, sheet.rows.num_rows, batch_rows):
            yield self._fitted(member, sheet.rows.slice(at, batch_rows))

    def _schema(self, member: Member) -> tuple[pa.Schema, int | None]:
        rows = self._sheet(member).rows
        return rows.schema, rows.num_rows

    def _read(self, member: Member, batch_rows: int) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def _column(self, name: str, schemas: list[tuple[Member, pa.Schema]]) -> FileColumn:
        found = super()._column(name, schemas)
        known = self._landed.field(name).type if self._landed and name in self._landed.names else None
        return replace(found, arrow=known) if found.arrow == pa.int64() and known == pa.float64() else found

    def _joined(self, one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
        """Whole numbers and others are one kind of cell: each whole one is a double in the file."""
        if {one, other} == {pa.int64(), pa.float64()}:
            return pa.float64()
        return joined_type(one, other)

    def _sheet(self, member: Member) -> _Sheet:
        need("excel", "reading Excel workbooks")
        import fastexcel

        data = self._content(member)
        sheet: Any = self._spec.sheet
        try:
            book = fastexcel.read_excel(data)
            names = book.sheet_names
            if (sheet not in names) if isinstance(sheet, str) else (sheet >= len(names)):
                raise ConfigError(
                    f"it has no sheet {sheet!r}",
                    where=member.where,
                    hint=f"Write format.sheet, one of: {', '.join(names)}",
                )
            facts = sheet_facts(data, sheet if isinstance(sheet, str) else names[sheet])
            if facts.unnamed:
                book = fastexcel.read_excel(readable(data, facts))
            header = 0 if self._spec.header else None
            loaded = book.load_sheet(sheet, header_row=header, schema_sample_rows=None)
            batch, errors = loaded.to_arrow_with_errors()
        except fastexcel.UnsupportedColumnTypeCombinationError as error:
            raise _of_several_kinds(member, str(error)) from None
        except fastexcel.CalamineCellError:
            raise DataError(
                "a cell holds the error #NAME?",
                where=member.where,
                hint="Correct the cell, or save it as .xlsx",
            ) from None
        except (fastexcel.FastExcelError, pa.ArrowException, *DAMAGED):
            raise self._damaged(member) from None
        return _sound(batch, errors.errors if errors else (), facts, headers=int(self._spec.header))

    def _content(self, member: Member) -> bytes:
        with open_seekable(member.file) as raw:
            data = raw.read(MAX_BYTES + 1)
        size_bytes = len(data)
        if data.startswith(b"PK"):
            try:
                with zipfile.ZipFile(io.BytesIO(data)) as parts:
                    size_bytes = sum(i.file_size for i in parts.infolist())
            except (zipfile.BadZipFile, ValueError, NotImplementedError):
                raise self._damaged(member) from None
        self._limits.check(member.file, size_bytes)
        if size_bytes > MAX_BYTES:
            raise ConfigError(
                f"a workbook of more than {MAX_BYTES >> 20} MB, unpacked, is not read",
                where=member.where,
                hint="Have it written as CSV or Parquet",
            )
        return data


def _of_several_kinds(member: Member, text: str) -> DataError:
    found = re.search(r"dtype for column (.+)", text)
    column = f"column '{found[1].strip()}'" if found else "a column"
    return DataError(
        f"{column} holds durations beside other values",
        where=member.where,
        hint="Have all cells of the column formatted alike",
    )


def _sound(batch: pa.RecordBatch, errors: Any, facts: SheetFacts, *, headers: int) -> _Sheet:
    """The rows that have values, and those set aside."""
    first = facts.first_row + headers
    reasons: dict[int, str] = {}
    shown: dict[int, dict[str, str]] = {}
    arrays = [_typed(values, from_1904=facts.from_1904) for values in batch.columns]
    batch = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    for error in errors:
        if _EMPTY_TEXT in error.detail:  # NULL, what a formula gives for nothing
            continue
        row, column = error.offset_position
        name, code = batch.schema.names[column], _ERROR.search(error.detail)
        text = _ERRORS.get(code[1], "an error") if code else "a value of another kind"
        if text == "#VALUE!" and first + row in facts.unnamed:
            text = "#NAME?"
        reasons.setdefault(row, f"column '{name}' holds {text}")
        shown.setdefault(row, {})[name] = text
    for number, cell in facts.unsolved.items():
        if number >= first:
            reasons.setdefault(number - first, f"the formula in cell {cell} has no stored result")
    bad = []
    for row, reason in sorted(reasons.items()):
        there = row < batch.num_rows
        values = json.loads(next(record_texts(batch.slice(row, 1)))) if there else {}
        text = json.dumps({**values, **shown.get(row, {})}, ensure_ascii=False)
        bad.append((first + row, reason, text))
    keep = pa.array([i not in reasons for i in range(batch.num_rows)], pa.bool_())
    if batch.num_columns:
        keep = pc.and_(keep, reduce(pc.or_, [values.is_valid() for values in batch.columns]))
    return _Sheet(batch.filter(keep), bad)


def _typed(values: pa.Array, *, from_1904: bool) -> pa.Array:
    """Whole numbers as int64, and what has no date as a time."""
    if pa.types.is_float64(values.type):
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:
            return values
    day_zero = _DAY_ZERO[from_1904]
    if pa.types.is_string(values.type):
        return pc.replace_substring_regex(values, rf"^{day_zero} (\d\d:\d\d:\d\d)", r"\1")
    if not pa.types.is_timestamp(values.type) or values.null_count == len(values):
        return values
    ms = values.cast(pa.timestamp("ms"))
    of_day_zero = pc.equal(pc.floor_temporal(ms, unit="day"), pc.strptime(day_zero, "%Y-%m-%d", "ms"))
    if not pc.any(of_day_zero).as_py():
        return values
    whole = pc.equal(pc.millisecond(ms), 0)
    times = ms.cast(pa.time32("ms"))
    if pc.all(whole).as_py():
        times = times.cast(pa.time32("s"))
    if pc.all(of_day_zero).as_py():
        return times
    unit = "s" if pc.all(whole).as_py() else "ms"
    return pc.if_else(of_day_zero, times.cast(pa.string()), ms.cast(pa.timestamp(unit)).cast(pa.string()))

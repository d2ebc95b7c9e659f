"""Excel: numbers, dates and flags have the types of their cells; a column of several kinds is text."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.extras import need
from superinsight_sync.sources.files.columnar import TypedLayout
from superinsight_sync.sources.files.layout import Member
from superinsight_sync.sources.files.streams import open_seekable

MAX_BYTES = 512 << 20
"""A workbook is held in memory as a whole; a larger one, unpacked, is refused."""


class ExcelLayout(TypedLayout):
    """One sheet of each workbook."""

    _format = "Excel workbook"

    def _schema(self, member: Member) -> tuple[pa.Schema, int | None]:
        batch = self._sheet(member)
        return batch.schema, batch.num_rows

    def _read(self, member: Member, batch_rows: int) -> Iterator[pa.RecordBatch]:
        batch = self._sheet(member)
        for at in range(0, batch.num_rows, batch_rows):
            yield batch.slice(at, batch_rows)

    def _sheet(self, member: Member) -> pa.RecordBatch:
        need("excel", "reading Excel workbooks")
        import fastexcel

        data = self._content(member)
        sheet: Any = self._spec.sheet
        try:
            book = fastexcel.read_excel(data)
            if (
                (sheet not in book.sheet_names)
                if isinstance(sheet, str)
                else (sheet >= len(book.sheet_names))
            ):
                raise ConfigError(
                    f"it has no sheet {sheet!r}",
                    where=member.where,
                    hint=f"Write format.sheet, one of: {', '.join(book.sheet_names)}",
                )
            header = 0 if self._spec.header else None
            loaded = book.load_sheet(sheet, header_row=header, schema_sample_rows=None)
            return loaded.to_arrow()
        except (fastexcel.FastExcelError, pa.ArrowException):
            raise self._damaged(member) from None

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

"""CSV and TSV: every cell is read as the text it is, and typed only by declaration."""

import csv
import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.csv

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.records.declared_columns import declared_texts
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.records.text_records import Scanner
from superinsight_sync.sources.files.layout import FileColumn, Member, Reading, merge_names
from superinsight_sync.sources.files.streams import TextStream, skip_lines

_BLOCK_BYTES = 1 << 20
"""The parser reads up to 32 of these ahead."""
_OPEN_QUOTE = "a quote is left open up to the end of the file"


@dataclass
class _Pending:
    """Records of one file that cannot be read, by record number (1 is the first after the header)."""

    ragged: list[tuple[int, str, str]] = field(default_factory=list)
    """Noted by the parser, ascending: (record, reason, text)."""
    untyped: list[tuple[int, str, str]] = field(default_factory=list)

    def record_of(self, row: int) -> int:
        """The record number of the row that is `row` rows after the first one that the parser gave."""
        number = row + 1
        for bad, _, _ in self.ragged:
            if bad > number:
                break
            number += 1
        return number


class DelimitedLayout:
    """Columns are those of all headers, in order of appearance; a file that lacks one has NULL."""

    def __init__(self, reading: Reading) -> None:
        self._spec = reading.spec
        self._limits = reading.limits
        self._names = {m.file.name: self._header(m)[0] for m in reading.members}
        names = merge_names([(m, self._names[m.file.name]) for m in reading.members])
        types = reading.declared()
        for name, dtype in types.items():
            if pa.types.is_nested(dtype):
                raise ConfigError(f"column '{name}' of a CSV cannot be {dtype}", where="format.columns")
        if not names:
            names = tuple(types)
        self.columns = tuple(FileColumn(n, types.get(n, pa.string()), "text") for n in names)

    def rows(self, member: Member) -> int | None:
        return None

    def batches(self, member: Member, rejects: Rejects, batch_rows: int) -> Iterator[pa.RecordBatch]:
        names = self._names[member.file.name]
        if not names:
            return
        pending = _Pending()
        given = 0
        for read in (self._by_blocks, self._by_records):
            pending.ragged.clear()
            try:
                for batch in _after(self._texts(member, pending, read), given):
                    yield self._typed(batch, names, given, pending)
                    given += batch.num_rows
                break
            except pa.ArrowInvalid as error:
                # Its message would show the customer's record.
                if "straddling" not in str(error):
                    raise DataError("it is no delimited text", where=member.where) from None
        self._reject(member, pending, rejects)

    def _header(self, member: Member) -> tuple[tuple[str, ...], int]:
        """The file's column names, and how many bytes of its text they take."""
        scanner = self._scanner(member)
        with self._open(member) as stream:
            _, record, end = next(scanner.records(stream), (0, b"", 0))
        cells = scanner.split(record) if record else []
        if not self._spec.header:
            declared = list(self._spec.columns or ())
            names = [*declared[: len(cells)], *(f"column_{i + 1}" for i in range(len(declared), len(cells)))]
            return tuple(names), 0
        return tuple(n if n.strip() else f"column_{i + 1}" for i, n in enumerate(cells)), end

    def _open(self, member: Member) -> TextStream:
        form = member.format
        stream = TextStream(member.file, form.compression, form.encoding, self._limits)
        skip_lines(stream, self._spec.skip_rows)
        return stream

    def _texts(self, member: Member, pending: _Pending, read: Any) -> Iterator[pa.RecordBatch]:
        """The file's records as text columns named 0, 1, …; ragged ones are noted in `pending`.

        A last record of our own is appended: if it does not come back as it is, a quote was left open.
        """
        columns, header_bytes = self._header(member)
        mark = secrets.token_hex(16)
        with self._open(member) as text:
            header = text.read(header_bytes)
            source = _Marked(text, (mark + member.format.delimiter * (len(columns) - 1)).encode())
            try:
                yield from _until(
                    mark, read(member, source, self._start(len(columns), header), pending), pending
                )
            except (pa.ArrowException, OSError):
                if text.failure:
                    raise text.failure from None
                raise

    def _start(self, width: int, header: bytes) -> "_Start":
        return _Start(width, header, self._spec.skip_rows)

    def _by_blocks(
        self, member: Member, source: "_Marked", start: "_Start", pending: _Pending
    ) -> Iterator[pa.RecordBatch]:
        """Raises ArrowInvalid where a record is larger than a block."""
        yield from pa.csv.open_csv(source, **self._options(member, start.width, pending, _BLOCK_BYTES, 0))

    def _by_records(
        self, member: Member, source: "_Marked", start: "_Start", pending: _Pending
    ) -> Iterator[pa.RecordBatch]:
        """The same in pieces that end where a record ends: slower, for records of any size up to 64 MB."""
        scanner = self._scanner(member, skip_blank=start.width > 1)
        records = scanner.records(source, start.line)
        before = 0
        while piece := list(_up_to(records, _BLOCK_BYTES)):
            data = b"\n".join([*piece, b""])
            options = self._options(member, start.width, pending, len(data) + 1, before)
            yield from pa.csv.open_csv(io.BytesIO(data), **options)
            before += len(piece)

    def _options(
        self, member: Member, width: int, pending: _Pending, block_bytes: int, before: int
    ) -> dict[str, Any]:
        names = [str(i) for i in range(width)]

        def ragged(row: Any) -> str:
            reason = f"{row.actual_columns} cells instead of {width}"
            pending.ragged.append((before + row.number, reason, row.text))
            return "skip"

        return {
            "read_options": pa.csv.ReadOptions(use_threads=False, block_size=block_bytes, column_names=names),
            "parse_options": pa.csv.ParseOptions(
                delimiter=member.format.delimiter,
                quote_char=self._spec.quote,
                newlines_in_values=True,
                ignore_empty_lines=width > 1,
                invalid_row_handler=ragged,
            ),
            "convert_options": pa.csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.string() for name in names},
                null_values=list(self._spec.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        }

    def _typed(
        self, batch: pa.RecordBatch, names: tuple[str, ...], given: int, pending: _Pending
    ) -> pa.RecordBatch:
        """The batch with all columns of the stream, without the rows that have a cell of the wrong type."""
        texts = dict(zip(names, batch.columns, strict=True))
        arrays: list[pa.Array] = []
        bad: dict[int, str] = {}
        for column in self.columns:
            if column.name not in texts:
                arrays.append(pa.nulls(batch.num_rows, column.arrow))
                continue
            array, places = declared_texts(texts[column.name], column.arrow)
            arrays.append(array)
            for place in places:
                bad.setdefault(place, f"column '{column.name}' is not {column.arrow}")
        typed = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in self.columns])
        if not bad:
            return typed
        for place, reason in sorted(bad.items()):
            cells = batch.slice(place, 1).to_pylist()[0].values()
            pending.untyped.append((pending.record_of(given + place), reason, _text(cells, self._spec.quote)))
        keep = pa.array([i not in bad for i in range(batch.num_rows)])
        return typed.filter(keep)

    def _reject(self, member: Member, pending: _Pending, rejects: Rejects) -> None:
        found = sorted(pending.ragged + pending.untyped)
        stood = self._stood(member, {number for number, _, _ in found})
        for number, reason, record in found:
            line, text = stood.get(number, (None, record.encode()))
            rejects.add(member.file.name, line, reason, text.decode("utf-8", "replace"))

    def _stood(self, member: Member, numbers: set[int]) -> dict[int, tuple[int, bytes]]:
        """Lines and texts of the records of these numbers; only looked up when there is something to tell."""
        if not numbers:
            return {}
        names, header_bytes = self._header(member)
        scanner = self._scanner(member, skip_blank=len(names) > 1)
        with self._open(member) as stream:
            start = self._start(len(names), stream.read(header_bytes))
            return scanner.found(stream, numbers, start.line)

    def _scanner(self, member: Member, *, skip_blank: bool = True) -> Scanner:
        return Scanner(member.format.delimiter, self._spec.quote, skip_blank=skip_blank, where=member.where)


@dataclass(frozen=True)
class _Start:
    """Where the records begin: how many cells they should have, and the header before them."""

    width: int
    header: bytes
    skipped: int = 0
    """Lines before the header."""

    @property
    def line(self) -> int:
        return 1 + self.skipped + (self.header.count(b"\n") or self.header.count(b"\r"))


class _Marked(io.RawIOBase):
    """A stream with one more line at its end."""

    def __init__(self, stream: TextStream, mark: bytes) -> None:
        super().__init__()
        self._stream = stream
        self._mark: bytes | None = mark
        self._last = b"\n"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if data:
            self._last = data[-1:]
        elif self._mark is not None:
            data = (b"" if self._last in b"\r\n" else b"\n") + self._mark + b"\n"
            self._mark = None
        return data


def _up_to(records: Iterator[tuple[int, bytes, int]], size_bytes: int) -> Iterator[bytes]:
    """The texts of the next records, until they have that size."""
    taken = 0
    for _, text, _ in records:
        yield text
        taken += len(text)
        if taken >= size_bytes:
            return


def _until(mark: str, reader: Any, pending: _Pending) -> Iterator[pa.RecordBatch]:
    """The batches up to the marked last record, which must be a record of its own."""
    held: pa.RecordBatch | None = None
    rows = 0
    for batch in reader:
        if batch.num_rows:
            if held is not None:
                yield held
                rows += held.num_rows
            held = batch
    last = held.slice(held.num_rows - 1).to_pylist()[0] if held is not None else {}
    if held is not None and last["0"] == mark:
        yield held.slice(0, held.num_rows - 1)
    elif pending.ragged and mark in pending.ragged[-1][2]:
        number, _, text = pending.ragged.pop()
        if held is not None:
            yield held
        pending.ragged.append((number, _OPEN_QUOTE, text.partition(mark)[0].rstrip("\r\n")))
    elif held is not None:
        yield held.slice(0, held.num_rows - 1)
        number = pending.record_of(rows + held.num_rows - 1)
        cells = ["" if c is None else c.partition(mark)[0] for c in last.values()]
        pending.ragged.append((number, _OPEN_QUOTE, _text(cells, '"')))


def _after(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The batches without the first `rows` rows."""
    for batch in batches:
        if rows < batch.num_rows:
            yield batch.slice(rows)
        rows = max(0, rows - batch.num_rows)


def _text(cells: Any, quote: str) -> str:
    """A record's cells as they may have stood in the file."""
    out = io.StringIO()
    csv.writer(out, quotechar=quote, lineterminator="").writerow(cells)
    return out.getvalue()

"""JSON and JSON Lines: a first pass over everything finds the types, the second reads the rows.

Most JSON Lines become columns without becoming Python objects. A piece where that might change a value (duplicate
keys, big integers, inexact numbers) or whose keys and types are new goes through a parser that keeps them apart.
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.model.naming import check_names
from superinsight_sync.records.declared_columns import declared_array
from superinsight_sync.records.json_columns import (
    Attempts,
    ColumnReader,
    Proven,
    note,
    read_columns,
    strict_type,
)
from superinsight_sync.records.json_lines import pieces, records_of
from superinsight_sync.records.json_text import OnBad, Records, document, gathered
from superinsight_sync.records.json_types import MAX_FIELDS, Seen
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.layout import FileColumn, Member, Reading, merge_names
from superinsight_sync.sources.files.streams import TextStream

_MAX_COLUMNS = 10 * MAX_FIELDS
_CHUNK_ROWS = 10_000
Piece = tuple[list[bytes], Callable[[], Records]]
"""The texts of some records where each has a line of its own, and what they are parsed by."""


class JsonLayout:
    """Columns are the keys of all objects, in order of appearance; an object that lacks one has NULL."""

    def __init__(self, reading: Reading) -> None:
        self._limits = reading.limits
        self._spec = reading.spec
        self._types = reading.declared()
        self._seen: dict[str, Seen] = {}
        self._proven = Proven()
        self._attempts = Attempts()
        names = merge_names([(m, self._look_at(m)) for m in reading.members])
        if not names:
            names = tuple(self._types)
        self.columns = tuple(self._column(n) for n in names)

    def rows(self, member: Member) -> int | None:
        return None

    def batches(self, member: Member, rejects: Rejects, batch_rows: int) -> Iterator[pa.RecordBatch]:
        def on_bad(line: int, reason: str, record: str) -> None:
            rejects.add(member.file.name, line, reason, record)

        for lines, parse in self._pieces(member, on_bad, batch_rows):
            batch = self._reader.read(lines, self._proven)
            if batch is None:
                batch = self._batch(member, parse(), on_bad)
            if batch.num_rows:
                yield batch

    def _column(self, name: str) -> FileColumn:
        seen = self._seen.get(name)
        source_type = seen.source_type() if seen else "null"
        dtype = self._types.get(name) or (seen.arrow_type() if seen else pa.string())
        return FileColumn(name, dtype, source_type)

    def _look_at(self, member: Member) -> tuple[str, ...]:
        """The file's keys; adds their values to what was seen."""
        keys: dict[str, None] = {}
        for lines, parse in self._pieces(member, lambda *_: None, _CHUNK_ROWS):
            if self._looked_at(lines):
                continue
            rows = parse().values
            for row in rows:
                if not keys.keys() >= row.keys():
                    keys.update(dict.fromkeys(row))
            if len(keys) > _MAX_COLUMNS:
                raise DataError(
                    f"its objects have more than {_MAX_COLUMNS} different keys",
                    where=member.where,
                    hint="Keys that are values cannot be columns; nest them in one object",
                )
            for key in keys:
                self._seen.setdefault(key, Seen()).add([row.get(key) for row in rows])
        check_names(tuple(keys), member.where)
        return tuple(keys)

    def _looked_at(self, lines: list[bytes]) -> bool:
        """Whether the records have only the keys and kinds of values seen before; then it notes the values."""
        if not lines or not self._seen or not self._attempts.worth():
            return False
        types = [(name, strict_type(seen, pa.null())) for name, seen in self._seen.items()]
        batch, text = None, b"\n".join(lines)
        if all(t is not None for _, t in types):
            batch = read_columns(lines, text, pa.schema(types))
        self._attempts.note(batch is not None)
        if batch is None:
            return False
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            note(self._seen[name], array)
        self._proven.add(text, batch)
        return True

    @cached_property
    def _reader(self) -> ColumnReader:
        return ColumnReader([(c.name, c.arrow) for c in self.columns], self._seen, self._types)

    def _pieces(self, member: Member, on_bad: OnBad, most: int) -> Iterator[Piece]:
        form, rows = member.format, min(most, _CHUNK_ROWS)
        if form.type != "jsonl":
            for records in self._chunks(member, on_bad, rows):
                yield [], partial(_same, records)
            return
        with TextStream(member.file, form.compression, form.encoding, self._limits) as stream:
            for first, lines in pieces(stream, member, rows):
                yield lines, partial(records_of, first, lines, on_bad)

    def _chunks(self, member: Member, on_bad: OnBad, most: int) -> Iterator[Records]:
        """The records of a file whose records have no lines of their own."""
        form = member.format
        with TextStream(member.file, form.compression, form.encoding, self._limits) as stream:
            yield from gathered(document(stream, member, on_bad), most)

    def _batch(self, member: Member, records: Records, on_bad: OnBad) -> pa.RecordBatch:
        rows = records.values
        arrays: list[pa.Array] = []
        bad: dict[int, str] = {}
        for column in self.columns:
            values = [row.get(column.name) for row in rows]
            if column.name in self._types:
                array, places = declared_array(values, column.arrow)
                for place in places:
                    bad.setdefault(place, f"'{column.name}' is not {column.arrow}")
            else:
                array = self._seen_array(member, column.name, values)
            arrays.append(array)
        if not all(map({c.name for c in self.columns}.issuperset, rows)):
            raise _changed(member)
        batch = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in self.columns])
        for place, reason in sorted(bad.items()):
            on_bad(*records.place_of(place, reason))
        return batch.filter(pa.array([i not in bad for i in range(len(rows))])) if bad else batch

    def _seen_array(self, member: Member, name: str, values: list[Any]) -> pa.Array:
        try:
            return self._seen[name].array(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise _changed(member) from None


def _same(records: Records) -> Records:
    return records


def _changed(member: Member) -> TransientError:
    return TransientError("its content changed while it was read", where=member.where)

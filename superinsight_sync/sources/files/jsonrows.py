"""JSON and JSON Lines: a first pass over everything finds the types, the second reads the rows.

Rows become Python objects here: none of the columnar JSON readers keeps duplicate keys, big integers, exact
decimals and texts that look like times as they are. Most JSON Lines go through a fast parser that either gives
what the exact one would, or leaves the piece to it.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.sources.files.cells import cast_texts, cast_values
from superinsight_sync.sources.files.jsonlines import line_chunks
from superinsight_sync.sources.files.jsontext import OnBad, Records, document, gathered, plain_text_of
from superinsight_sync.sources.files.jsontypes import MAX_FIELDS, Seen
from superinsight_sync.sources.files.layout import FileColumn, Member, Reading, check_names, merge_names
from superinsight_sync.sources.files.rejects import Rejects
from superinsight_sync.sources.files.streams import TextStream

_MAX_COLUMNS = 10 * MAX_FIELDS
_CHUNK_ROWS = 10_000


class JsonLayout:
    """Columns are the keys of all objects, in order of appearance; an object that lacks one has NULL."""

    def __init__(self, reading: Reading) -> None:
        self._limits = reading.limits
        self._spec = reading.spec
        self._types = reading.declared()
        self._seen: dict[str, Seen] = {}
        names = merge_names([(m, self._look_at(m)) for m in reading.members])
        if not names and not reading.members:
            names = tuple(self._types)
        self.columns = tuple(self._column(n) for n in names)

    def rows(self, member: Member) -> int | None:
        return None

    def batches(self, member: Member, rejects: Rejects, batch_rows: int) -> Iterator[pa.RecordBatch]:
        def on_bad(line: int, reason: str, record: str) -> None:
            rejects.add(member.file.name, line, reason, record)

        for records in self._chunks(member, on_bad, batch_rows):
            yield self._batch(member, records, on_bad)

    def _column(self, name: str) -> FileColumn:
        seen = self._seen.get(name)
        source_type = seen.source_type() if seen else "null"
        dtype = self._types.get(name) or (seen.arrow_type() if seen else pa.string())
        return FileColumn(name, dtype, source_type)

    def _look_at(self, member: Member) -> tuple[str, ...]:
        """The file's keys; adds their values to what was seen."""
        keys: dict[str, None] = {}
        for records in self._chunks(member, lambda *_: None, _CHUNK_ROWS):
            rows = records.values
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
                if key not in self._types:
                    self._seen.setdefault(key, Seen()).add([row.get(key) for row in rows])
        check_names(tuple(keys), member.where)
        return tuple(keys)

    def _chunks(self, member: Member, on_bad: OnBad, most: int) -> Iterator[Records]:
        form = member.format
        with TextStream(member.file, form.compression, form.encoding, self._limits) as stream:
            if form.type == "jsonl":
                yield from line_chunks(stream, member, on_bad, min(most, _CHUNK_ROWS))
            else:
                yield from gathered(document(stream, member, on_bad), min(most, _CHUNK_ROWS))

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


def _changed(member: Member) -> TransientError:
    return TransientError("its content changed while it was read", where=member.where)


def declared_array(values: list[Any], dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    if pa.types.is_nested(dtype):
        return cast_values(values, dtype)
    texts = pa.array([None if v is None else plain_text_of(v) for v in values], pa.string())
    return cast_texts(texts, dtype)

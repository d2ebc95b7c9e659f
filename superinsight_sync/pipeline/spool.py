"""What was read, put aside before it lands, so that its checkpoint is known before the commit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import MAXYEAR, MINYEAR, date
from functools import reduce
from operator import or_
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_buffers import Ints, fixed
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.settings import Settings
from superinsight_sync.lake.staged_rows import StagedRows
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.model.tables import HASH, is_system
from superinsight_sync.pipeline.cursors import Seen

if TYPE_CHECKING:
    import pyarrow.dataset


class Spool:
    """What one read gave: in memory, or in a private folder that is removed at the end.

    Args:
        moved: told of each batch that is taken out.
    """

    def __init__(self, settings: Settings, moved: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._moved = moved
        self.seen = Seen()
        """What the values of the cursor column span."""
        self._kept: Ints | None = None
        self._rows: StagedRows | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def rows(self) -> int:
        """How many there are, without those dropped."""
        if self._kept is not None:
            return int(self._kept.sum())
        return self._rows.rows if self._rows else 0

    @property
    def schema(self) -> pa.Schema:
        """Of what was read."""
        assert self._rows
        return self._rows.schema

    def fill(
        self,
        batches: pa.RecordBatchReader,
        *,
        cursor: str | None,
        look: Callable[[pa.RecordBatch], None] | None = None,
    ) -> None:
        """Keeps the batches, shows each to `look`, and remembers what the values of the cursor column span."""
        rows = self._stack.enter_context(StagedRows(batches.schema, self._settings.scratch_dir))
        for batch in batches:
            if cursor is not None and batch.num_rows:
                self.seen = self.seen.and_of(batch.column(cursor))
            if look is not None:
                look(batch)
            rows.add(batch)
        self._rows = rows

    def open(self) -> pa.RecordBatchReader:
        """Reads what was spooled and not dropped, in order, from the start."""
        assert self._rows
        return pa.RecordBatchReader.from_batches(self._rows.schema, self._batches(self._rows.open()))

    def _batches(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in batches:
            self._moved()
            end = start + batch.num_rows
            if self._kept is not None and not self._kept[start:end].all():
                batch = batch.filter(fixed(pa.bool_(), self._kept[start:end], None))
            start = end
            yield batch

    def drop_known(self, landed: "pyarrow.dataset.Dataset", *, cursor: str | None, exact: bool) -> None:
        """Drops rows that have landed: as many of each `_sis_hash` as the lake holds.

        Equal rows have equal cursors, so only what lies between the least and the greatest that was read is looked at;
        without a cursor, or by a file's time, which is no part of a row, all that landed. What is compared are hashes,
        which spill. Where columns came or went since, rows are equal if they are so in the columns that both have;
        none is if they have to be `exact`.
        """
        here, there = ([n for n in s.names if not is_system(n)] for s in (self.schema, landed.schema))
        columns, same = [n for n in here if n in there], sorted(here) == sorted(there)
        if exact and not same:
            return
        by = landed.schema.field(cursor) if cursor in there else None
        within = None if by is None else self._within(by)
        by_text = [by.name] if within is not None and by is not None and pa.types.is_string(by.type) else []
        with open_duckdb(self._settings.memory_limit_bytes, self._settings.scratch_dir) as engine:
            engine.register("spooled", _compared(self.open(), None if same else columns))
            found = landed.scanner(
                columns=list(dict.fromkeys([*([HASH] if same else columns), *by_text])),
                filter=None if by_text else within,  # Delta's bounds of texts are of a type it cannot compare
                batch_readahead=2,
                fragment_readahead=1,
            ).to_reader()
            rows = _filtered(found, within) if by_text else found
            engine.register("landed", _compared(rows, None if same else columns))
            kept = np.zeros(self.rows, bool)
            for batch in engine.sql(_FRESH).to_arrow_reader(65_536):
                kept[batch.column("place").to_numpy()] = True
        self._kept = kept

    def _within(self, cursor: pa.Field) -> "pc.Expression | None":
        """The landed rows whose cursor is one of what was read. None, for all, where a NaN or a date beyond
        Python's calendar escapes comparison."""
        kind = cursor.type
        if pa.types.is_floating(kind) or self.schema.field(cursor.name).type != kind:
            return None
        field, seen = pc.field(cursor.name), self.seen
        if any(isinstance(v, date) and v.year in (MINYEAR, MAXYEAR) for v in (seen.least, seen.greatest)):
            return None
        parts = [pc.is_null(field)] if seen.without else []
        if seen.greatest is not None:
            least, greatest = (pa.scalar(v, kind) for v in (seen.least, seen.greatest))
            parts.append((field >= least) & (field <= greatest))
        return reduce(or_, parts) if parts else pc.scalar(False)


_FRESH = """
    WITH s AS (SELECT hash, place, row_number() OVER (PARTITION BY hash ORDER BY place) AS nth FROM spooled),
         l AS (SELECT hash, count(*) AS held FROM landed SEMI JOIN s USING (hash) GROUP BY hash)
    SELECT place FROM s LEFT JOIN l USING (hash) WHERE nth > coalesce(held, 0)"""


def _filtered(rows: pa.RecordBatchReader, wanted: pc.Expression) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(rows.schema, (batch.filter(wanted) for batch in rows))


def _compared(rows: pa.RecordBatchReader, columns: list[str] | None) -> pa.RecordBatchReader:
    """Of each row its place and what it is compared by: `_sis_hash`, or the hash of the named columns."""
    schema = pa.schema([("hash", pa.int64()), ("place", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in rows:
            found = batch.column(HASH) if columns is None else row_hash(batch.select(columns))
            places = fixed(pa.int64(), np.arange(start, start + batch.num_rows), None)
            start += batch.num_rows
            yield pa.RecordBatch.from_arrays([found, places], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())

"""An increment on local disk between reading and landing, so that its checkpoint is known before the commit."""

import tempfile
from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from superinsight_sync.core.duck import open_duckdb
from superinsight_sync.core.gather import Ints, fixed
from superinsight_sync.core.settings import Settings
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.model.tables import HASH, is_system
from superinsight_sync.pipeline.cursors import Seen

if TYPE_CHECKING:
    import pyarrow.dataset


class Spool:
    """A private folder of Arrow IPC files, removed at the end.

    Attributes:
        seen: what the values of the cursor column span.
        rows: how many there are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: Ints | None = None
        self.seen = Seen()
        self.rows = 0

    def __enter__(self) -> Self:
        self._settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=self._settings.scratch_dir, prefix="spool-")
        self._file = Path(self._folder.name) / "read.arrow"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def fill(self, batches: pa.RecordBatchReader, *, cursor: str | None) -> None:
        """Writes the batches and remembers what the values of the cursor column span."""
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(self._file), "wb") as sink,
            pa.ipc.new_file(sink, batches.schema, options=options) as out,
        ):
            for batch in batches:
                self.rows += batch.num_rows
                if cursor is not None and batch.num_rows:
                    self.seen = self.seen.and_of(batch.column(cursor))
                out.write_batch(batch)

    def open(self) -> pa.RecordBatchReader:
        """Reads what was spooled and not dropped, in order, from the start."""
        file = pa.ipc.open_file(pa.memory_map(str(self._file)))
        return pa.RecordBatchReader.from_batches(file.schema, self._batches(file))

    def _batches(self, file: Any) -> Iterator[pa.RecordBatch]:
        start = 0
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            end = start + batch.num_rows
            if self._kept is not None and not self._kept[start:end].all():
                batch = batch.filter(fixed(pa.bool_(), self._kept[start:end], None))
            start = end
            yield batch

    def drop_known(self, landed: "pyarrow.dataset.Dataset", *, cursor: str | None) -> None:
        """Drops rows that have landed: as many of each `_sis_hash` as the lake holds.

        Equal rows have equal cursors, so only what lies between the least and the greatest that was read is looked at;
        without a cursor, all that landed. What is compared are hashes, which spill. Where columns came or went since,
        rows are equal if they are so in the columns that both have.
        """
        here, there = ([n for n in s.names if not is_system(n)] for s in (self.open().schema, landed.schema))
        columns, same = [n for n in here if n in there], here == there
        by = landed.schema.field(cursor) if cursor in landed.schema.names else None
        within = None if by is None else self._within(by)
        by_text = [by.name] if within is not None and by is not None and pa.types.is_string(by.type) else []
        with open_duckdb(self._settings.memory_limit_bytes, Path(self._folder.name)) as engine:
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
        self._kept, self.rows = kept, int(kept.sum())

    def _within(self, cursor: pa.Field) -> "pc.Expression | None":
        """The landed rows whose cursor is one of what was read. None, for all, where a NaN escapes comparison."""
        kind = cursor.type
        if pa.types.is_floating(kind) or self.open().schema.field(cursor.name).type != kind:
            return None
        field, seen = pc.field(cursor.name), self.seen
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

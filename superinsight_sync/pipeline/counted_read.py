"""One read of a source as the lake takes it: with system columns, counted, and with its true error kept."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError
from superinsight_sync.core.rejects import rejects_table
from superinsight_sync.core.stopping import check_stop
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.results import ReadStats
from superinsight_sync.model.tables import DELETED_AT, PARTITION
from superinsight_sync.pipeline.attended import Motion
from superinsight_sync.pipeline.contract import Conformer
from superinsight_sync.pipeline.read_stats import Extremes, check_calendar
from superinsight_sync.pipeline.sizes import size_bits
from superinsight_sync.sources.protocol import SettingAside, Source


class Reading:
    """Opens the read each time it is called. It is read to its end in the calling thread, before a store has it.

    Inside the ``with`` block an error that the source raised is the one that comes out, whatever the engine
    that consumed the batches made of it.
    """

    def __init__(
        self,
        source: Source,
        request: ReadRequest,
        *,
        load_id: str,
        conformer: Conformer | None = None,
        keep_unreadable: Callable[[pa.Table], None] | None = None,
        motion: Motion | None = None,
    ) -> None:
        self._source = source
        self._request = request
        self._load_id = load_id
        self._conformer = conformer
        self._keep_unreadable = keep_unreadable
        self._motion = motion or Motion()
        self._stack = ExitStack()
        self._failure: SisError | None = None
        self._aside: SettingAside | None = None
        self._reset()

    def _reset(self) -> None:
        self.rows = self.size_bits = self.batches = self.unreadable = 0
        self.nulls: Counter[str] = Counter()
        self.rows_by_partition: Counter[str] = Counter()
        self._columns: list[str] = []
        self._extremes = Extremes()
        if self._conformer:
            self._conformer.reset()
        self._request.replaced.clear()
        self._request.next_position.clear()

    def __call__(self) -> pa.RecordBatchReader:
        self._stack.close()
        self._reset()
        read = self._source.read(self._request)
        self._aside = read if isinstance(read, SettingAside) else None
        if self._aside is not None and self._request.stream.on_row_error == "quarantine":
            self._aside.set_aside()
        batches = self._stack.enter_context(read)
        self._columns = batches.schema.names
        stream = self._request.stream
        partition_of = None
        if stream.partition and stream.sync.cursor and self._request.window:
            partition_of = (stream.sync.cursor, stream.partition.by)
        schema = self._conformer.schema(batches.schema) if self._conformer else batches.schema
        counted = pa.RecordBatchReader.from_batches(schema, self._count(batches))
        landed = add_system_columns(
            counted, load_id=self._load_id, extracted_at=utc_now(), partition_of=partition_of
        )
        marked = landed.schema
        if stream.sync.deletes == "soft":
            marked = marked.append(pa.field(DELETED_AT, pa.timestamp("us", "UTC")))
        return pa.RecordBatchReader.from_batches(marked, self._finished(landed, marked))

    def _count(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            self._motion.moved(waits_for_source=True)
            for batch in batches:
                check_calendar(batch)
                self._motion.moved()
                check_stop()
                self.rows += batch.num_rows
                self.size_bits += sum(map(size_bits, batch.columns))
                self.batches += 1
                self.nulls.update({n: batch.column(i).null_count for i, n in enumerate(batch.schema.names)})
                self._extremes.add(batch)
                yield self._conformer.conform(batch) if self._conformer else batch
                self._motion.moved(waits_for_source=True, rows=batch.num_rows)
            self._motion.moved()
        except SisError as error:
            self._failure = error
            raise

    def _finished(self, batches: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        index = batches.schema.get_field_index(PARTITION)
        for batch in batches:
            if index >= 0:
                for entry in pc.value_counts(batch.column(index)).to_pylist():
                    self.rows_by_partition[entry["values"]] += entry["counts"]
            unmarked = [pa.nulls(len(batch), f.type) for f in schema if f.name not in batch.schema.names]
            yield pa.RecordBatch.from_arrays([*batch.columns, *unmarked], schema=schema)
        self._keep()

    def _keep(self) -> None:
        """Sees to it that what is left out is kept before the rows are committed."""
        if self._keep_unreadable is None:
            return
        found = self._left_out()
        self._keep_unreadable(found)
        self.unreadable = found.num_rows

    def _left_out(self) -> pa.Table:
        """What could not be read as records or broke the contract: file, line, reason and record's text."""
        found = [w.rejects() for w in (self._aside, self._conformer) if w is not None]
        return pa.concat_tables(found) if found else rejects_table([])

    def stats(self, *, seconds: float, cursor_before: Any = None, cursor_after: Any = None) -> ReadStats:
        """Statistics of the last read."""
        return ReadStats(
            rows=self.rows,
            columns=len(self._columns),
            size_bytes=-(-self.size_bits // 8),
            batches=self.batches,
            nulls=dict(self.nulls),
            seconds=seconds,
            cursor_before=cursor_before,
            cursor_after=cursor_after,
            replaced_values=dict(self._request.replaced),
            least=self._extremes.least,
            greatest=self._extremes.greatest,
            discarded_rows=self._conformer.discarded_rows if self._conformer else 0,
            discarded_values=dict(self._conformer.discarded_values) if self._conformer else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is not None and self._failure is not None and error is not self._failure:
            raise self._failure from error

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
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.results import ReadStats
from superinsight_sync.model.tables import PARTITION
from superinsight_sync.sources.protocol import ReadRequest, SettingAside, Source


class Reading:
    """Opens the read each time it is called (a store calls again when its commit lost a race).

    Inside the ``with`` block an error that the source raised is the one that comes out, whatever the engine
    that consumed the batches made of it.
    """

    def __init__(
        self,
        source: Source,
        request: ReadRequest,
        *,
        load_id: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._source = source
        self._request = request
        self._load_id = load_id
        self._progress = progress
        self._stack = ExitStack()
        self._failure: SisError | None = None
        self._aside: SettingAside | None = None
        self._reset()

    def _reset(self) -> None:
        self.rows = self.size_bytes = self.batches = 0
        self.nulls: Counter[str] = Counter()
        self.rows_by_partition: Counter[str] = Counter()
        self._columns: list[str] = []
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
        counted = pa.RecordBatchReader.from_batches(batches.schema, self._count(batches))
        landed = add_system_columns(
            counted, load_id=self._load_id, extracted_at=utc_now(), partition_of=partition_of
        )
        return pa.RecordBatchReader.from_batches(landed.schema, self._by_partition(landed))

    def _count(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                self.rows += batch.num_rows
                self.size_bytes += batch.nbytes
                self.batches += 1
                self.nulls.update({n: batch.column(i).null_count for i, n in enumerate(batch.schema.names)})
                yield batch
                if self._progress:
                    self._progress(batch.num_rows)
        except SisError as error:
            self._failure = error
            raise

    def _by_partition(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        index = batches.schema.get_field_index(PARTITION)
        for batch in batches:
            if index >= 0:
                for entry in pc.value_counts(batch.column(index)).to_pylist():
                    self.rows_by_partition[entry["values"]] += entry["counts"]
            yield batch

    def unreadable(self) -> pa.Table | None:
        """What could not be read as records: where, why and the text; None if the kind has no such thing."""
        return self._aside.rejects() if self._aside is not None else None

    def stats(self, *, seconds: float, cursor_before: Any = None, cursor_after: Any = None) -> ReadStats:
        """Statistics of the last read."""
        return ReadStats(
            rows=self.rows,
            columns=len(self._columns),
            size_bytes=self.size_bytes,
            batches=self.batches,
            nulls=dict(self.nulls),
            seconds=seconds,
            cursor_before=cursor_before,
            cursor_after=cursor_after,
            replaced_values=dict(self._request.replaced),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is not None and self._failure is not None and error is not self._failure:
            raise self._failure from error

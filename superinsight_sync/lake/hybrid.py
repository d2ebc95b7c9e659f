"""The `hybrid` save strategy: small tables in memory, large ones in a durable store."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain

import pyarrow as pa
import pyarrow.dataset

from superinsight_sync.core.clock import utc_now
from superinsight_sync.lake.memory import MemoryLimitError, MemoryStore
from superinsight_sync.lake.store import ReadBatches, Store, TableVersion
from superinsight_sync.lake.types import cast_batch, storable_schema
from superinsight_sync.model.tables import Checkpoint, Commit, CommitResult, TableRef

_Write = Callable[[Store, ReadBatches], CommitResult]


class HybridStore:
    """Chooses by size, per table: at or below the threshold memory, above it the durable store.

    The size is Arrow's `nbytes` of the rows in the lake's types. A whole-table replace is placed by its own
    size and may move the table either way. Any other write adds its size to what the table holds: a table in
    memory that would pass the threshold moves to the durable store, and one in the durable store stays there.
    While a write is placed, at most `threshold_bytes` and one batch are held.

    A table lives on one side; if a crash or an error in the middle of a move leaves two, the one in memory
    counts while its run lasts. Versions of the two sides cannot be compared, so `loads_since` is always None.

    Args:
        memory: the run's memory store. Its limit is at least the threshold.
        durable: where large tables go.
        threshold_bytes: the largest table kept in memory.
    """

    def __init__(self, memory: MemoryStore, durable: Store, threshold_bytes: int) -> None:
        self.memory = memory
        self.durable = durable
        self.threshold_bytes = min(threshold_bytes, memory.limit_bytes)

    def replace(
        self, table: TableRef, read: ReadBatches, commit: Commit, *, partitions: Sequence[str] | None = None
    ) -> CommitResult:
        if partitions is not None:
            return self._add(
                table, read, commit, lambda s, r: s.replace(table, r, commit, partitions=partitions)
            )
        with _Buffered(read, self.threshold_bytes) as rows:
            if rows.fits:
                done = self.memory.replace(table, rows.read, commit)
                self.durable.drop(table)
            else:
                done = self.durable.replace(table, rows.read, commit)
                self.memory.drop(table)
        return done

    def append(self, table: TableRef, read: ReadBatches, commit: Commit) -> CommitResult:
        return self._add(table, read, commit, lambda s, r: s.append(table, r, commit))

    def merge(
        self,
        table: TableRef,
        read: ReadBatches,
        commit: Commit,
        *,
        keys: Sequence[str],
        newest_by: str | None = None,
    ) -> CommitResult:
        return self._add(
            table, read, commit, lambda s, r: s.merge(table, r, commit, keys=keys, newest_by=newest_by)
        )

    def _add(self, table: TableRef, read: ReadBatches, commit: Commit, write: _Write) -> CommitResult:
        if self._side(table) is self.durable and self.durable.exists(table):
            return write(self.durable, read)
        room_bytes = self.threshold_bytes - self.memory.size_bytes(table)
        with _Buffered(read, room_bytes) as rows:
            if rows.fits:
                with suppress(MemoryLimitError):  # a new column made the rows that were there larger
                    return write(self.memory, rows.read)
            if not self.memory.exists(table):
                return write(self.durable, rows.read)
            return self._move(table, rows.read, commit, write)

    def _move(self, table: TableRef, read: ReadBatches, commit: Commit, write: _Write) -> CommitResult:
        """Copies the table as it is, then writes. Until the end the one in memory is read."""
        copy = Commit(
            f"{commit.load_id}-move-{utc_now():%Y%m%dT%H%M%S%f}",
            self.memory.checkpoints(table),
            {"moved": "memory to durable"},
        )
        try:
            self.durable.replace(table, lambda: self.memory.scan(table), copy)
            done = write(self.durable, read)
        except BaseException:
            self.durable.drop(table)
            raise
        self.memory.drop(table)
        return done

    def _side(self, table: TableRef) -> Store:
        return self.memory if self.memory.exists(table) else self.durable

    def scan(
        self,
        table: TableRef,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        load_ids: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        side = self._side(table)
        return side.scan(table, version=version, columns=columns, partitions=partitions, load_ids=load_ids)

    def dataset(self, table: TableRef, *, version: int | None = None) -> pyarrow.dataset.Dataset:
        return self._side(table).dataset(table, version=version)

    def exists(self, table: TableRef) -> bool:
        return self._side(table).exists(table)

    def schema(self, table: TableRef) -> pa.Schema:
        return self._side(table).schema(table)

    def version(self, table: TableRef) -> int | None:
        return self._side(table).version(table)

    def count(self, table: TableRef, *, partitions: Sequence[str] | None = None) -> int:
        return self._side(table).count(table, partitions=partitions)

    def checkpoint(self, table: TableRef, partition: str = "") -> Checkpoint | None:
        return self._side(table).checkpoint(table, partition)

    def set_checkpoint(self, table: TableRef, checkpoint: Checkpoint | None, partition: str = "") -> None:
        self._side(table).set_checkpoint(table, checkpoint, partition)

    def checkpoints(self, table: TableRef) -> Mapping[str, Checkpoint]:
        return self._side(table).checkpoints(table)

    def history(self, table: TableRef, limit: int = 100) -> list[TableVersion]:
        return self._side(table).history(table, limit)

    def loads_since(self, table: TableRef, version: int) -> list[str] | None:
        """Always None: the version may be one of the other side."""
        return None

    def rollback(self, table: TableRef, load_id: str) -> int:
        return self._side(table).rollback(table, load_id)

    def tables(self, tenant: str | None = None) -> Iterator[TableRef]:
        return iter(sorted({*self.memory.tables(tenant), *self.durable.tables(tenant)}))

    def maintain(self, table: TableRef, *, retention: timedelta) -> Mapping[str, int]:
        return self._side(table).maintain(table, retention=retention)

    def expire(self, table: TableRef, *, older_than: datetime) -> int:
        return self._side(table).expire(table, older_than=older_than)

    def drop(self, table: TableRef) -> None:
        self.durable.drop(table)
        self.memory.drop(table)


class _Buffered:
    """A read whose first batches were taken out to see whether it fits; `read` gives all of it.

    Held are the batches up to the limit and the one that passes it; streaming on lets them go one by one.
    """

    def __init__(self, read: ReadBatches, limit_bytes: int) -> None:
        self._open = read
        self._head: deque[pa.RecordBatch] = deque()
        self._reader = read()
        self._schema = storable_schema(self._reader.schema)
        self._batches = (cast_batch(batch, self._schema) for batch in self._reader)
        self._used = False
        self.fits = True
        size_bytes = 0
        for batch in self._batches:
            self._head.append(batch)
            size_bytes += batch.nbytes
            if size_bytes > limit_bytes:
                self.fits = False
                break

    def read(self) -> pa.RecordBatchReader:
        """The rows: buffered ones and then the rest; a second call reads anew."""
        if self._used:
            return self._open()
        self._used = True
        return pa.RecordBatchReader.from_batches(self._schema, chain(self._drain(), self._batches))

    def _drain(self) -> Iterator[pa.RecordBatch]:
        while self._head:
            yield self._head.popleft()

    def __enter__(self) -> "_Buffered":
        return self

    def __exit__(self, *_: object) -> None:
        self._head.clear()
        self._reader.close()

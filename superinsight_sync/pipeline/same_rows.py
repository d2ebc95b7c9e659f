"""Whether a read gave the rows that a table holds, in whatever order: then nothing has to land, nor be refined."""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import pyarrow as pa

from superinsight_sync.core.arrow_buffers import Ints
from superinsight_sync.lake.store import Store
from superinsight_sync.lake.system_columns import row_hash
from superinsight_sync.model.tables import EXTRACTED_AT, HASH, LOAD_ID, TableRef, is_system
from superinsight_sync.pipeline.contract import drift_between

_STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_SEEDS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)


class RowSums:
    """What rows come to, independent of their order and batches: their count and two sums of their mixed hashes.

    A row counts with its `_sis_hash` and with what its source told of it (`_sis_file`, `_sis_partition`); not with
    when and by which load it came.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sums = [0, 0]

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch]) -> Self:
        """Those of all the batches, read to their end."""
        sums = cls()
        for batch in batches:
            sums.add(batch)
        return sums

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes a batch with its system columns."""
        if not batch.num_rows:
            return
        names = _compared(batch.schema)
        found = batch.column(HASH) if names == [HASH] else row_hash(batch.select(names))
        hashes = np.frombuffer(found.buffers()[1], np.uint64, len(found), 8 * found.offset)  # without pandas
        self.rows += batch.num_rows
        for i, seed in enumerate(_SEEDS):
            self._sums[i] = (self._sums[i] + int(_mixed(hashes, seed).sum(dtype=np.uint64))) % 2**64

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowSums) and (self.rows, self._sums) == (other.rows, other._sums)

    __hash__ = None  # type: ignore[assignment]

    def are_of(self, store: Store, table: TableRef, read: pa.Schema, partitions: Sequence[str] = ()) -> bool:
        """Whether these are the table's rows (or those of the partitions), in the same columns.

        What is read of the table is a column or two, and only if the count is the same.
        """
        held, keys = store.schema(table), partitions or None
        if not _same_columns(held, read) or store.count(table, partitions=keys) != self.rows:
            return False
        return self == RowSums.of(store.scan(table, columns=_compared(held), partitions=keys))


def _mixed(hashes: Ints, seed: int) -> Ints:
    """Each hash spread over all 64 bits (splitmix64), so that sums of like rows do not meet."""
    mixed = hashes + np.uint64(seed)
    for shift, factor in _STEPS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    found: Ints = mixed ^ (mixed >> np.uint64(31))
    return found


def _compared(schema: pa.Schema) -> list[str]:
    return sorted(n for n in schema.names if is_system(n) and n not in (LOAD_ID, EXTRACTED_AT))


def _same_columns(held: pa.Schema, read: pa.Schema) -> bool:
    drift = drift_between(held, read)
    return not (drift.texts or drift.narrower) and _compared(held) == _compared(read)

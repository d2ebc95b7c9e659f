"""Rows on their way into a table: fitted to its schema, checked, counted, batch by batch."""

from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import texts
from superinsight_sync.core.errors import ConfigError, DataError, SisError
from superinsight_sync.lake.data_files import DataFiles
from superinsight_sync.lake.store import ReadBatches
from superinsight_sync.lake.types import cast_batch, storable_schema, widens
from superinsight_sync.model.tables import PARTITION


def fitted_schema(incoming: pa.Schema, table: pa.Schema, where: str) -> pa.Schema:
    """The incoming columns with the table's types where the table has them, so that a commit adds the others.

    Raises ConfigError for a type that does not fit the table's, naming column, both types and what to do.
    """
    stored = storable_schema(incoming)
    fields = []
    for old, new in zip(incoming, stored, strict=True):
        known = table.field(new.name).type if new.name in table.names else new.type
        if not widens(new.type, known) and not pa.types.is_null(old.type):
            raise ConfigError(
                f"column '{new.name}' was {known} and is now {old.type}, which does not fit",
                where=where,
                hint=f"Cast it to {known}, give it another name, or load the whole table anew (full refresh)",
            )
        fields.append(pa.field(new.name, known))
    return pa.schema(fields)


class Landing:
    """The rows of one load, on their way into a table. A context manager.

    Keeps the error that stopped the read, since Arrow's C stream loses the type.

    Attributes:
        rows, size_bytes: what has passed so far, as Arrow in memory.
        error: what the source, a cast or a check raised.
    """

    def __init__(self, read: ReadBatches) -> None:
        self._read = read
        self._files: DataFiles | None = None
        self._kept = False
        self._reader: pa.RecordBatchReader | None = None
        self.error: BaseException | None = None

    def open(self) -> pa.Schema:
        """Begins a try: opens the rows, unless they wait already or a try before has put them into files.

        Returns their schema as they come.
        """
        if self._reader is None or (self._started and self._files is None):
            self._begin()
        assert self._reader is not None
        return self._reader.schema

    def _begin(self) -> None:
        self._reader = self._read()
        self._started = False
        self.rows = 0
        self.size_bytes = 0
        self.error = None

    def fitted(
        self, schema: pa.Schema, *, partitions: Collection[str] | None, where: str
    ) -> pa.RecordBatchReader:
        """The rows in `schema`. A row outside `partitions` raises DataError."""
        self._forget_files()
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema, partitions, where))

    def files(self, made: DataFiles, *, partitions: Collection[str] | None = None, where: str) -> DataFiles:
        """The rows in files of the table: in `made`, or in those of a try before that serve as well."""
        before = self._files
        if before and before.schema == made.schema and before.partitioned == made.partitioned:
            return before
        self._forget_files()
        try:
            made.write(self._batches(made.schema, partitions, where))
        except BaseException:
            made.remove()
            raise
        self._files = made
        return made

    def _forget_files(self) -> None:
        if self._files is not None:
            self._files.remove()
            self._files = None
            self._begin()

    def keep_files(self) -> None:
        """From now on they belong to the table."""
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._files is not None and not self._kept:
            self._files.remove()

    def _batches(
        self, schema: pa.Schema, partitions: Collection[str] | None, where: str
    ) -> Iterator[pa.RecordBatch]:
        self._started = True
        allowed = None if partitions is None else texts(list(partitions))
        assert self._reader is not None
        try:
            for batch in self._reader:
                fitted = cast_batch(batch, schema)
                if allowed is not None:
                    _check_partitions(fitted, allowed, where)
                self.rows += fitted.num_rows
                self.size_bytes += fitted.nbytes
                yield fitted
        except SisError as error:
            self.error = error.at(where)
            raise self.error from None
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def _check_partitions(batch: pa.RecordBatch, allowed: pa.Array, where: str) -> None:
    keys = batch.column(PARTITION)
    outside = len(keys) - pc.sum(pc.is_in(keys, value_set=allowed)).as_py() if len(keys) else 0
    if outside:
        raise DataError(
            f"{outside} rows of a batch belong to none of the partitions being replaced",
            where=where,
            hint="Read only the window of those partitions; nothing was written",
        )

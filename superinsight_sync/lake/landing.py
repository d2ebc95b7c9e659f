"""Rows on their way into a table: fitted to its schema, checked, counted, batch by batch."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import texts
from superinsight_sync.core.errors import ConfigError, DataError, SisError
from superinsight_sync.lake.staged_rows import AtRest, brought_to_rest
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
    """One read of the rows to land. Keeps the error that stopped it, since Arrow's C stream loses the type.

    Attributes:
        schema: of the rows as they come.
        rows, size_bytes: what has passed so far, as Arrow in memory.
        at_rest: whether the rows wait for nobody.
        started: whether the rows have been asked for, so that another try needs another read.
        error: what the source, a cast or a check raised.
    """

    def __init__(self, read: ReadBatches) -> None:
        self._reader = read()
        self.at_rest = isinstance(read, AtRest)
        self.schema: pa.Schema = self._reader.schema
        self.rows = 0
        self.size_bytes = 0
        self.started = False
        self.error: BaseException | None = None

    def fitted(
        self, schema: pa.Schema, *, partitions: Collection[str] | None, where: str
    ) -> pa.RecordBatchReader:
        """The rows in `schema`. A row outside `partitions` raises DataError."""
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema, partitions, where))

    @contextmanager
    def written(
        self, schema: pa.Schema, *, partitions: Collection[str] | None, where: str, scratch: Path | None
    ) -> Iterator[pa.RecordBatchReader]:
        """The same rows, which a library's own threads may ask for: they are at rest."""
        rows = self.fitted(schema, partitions=partitions, where=where)
        if self.at_rest:
            yield rows
            return
        with brought_to_rest(rows, scratch) as still:
            yield still

    def _batches(
        self, schema: pa.Schema, partitions: Collection[str] | None, where: str
    ) -> Iterator[pa.RecordBatch]:
        self.started = True
        allowed = None if partitions is None else texts(list(partitions))
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

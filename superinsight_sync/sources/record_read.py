"""What reads have in common that set records aside and tell their failure whatever consumed them."""

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Protocol

import pyarrow as pa

from superinsight_sync.core.errors import SisError


class Aside(Protocol):
    """The records of one read that cannot be rows.

    Attributes:
        limit: how many may be set aside; None: they fail the read.
    """

    limit: int | None

    def table(self) -> pa.Table:
        """Those kept, as `SettingAside.rejects` has them."""
        ...


class RecordRead:
    """Enter it for the reader. Unless `set_aside` was called, records that cannot be rows fail the read.

    Args:
        batches: the rows; they are told of records to set aside by `aside`.
    """

    def __init__(
        self, schema: pa.Schema, aside: Aside, batches: Generator[pa.RecordBatch, None, None]
    ) -> None:
        self._schema = schema
        self._aside = aside
        self._batches = batches
        self._failure: SisError | None = None

    def set_aside(self, limit: int = 100_000) -> None:
        """Records that cannot be rows do not fail the read: they are in `rejects` afterwards.

        More of them than `limit` raise ThresholdError while reading.
        """
        self._aside.limit = limit

    def rejects(self) -> pa.Table:
        """The records set aside so far: file (or page, or place in a topic), line, reason (without values),
        record (its text)."""
        return self._aside.table()

    def count(self) -> int:
        """Reads to the end. Records that cannot be rows do not count."""
        self.set_aside()
        with self as reader:
            return sum(batch.num_rows for batch in reader)

    def __enter__(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._remembering())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.close()
        if self._failure is not None and error is not None and not isinstance(error, SisError):
            # A consumer outside Python knows of the failure only as text.
            raise self._failure from error

    def _remembering(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except SisError as error:
            self._failure = error
            raise

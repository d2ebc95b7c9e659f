"""A read of a topic: batches of messages, those set aside, and the true error whatever consumed them."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType

import pyarrow as pa

from superinsight_sync.core.errors import DataError, SisError, ThresholdError
from superinsight_sync.core.rejects import Reject, rejects_table
from superinsight_sync.sources.protocol import ReadRequest
from superinsight_sync.sources.topics.values import Bad

_SHOWN_BYTES = 1 << 20


@dataclass
class Aside:
    """Messages of one read that cannot be rows.

    Attributes:
        limit: how many may be set aside; None: the first one fails the read.
    """

    topic: str
    limit: int | None = None
    count: int = 0
    _rows: list[Reject] = field(default_factory=list)

    def add(self, place: str, number: int | None, reason: str, record: bytes) -> None:
        """Keeps one, at most its first MB. Raises DataError, or ThresholdError beyond the limit."""
        self.count += 1
        if self.limit is None:
            raise DataError(
                f"the message at {place} cannot be read: {reason}",
                where=f"topic '{self.topic}'",
                hint="Correct options.columns, or set such messages aside with on_row_error: quarantine",
            )
        if self.count > self.limit:
            raise ThresholdError(
                f"more than {self.limit} messages cannot be read; at {place}: {reason}",
                where=f"topic '{self.topic}'",
                hint="Correct the stream's options",
            )
        shown = record[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
        self._rows.append((f"{self.topic}/{place}", number, reason, shown))

    def note(self, place: str, reason: str) -> None:
        """Keeps what is known of messages that are gone."""
        self._rows.append((f"{self.topic}/{place}", None, reason, ""))

    def table(self) -> pa.Table:
        """file (`<topic>/<place>`), line (the offset where there is one), reason, record (its text)."""
        return rejects_table(self._rows)


def kept(batch: pa.RecordBatch, bad: Bad) -> pa.RecordBatch:
    """The batch without the rows named in `bad`."""
    return batch.filter(pa.array([i not in bad for i in range(batch.num_rows)])) if bad else batch


class TopicRead:
    """Enter it for the reader. Unless `set_aside` was called, a message that is no row fails the read.

    Args:
        batches: the rows of the request in batches of any size.
    """

    def __init__(
        self,
        schema: pa.Schema,
        request: ReadRequest,
        topic: str,
        batches: Callable[[Aside], Generator[pa.RecordBatch, None, None]],
    ) -> None:
        self._schema = schema
        self._request = request
        self._aside = Aside(topic)
        self._batches = batches(self._aside)
        self._failure: SisError | None = None

    def set_aside(self, limit: int = 100_000) -> None:
        """Messages that cannot be rows do not fail the read; more than `limit` raise ThresholdError."""
        self._aside.limit = limit

    def rejects(self) -> pa.Table:
        """Those set aside so far: file (`<topic>/<place>`), line (the offset), reason, record."""
        return self._aside.table()

    def __enter__(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._sized())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.close()
        if self._failure is not None and error is not None and not isinstance(error, SisError):
            # A consumer outside Python knows of the failure only as text.
            raise self._failure from error

    def _sized(self) -> Iterator[pa.RecordBatch]:
        most = max(1, self._request.batch_rows)
        try:
            for batch in self._batches:
                for start in range(0, batch.num_rows, most):
                    yield batch.slice(start, most)
        except SisError as error:
            self._failure = error
            raise

"""A read of a topic: batches of messages, those set aside, and the true error whatever consumed them."""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import DataError, ThresholdError
from superinsight_sync.core.rejects import Reject, rejects_table
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.message_values import Bad
from superinsight_sync.sources.record_read import RecordRead

_MOST_BYTES = 512 << 20
"""Messages that are set aside are held until the read ends."""


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
    _held_bytes: int = 0

    def add(self, place: str, number: int | None, reason: str, record: dict[str, Any] | bytes) -> None:
        """Keeps one, whole: as JSON, or the text that it is. Raises DataError, or ThresholdError beyond the limit."""
        self.count += 1
        if self.limit is None:
            raise DataError(
                f"the message at {place} cannot be read: {reason}",
                where=f"topic '{self.topic}'",
                hint="Correct options.columns, or set such messages aside with on_row_error: quarantine",
            )
        if isinstance(record, bytes):
            text = record.decode("utf-8", "backslashreplace")
        else:
            text = json.dumps(record, ensure_ascii=False)
        self._held_bytes += len(text)
        if self.count > self.limit or self._held_bytes > _MOST_BYTES:
            most = (
                f"{self.limit} messages" if self.count > self.limit else f"{_MOST_BYTES >> 20} MB of messages"
            )
            raise ThresholdError(
                f"more than {most} cannot be read; at {place}: {reason}",
                where=f"topic '{self.topic}'",
                hint="Correct the stream's options",
            )
        self._rows.append((f"{self.topic}/{place}", number, reason, text))

    def note(self, place: str, reason: str) -> None:
        """Keeps what is known of messages that are gone."""
        self._rows.append((f"{self.topic}/{place}", None, reason, ""))

    def table(self) -> pa.Table:
        """file (`<topic>/<place>`), line (the offset where there is one), reason, record (the message with all it
        has, as JSON; bytes that are no text as `{"base64": "…"}`)."""
        return rejects_table(self._rows)


def kept(batch: pa.RecordBatch, bad: Bad) -> pa.RecordBatch:
    """The batch without the rows named in `bad`."""
    return batch.filter(pa.array([i not in bad for i in range(batch.num_rows)])) if bad else batch


class TopicRead(RecordRead):
    """A read of a topic. A message that is no row fails the read, unless such messages are set aside.

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
        aside = Aside(topic)
        super().__init__(schema, aside, _sized(batches(aside), max(1, request.batch_rows)))


def _sized(
    batches: Generator[pa.RecordBatch, None, None], most: int
) -> Generator[pa.RecordBatch, None, None]:
    with closing(batches):
        for batch in batches:
            for start in range(0, batch.num_rows, most):
                yield batch.slice(start, most)

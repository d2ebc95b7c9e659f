"""A read of the inbox: deliveries in order, as batches of rows."""

from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import DataError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.receive.parsing import ParseRules
from superinsight_sync.records.batches import schema_of
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.reading import sized
from superinsight_sync.sources.inbox.shape import DELIVERY, RECEIVED_AT, SEQ, Shape
from superinsight_sync.sources.inbox.texts import Opened, opened, place_of, whole
from superinsight_sync.sources.record_read import RecordRead
from superinsight_sync.state.deliveries import StoredDelivery
from superinsight_sync.state.inbox import Inbox

Stretch = tuple[str, str, str, int]
"""Tenant, source, stream, and the last order number."""
Group = list[tuple[StoredDelivery, Opened]]
_TOGETHER = 1_000


def deliveries(
    inbox: Inbox, stretch: Stretch, after: int, options: Any
) -> Iterator[tuple[StoredDelivery, Opened]]:
    """What was accepted after an order number, taken apart. One whose body is gone is a reject as a whole."""
    rules = ParseRules(records=2**31, nesting=options.nesting, record_bytes=options.record_bytes)
    for delivery, body in inbox.between(*stretch[:3], after=after, last=stretch[3]):
        if isinstance(body, DataError):
            yield delivery, Opened([], [], [(place_of(delivery), None, body.message, "")])
        else:
            found = opened(
                delivery, body, record=options.record, limit_bytes=options.decompressed, rules=rules
            )
            yield delivery, found


class InboxRead(RecordRead):
    """A read of a pushed stream. Its position is the order number of the last delivery."""

    def __init__(
        self, inbox: Inbox, shape: Shape, request: ReadRequest, stretch: Stretch, after: int, options: Any
    ) -> None:
        self._inbox = inbox
        self._found = deliveries(inbox, stretch, after, options)
        self._shape, self._request, self._mark = shape, request, stretch[3]
        self._kept = Rejects()
        self._columns = schema_of(shape.columns)
        rows = sized(self._rows(), max(1, request.batch_rows), request.limit)
        super().__init__(self._columns, self._kept, rows)

    def _rows(self) -> Generator[pa.RecordBatch, None, None]:
        for group in grouped(self._found):
            batch = self._batch(group)
            if batch.num_rows:
                yield batch
        self._kept.finish(f"stream '{self._request.stream.name}'")
        self._request.next_position.update(
            seq=self._mark, inbox=self._inbox.identity(), kinds=self._shape.kinds
        )

    def _batch(self, group: Group) -> pa.RecordBatch:
        texts = [text for _, found in group for text in found.texts]
        owners = [(delivery, n) for delivery, found in group for n in found.numbers]
        arrays, places, misfits = self._shape.rows(texts)
        for reject in (r for _, found in group for r in found.rejects):
            self._kept.add(*reject)
        for at, reason in misfits:
            delivery, number = owners[at]
            self._kept.add(place_of(delivery), number, reason, whole(texts[at]))
        for name in self._shape.headers:
            sent = [owners[n][0].metadata.get("headers", {}).get(name) for n in places]
            arrays[name] = pa.array(sent, pa.string())
        arrays[DELIVERY.name] = pa.array([owners[n][0].id for n in places], DELIVERY.arrow)
        arrays[SEQ.name] = pa.array([owners[n][0].seq for n in places], SEQ.arrow)
        arrays[RECEIVED_AT.name] = pa.array([owners[n][0].received_at for n in places], RECEIVED_AT.arrow)
        return pa.RecordBatch.from_arrays([arrays[n] for n in self._columns.names], schema=self._columns)


def grouped(found: Iterator[tuple[StoredDelivery, Opened]]) -> Iterator[Group]:
    """Deliveries together, so that a thousand of one record cost as much as one of a thousand."""
    group: Group = []
    records = 0
    for delivery, taken_apart in found:
        group.append((delivery, taken_apart))
        records += len(taken_apart.texts)
        if records >= _TOGETHER or len(group) >= _TOGETHER:
            yield group
            group, records = [], 0
    if group:
        yield group

"""A Kafka topic, read from positions to the ends that its partitions had when they were first fetched."""

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from confluent_kafka import OFFSET_END, KafkaError, Message, TopicPartition

from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.core.rejects import told
from superinsight_sync.core.stopping import check_stop
from superinsight_sync.model.read import Column, ReadRequest
from superinsight_sync.records.json_text import text_of
from superinsight_sync.records.message_values import (
    TIME,
    Bad,
    from_bytes,
    from_json,
    json_texts,
    objects,
    times,
    utf8,
)
from superinsight_sync.sources.topics.kafka_client import EARLIEST, Client, Offsets, at_time, mapped
from superinsight_sync.sources.topics.options import TopicOptions, topic_of
from superinsight_sync.sources.topics.reading import Aside, kept

PARTITION = Column("_partition", "int", pa.int32(), nullable=False)
OFFSET = Column("_offset", "long", pa.int64(), nullable=False)
TIMESTAMP = Column("_timestamp", "timestamp", TIME)
HEADERS = Column("_headers", "headers as JSON text", pa.string())
TOMBSTONE = Column("_tombstone", "no value", pa.bool_(), nullable=False)
REST = Column("_rest", "JSON text", pa.string())
_PASSING = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT})
_CHUNK = 5_000
_WAIT_S = 0.1


@dataclass
class _Progress:
    """Where a read is.

    Attributes:
        at: the next offset of each partition; negative while it is not known.
        marks: the end each partition had when it was first fetched.
        open: partitions that are not read to their mark.
        lost: how many offsets are known to have been removed before they were read, over all reads.
    """

    at: Offsets
    topic_id: str | None
    lost: int = 0
    marks: Offsets = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def position(self) -> dict[str, Any]:
        """As it is kept."""
        said: dict[str, Any] = {"partitions": {str(p): o for p, o in sorted(self.at.items())}}
        if self.topic_id:
            said["topic_id"] = self.topic_id
        return {**said, "lost": self.lost} if self.lost else said


class TopicReader:
    """One read of one topic.

    Args:
        columns: all columns of the stream, as `columns_of` gives them.
    """

    def __init__(
        self,
        client: Client,
        request: ReadRequest,
        options: Any,
        columns: Sequence[Column],
        stall_s: float,
    ) -> None:
        self._client = client
        self._request = request
        self._topic = topic_of(request.stream)
        self._options = options
        self._columns = columns
        self._stall_s = stall_s
        self.schema = pa.schema([(c.name, c.arrow) for c in columns])

    def batches(self, aside: Aside) -> Generator[pa.RecordBatch, None, None]:
        """The rows of all partitions, each in its order; fills the request's `next_position` at the end."""
        progress = self._begin(aside)
        consumer, left = self._client.consumer, self._request.limit
        skipped = {p for p, o in progress.at.items() if o == OFFSET_END}
        consumer.assign([TopicPartition(self._topic, p, o) for p, o in progress.at.items()])
        heard = time.monotonic()
        while progress.open and left != 0:
            chunk = consumer.consume(_CHUNK if left is None else min(_CHUNK, left), _WAIT_S)
            self._client.check()
            check_stop()
            heard = time.monotonic() if chunk else heard
            if not chunk and time.monotonic() - heard > self._stall_s:
                raise TransientError(
                    f"Kafka gave nothing for {self._stall_s:g} s, before the end of the topic",
                    where=f"topic '{self._topic}'",
                    hint="Check that the server runs and can be reached",
                )
            self._check_ends(progress, aside)
            messages = [m for m in self._taken(chunk, progress, aside) if m.partition() not in skipped]
            batch = self._batch(messages, aside) if messages else None
            if batch is not None and batch.num_rows:
                left = None if left is None else left - batch.num_rows
                yield batch
        self._request.next_position.update(progress.position())

    def _begin(self, aside: Aside) -> _Progress:
        """Where to start. Raises DataError if what comes next was removed, unless told to go on."""
        partitions = self._client.topics()[self._topic]
        earliest = self._client.offsets(self._topic, partitions, EARLIEST)
        by_position = self._request.stream.sync.by == "position"
        position = self._request.position if by_position else None
        progress = _Progress(dict(earliest), self._client.topic_id(self._topic), open=set(partitions))
        if position is not None:
            self._go_on(progress, position, earliest, aside)
        elif by_position:
            progress.at |= self._first(partitions)
        return progress

    def _first(self, partitions: tuple[int, ...]) -> Offsets:
        """Where the declaration says that the first read begins, unless it is the beginning."""
        options: TopicOptions = self._options
        if options.start == "end":
            return dict.fromkeys(partitions, OFFSET_END)
        if options.start_ms is None:
            return {}
        found = self._client.offsets(self._topic, partitions, at_time(options.start_ms))
        return {p: OFFSET_END if o < 0 else o for p, o in found.items()}

    def _go_on(self, progress: _Progress, position: Any, earliest: Offsets, aside: Aside) -> None:
        """From a kept position; a partition that is new since then from its beginning."""
        progress.lost = position.get("lost", 0)
        before = {int(p): int(o) for p, o in position["partitions"].items()}
        known = position.get("topic_id")
        if (known and progress.topic_id and known != progress.topic_id) or before.keys() - earliest.keys():
            self._tell("the topic was deleted and made anew; what was not read before is lost", aside)
            return
        for partition, offset in before.items():
            missing = earliest[partition] - offset
            if missing > 0:
                self._tell_removed(partition, missing, progress, aside)
            progress.at[partition] = max(offset, earliest[partition])

    def _tell_removed(self, partition: int, missing: int, progress: _Progress, aside: Aside) -> None:
        """Offsets are counted: those of a compacted topic are not all messages."""
        self._tell(f"partition {partition}: {missing} offsets were removed before they were read", aside)
        progress.lost += missing

    def _tell(self, what: str, aside: Aside) -> None:
        if self._options.on_lost == "fail":
            raise DataError(
                what,
                where=f"topic '{self._topic}'",
                hint="Read it again with `sis state reset`, or go on without: options: {on_lost: continue}",
            )
        aside.note("lost", f"lost: {what}")

    def _check_ends(self, progress: _Progress, aside: Aside) -> None:
        """A partition that ends before the offset we are to read next is not the one we read before."""
        for partition in tuple(progress.open):
            low, high = self._ends(partition)
            if 0 <= low <= high < progress.at[partition]:
                self._tell(f"partition {partition} ends before the offset that is next", aside)
                self._seek(partition, low, progress)

    def _ends(self, partition: int) -> tuple[int, int]:
        """First offset and end of a partition as the last fetch told them; negative before it."""
        return self._client.consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), cached=True
        )

    def _seek(self, partition: int, offset: int, progress: _Progress) -> None:
        progress.at[partition] = offset
        self._client.consumer.seek(TopicPartition(self._topic, partition, offset))

    def _taken(self, chunk: list[Message], progress: _Progress, aside: Aside) -> list[Message]:
        """The messages before the marks; keeps account of where each partition is."""
        taken: list[Message] = []
        at, marks = progress.at, progress.marks
        for message in chunk:
            partition, offset = _place(message)
            error = message.error()
            if error is not None:
                self._heard(error, message, progress, aside)
                continue
            if partition not in progress.open:
                continue
            if partition not in marks:
                marks[partition] = max(self._ends(partition)[1], offset + 1)
            mark = marks[partition]
            if offset < mark:
                taken.append(message)
            at[partition] = min(offset + 1, mark)
            if at[partition] >= mark:
                self._close(partition, progress)
        return taken

    def _close(self, partition: int, progress: _Progress) -> None:
        progress.open.discard(partition)
        if progress.open:
            self._client.consumer.pause([TopicPartition(self._topic, partition)])

    def _heard(self, error: KafkaError, message: Message, progress: _Progress, aside: Aside) -> None:
        partition, offset = _place(message)
        if error.code() == KafkaError._PARTITION_EOF:
            if partition in progress.open:
                progress.at[partition] = offset
                self._close(partition, progress)
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            earliest = self._client.offsets(self._topic, (partition,), EARLIEST)[partition]
            missing = earliest - progress.at[partition]
            if missing > 0:
                self._tell_removed(partition, missing, progress, aside)
            else:
                self._tell(f"partition {partition} ends before the offset that is next", aside)
            self._seek(partition, earliest, progress)
        elif error.retriable() or error.code() in _PASSING:
            return
        else:
            raise mapped(error).at(f"topic '{self._topic}'")

    def _batch(self, messages: list[Message], aside: Aside) -> pa.RecordBatch:
        bad: Bad = {}
        values = [m.value() for m in messages]
        for place, value in enumerate(values):
            if value is not None and len(value) > self._options.max_record:
                bad[place] = f"it has more than {self._options.max_record} bytes"
                values[place] = None
        stamps = [m.timestamp() for m in messages]
        at, far = times([ms if kind and ms >= 0 else None for kind, ms in stamps])
        if far:
            self._request.replaced[TIMESTAMP.name] += far
        arrays = [
            pa.array([m.partition() for m in messages], pa.int32()),
            pa.array([m.offset() for m in messages], pa.int64()),
            at,
            from_bytes([m.key() for m in messages], self._columns[3], bad),
            _headers([m.headers() for m in messages]),
            *self._values(values, bad),
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        for place, reason in sorted(bad.items()):
            message = messages[place]
            aside.add(str(message.partition()), message.offset(), reason, _whole(message))
        return kept(batch, bad)

    def _values(self, values: list[bytes | None], bad: Bad) -> list[pa.Array]:
        options, columns = self._options, self._columns[5:]
        if options.value != "json":
            return [from_bytes(values, columns[0], bad)]
        texts = utf8(values, bad, "its value")
        if not options.columns:
            return [json_texts(texts, bad)]
        records = objects(texts.to_pylist(), bad)
        declared = columns[1:-1]
        names = {c.name for c in declared}
        rest = [
            None if r.keys() <= names else text_of({k: v for k, v in r.items() if k not in names})
            for r in records
        ]
        return [
            pa.array([v is None for v in values], pa.bool_()),
            *(from_json([r.get(c.name) for r in records], c, bad) for c in declared),
            pa.array(rest, pa.string()),
        ]


def _place(message: Message) -> tuple[int, int]:
    """Partition and offset; -1 for what an error does not say."""
    partition, offset = message.partition(), message.offset()
    return (-1 if partition is None else partition), (-1 if offset is None else offset)


def columns_of(options: Any, declared: Sequence[Column]) -> tuple[Column, ...]:
    """All columns of a stream."""
    key = Column("_key", options.key, pa.binary() if options.key == "bytes" else pa.string())
    own = (PARTITION, OFFSET, TIMESTAMP, key, HEADERS)
    if options.columns:
        return (*own, TOMBSTONE, *declared, REST)
    form = pa.binary() if options.value == "bytes" else pa.string()
    return (*own, Column("_value", options.value, form))


def _headers(headers: list[Any]) -> pa.Array:
    """JSON text `[["name", "value"], …]`; a value that is no UTF-8 is `{"base64": "…"}`."""
    texts = [None if not h else json.dumps([[n, told(v)] for n, v in h], ensure_ascii=False) for h in headers]
    return pa.array(texts, pa.string())


def _whole(message: Message) -> dict[str, Any]:
    """All that a message has."""
    kind, unix_ms = message.timestamp()
    headers: Any = message.headers()
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp_ms": unix_ms if kind else None,
        "timestamp_kind": {1: "created", 2: "appended"}.get(kind),
        "key": told(message.key()),
        "headers": [[name, told(value)] for name, value in headers or ()],
        "value": told(message.value()),
    }

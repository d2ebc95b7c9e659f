"""What the messages of a topic look like."""

import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.model.types import type_text
from superinsight_sync.records.json_text import object_of
from superinsight_sync.records.json_types import Seen
from superinsight_sync.sources.topics.kafka_client import Client

_SAMPLE = 100
_LONGEST_S = 2.0


def sample_columns(client: Client, topic: str) -> tuple[ColumnInfo, ...]:
    """The keys of the JSON objects among the topic's first messages, with types that hold all of them;
    `_value` if there are none."""
    partitions = client.topics()[topic]
    client.consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    ended: set[int] = set()
    records: list[dict[str, Any]] = []
    until = time.monotonic() + _LONGEST_S
    while len(records) < _SAMPLE and len(ended) < len(partitions) and time.monotonic() < until:
        for message in client.consumer.consume(_SAMPLE, 0.1):
            if message.error() is not None:
                ended.add(message.partition() or 0)
                continue
            value = message.value() or b""
            record = object_of(value.decode("utf-8", "replace"))[0]
            if record is not None:
                records.append(record)
    client.check()
    names = dict.fromkeys(name for record in records for name in record)
    if not names:
        return (ColumnInfo("_value", "string", "bytes"),)
    return tuple(_column(name, [r.get(name) for r in records]) for name in names)


def _column(name: str, values: list[object]) -> ColumnInfo:
    seen = Seen()
    seen.add(values)
    return ColumnInfo(name, type_text(seen.arrow_type()), seen.source_type())

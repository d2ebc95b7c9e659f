"""What a Redis server has: its version, its streams, their fields."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import redis.exceptions as errors

from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import not_there
from superinsight_sync.model.read import StreamShape
from superinsight_sync.records.message_values import declared_columns
from superinsight_sync.sources.topics.options import TopicOptions, topic_of
from superinsight_sync.sources.topics.redis_stream import AT, ID, REST, ask, server_info

if TYPE_CHECKING:
    from redis import Redis


def version_of(server: "Redis") -> str:
    """`Redis 7.0.15`, `Valkey 9.1.2`."""
    said = ask(server, "INFO", "server")
    lines = (said if isinstance(said, bytes) else str(said).encode()).decode().splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts.get('redis_version', '')}".strip()


def may_write(server: "Redis") -> bool | None:
    """Whether the account could add to a stream; None if it may not ask."""
    try:
        user = ask(server, "ACL WHOAMI")
        answer = ask(server, "ACL DRYRUN", user, "XADD", "sis", "*", "a", "b")
    except errors.ResponseError:
        return None
    return bool(answer in (b"OK", "OK", True))


def stream_keys(server: "Redis", *, most: int, scans: int) -> Iterator[str]:
    """Keys of streams, at most `most` of them, in at most `scans` looks at a thousand keys each."""
    found: list[Any] = []
    cursor = 0
    for _ in range(scans):
        cursor, keys = server.scan(cursor, count=1000, _type="stream")
        found += keys
        if cursor == 0 or len(found) >= most:
            break
    for key in islice(sorted(set(found)), most):
        try:
            yield key.decode()
        except UnicodeDecodeError:
            continue  # which no declaration could name


def fields_of(server: "Redis", key: str, entries: int) -> tuple[tuple[str, ...], int]:
    """The fields of the stream's last entries, and how many entries it has."""
    sample = ask(server, "XREVRANGE", key, "+", "-", "COUNT", entries)
    names = dict.fromkeys(f.decode("utf-8", "replace") for _, fields in reversed(sample) for f in fields[::2])
    return tuple(names), int(server.xlen(key))


def described(server: "Redis", stream: StreamSpec, options: TopicOptions) -> StreamShape:
    """The stream's columns. Raises ConfigError naming close streams if it is not there, or is no stream."""
    topic = topic_of(stream)
    where = f"stream '{stream.name}'"
    columns = declared_columns(options.columns, (ID, AT, REST), where)
    if not server.exists(topic):
        raise not_there("Redis stream", topic, stream_keys(server, most=1000, scans=100)).at(where)
    info = server_info(server, topic)
    return StreamShape((ID, AT, *columns, REST), (ID.name,), row_estimate=info.length)

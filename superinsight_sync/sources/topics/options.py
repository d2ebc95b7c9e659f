"""What streams of every message log may say of themselves."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from superinsight_sync.model.declaration import Size, StreamSpec
from superinsight_sync.sources.protocol import StreamOptions

DEFAULT_MAX_RECORD = 64 * 10**6


def _start(value: str) -> str:
    if value in ("beginning", "end"):
        return value
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"'{value}' is neither beginning, end nor a time like 2026-01-31T00:00:00Z"
        ) from None
    return value


class TopicOptions(StreamOptions):
    """Of a topic."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Fields of the messages that become columns, and their types (`int64`, `decimal(12,2)`, `timestamp`, …).
    What a message holds besides them is kept as JSON text in `_rest`."""
    start: Annotated[str, AfterValidator(_start)] = "beginning"
    """Where the first read `by: position` begins: `beginning`, `end`, or a time (UTC unless it says else)."""
    on_lost: Literal["fail", "continue"] = "fail"
    """What happens if the source removed messages before they were read: stop, or go on with those that are
    left and note how many are known to be lost."""
    max_record: Size = Field(default=DEFAULT_MAX_RECORD, ge=1)
    """A message of more bytes than this is set aside."""

    @property
    def start_ms(self) -> int | None:
        """`start` as Unix milliseconds, if it is a time."""
        if self.start in ("beginning", "end"):
            return None
        at = datetime.fromisoformat(self.start)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def topic_of(stream: StreamSpec) -> str:
    """The stream's topic. Raises ConfigError if it has none, or a cursor, which no topic can be read by."""
    from superinsight_sync.core.errors import ConfigError

    where = f"stream '{stream.name}'"
    if not stream.topic:
        raise ConfigError("a stream of a message log needs `topic`", where=where)
    if stream.sync.cursor or (stream.sync.mode == "incremental" and stream.sync.by != "position"):
        raise ConfigError(
            "a topic has no cursor column",
            where=where,
            hint="Write sync: {mode: incremental, by: position}, or mode: full",
        )
    return stream.topic

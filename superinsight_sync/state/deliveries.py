"""What is known of deliveries in the inbox."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from superinsight_sync.model.push import PushFormat

DeliveryState = Literal["received", "landed"]


StreamKey = tuple[str, str, str]
"""Tenant, source, stream."""


class Waiting(NamedTuple):
    """What waits of a stream.

    Attributes:
        first, last: order numbers of the oldest and the newest.
        asked_at: when somebody asked last to try at once what could not be landed; None if it has failed since.
    """

    first: int
    last: int
    asked_at: datetime | None = None


@dataclass(frozen=True)
class Range:
    """Deliveries of one stream that wait, from the order number `first` to `last`, both included.

    Attributes:
        stream: empty for those whose stream is found out when they are landed.
        records: as counted at the door. oldest_at: when the first of them was received.
        asked_at: when somebody asked last to try at once what could not be landed; None if it has failed since.
    """

    tenant: str
    source: str
    stream: str
    first: int
    last: int
    deliveries: int
    records: int
    size_bytes: int
    oldest_at: datetime
    asked_at: datetime | None = None


@dataclass(frozen=True)
class StoredDelivery:
    """A delivery as it is kept, without its body."""

    seq: int
    id: str
    tenant: str
    source: str
    stream: str
    key: str
    fingerprint: str
    format: PushFormat
    encoding: str
    size_bytes: int
    records: int
    metadata: dict[str, Any]
    received_at: datetime
    state: DeliveryState
    load_id: str | None
    marked_at: datetime | None
    error_text: str | None
    replay_of: int | None


class Chunk(NamedTuple):
    """A delivery that is a part of a stream of lines: those from `first` to `last`, both included."""

    id: str
    stream: str
    format: PushFormat
    fingerprint: str
    first: int
    last: int


@dataclass(frozen=True)
class Wanted:
    """Which deliveries somebody looks for; what is None (or empty) does not matter.

    Attributes:
        sources: any of these. since: received then or later.
        failed: those that wait after they could not be landed; `error_text` says why.
    """

    tenant: str | None = None
    sources: tuple[str, ...] = ()
    source: str | None = None
    stream: str | None = None
    state: DeliveryState | None = None
    since: datetime | None = None
    failed: bool = False


@dataclass(frozen=True)
class Backlog:
    """What waits to be landed."""

    deliveries: int
    size_bytes: int
    oldest_at: datetime | None

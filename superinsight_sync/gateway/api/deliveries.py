"""What was pushed, what became of it, and once more from the start."""

import logging
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.api.context import ROOT, Caller, Given, Moment, Reach, Reached, Told
from superinsight_sync.model.written import NAME_PATTERN
from superinsight_sync.pipeline.replay import replay_delivery as replay
from superinsight_sync.security.roles import Principal
from superinsight_sync.state.deliveries import DeliveryState, StoredDelivery, Wanted

_log = logging.getLogger(__name__)
ID_PATTERN = "^[0-9a-f]{32}$"
_ABOUT = ("event", "batch", "session", "upload", "first", "last", "by")
"""What the gateway itself notes of a delivery. What its sender notes is told to none who may see no records."""

DeliveryId = Annotated[str, Path(pattern=ID_PATTERN, description="The id that its sender was told.")]


class Filter(Given):
    """Which deliveries are wanted, and which page of them."""

    source: str | None = Field(default=None, pattern=NAME_PATTERN)
    stream: str | None = Field(default=None, pattern=NAME_PATTERN)
    state: DeliveryState | None = None
    failed: bool = Field(default=False, description="Only what waits after it could not be landed.")
    since: Moment | None = Field(
        default=None, description="Received then or later, such as 2027-01-31T08:00:00Z."
    )
    before: str | None = Field(default=None, pattern=ID_PATTERN, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=500)


class Again(Given):
    """How a delivery is landed once more."""

    all: bool = Field(default=False, description="Every record, also those that have landed.")


class DeliveryTold(Told):
    """A delivery without its content."""

    id: str
    source: str
    stream: str = Field(description="Empty if it is found out when the delivery is landed.")
    state: DeliveryState
    format: str
    encoding: str = Field(description="How it came packed: empty, gzip or deflate.")
    size_bytes: int
    records: int = Field(description="As counted at the door.")
    key: str = Field(description="By which it is known when it comes again.")
    sha256: str = Field(description="Of the bytes as they came.")
    about: dict[str, Any] = Field(
        description="What the gateway noted, such as event, batch and whose key it was."
    )
    received_at: datetime
    changed_at: datetime | None = Field(description="When its state changed last.")
    load_id: str | None
    error: str | None = Field(description="Why it could not be landed.")
    replay_of: str | None = Field(description="The delivery that it repeats, while that is kept.")


class Page(Told):
    """Deliveries, newest first."""

    deliveries: list[DeliveryTold]
    next: str | None = Field(description="Send it as `before` for older ones; null if there are none.")


class Replayed(Told):
    """A delivery that was put into the inbox once more, or is tried again at once: then both are the same."""

    id: str
    replay_of: str


class Octets(StreamingResponse):
    """Bytes as they came."""

    media_type = "application/octet-stream"


def list_deliveries(wanted: Annotated[Filter, Query()], caller: Caller, reach: Reached) -> Page:
    """The newest deliveries of the tenant, a page at a time."""
    before = _mine(reach, caller, wanted.before).seq if wanted.before is not None else None
    found = reach.engine.inbox.search(
        Wanted(
            tenant=caller.tenant,
            sources=caller.sources,
            source=wanted.source,
            stream=wanted.stream,
            state=wanted.state,
            since=wanted.since,
            failed=wanted.failed,
        ),
        before=before,
        limit=wanted.limit + 1,
    )
    page = found[: wanted.limit]
    return Page(deliveries=_told(reach, *page), next=page[-1].id if len(found) > len(page) else None)


def show_delivery(delivery_id: DeliveryId, caller: Caller, reach: Reached) -> DeliveryTold:
    """One delivery, without its content."""
    return _told(reach, _mine(reach, caller, delivery_id))[0]


def show_body(delivery_id: DeliveryId, caller: Caller, reach: Reached) -> Octets:
    """The bytes of a delivery as they came, packed if they came packed."""
    found = _mine(reach, caller, delivery_id)
    try:
        parts = reach.engine.inbox.body_parts(delivery_id)
    except DataError as error:
        _log.error("the body of delivery %s is lost: %s", delivery_id, error)
        raise RequestError(410, "the body of this delivery is gone or damaged") from error
    if parts is None:
        raise _none()
    _log.info("key %s saw the body of delivery %s", caller.key_id, delivery_id)
    name = f"{found.source}-{delivery_id}.{found.format}{'.gz' if found.encoding == 'gzip' else ''}"
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-length": str(found.size_bytes),
    }
    return Octets(parts, headers=headers)


def replay_delivery(
    delivery_id: DeliveryId,
    how: Annotated[Again, Query()],
    caller: Caller,
    reach: Reached,
    response: Response,
) -> Replayed:
    """Puts a delivery into the inbox once more, behind all others, to land the records that were set aside.

    One that could not be landed keeps its place and its id, and is tried again at once.
    """
    _mine(reach, caller, delivery_id)
    try:
        new_id = replay(reach.engine, delivery_id, whole=how.all)
    except ConfigError as error:
        raise RequestError(409, error.message) from error
    _log.info("key %s replayed delivery %s as %s", caller.key_id, delivery_id, new_id)
    response.headers["location"] = f"{ROOT}/inbox/deliveries/{new_id}"
    return Replayed(id=new_id, replay_of=delivery_id)


def _mine(reach: Reach, caller: Principal, delivery_id: str) -> StoredDelivery:
    """The delivery, if it is of the caller's tenant and sources. Raises RequestError (404): one that is not is told
    from none that there is."""
    found = reach.engine.inbox.get(delivery_id)
    is_mine = found is not None and found.tenant == caller.tenant
    if found is None or not is_mine or (caller.sources and found.source not in caller.sources):
        raise _none()
    return found


def _none() -> RequestError:
    return RequestError(404, "there is no such delivery")


def _told(reach: Reach, *found: StoredDelivery) -> list[DeliveryTold]:
    originals = reach.engine.inbox.ids({d.replay_of for d in found if d.replay_of is not None})
    return [
        DeliveryTold(
            id=d.id,
            source=d.source,
            stream=d.stream,
            state=d.state,
            format=d.format,
            encoding=d.encoding,
            size_bytes=d.size_bytes,
            records=d.records,
            key=d.key,
            sha256=d.fingerprint,
            about={name: d.metadata[name] for name in _ABOUT if name in d.metadata},
            received_at=d.received_at,
            changed_at=d.marked_at,
            load_id=d.load_id,
            error=d.error_text,
            replay_of=originals.get(d.replay_of) if d.replay_of is not None else None,
        )
        for d in found
    ]

"""Between the event loop and the inbox: a request waits here until its delivery is on the disk."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from starlette.types import Send

from superinsight_sync.gateway.answers import Answer, RequestError, send_bytes
from superinsight_sync.gateway.ids import new_id
from superinsight_sync.gateway.receivers import Receiver
from superinsight_sync.model.push import PushFormat
from superinsight_sync.receive.parsing import Parsed
from superinsight_sync.state.deliveries import Chunk
from superinsight_sync.state.inbox import BIG_BODY_BYTES, Inbox
from superinsight_sync.state.inbox_writer import Delivery, InboxWriter, Outcome, Result, settle

MOST_TOLD = 1_000
"""So many of a delivery's bad records are told in the answer; all are counted."""


Tell = Callable[[Result], None]
"""Takes what became of a delivery."""


class Taking:
    """Stores deliveries for one event loop."""

    def __init__(self, inbox: Inbox, writer: InboxWriter) -> None:
        self.inbox, self.writer = inbox, writer
        self._loop = asyncio.get_running_loop()

    async def store(self, delivery: Delivery) -> Outcome:
        """What became of it, once that is on the disk. Raises as `InboxWriter.accept`."""
        if delivery.size_bytes > BIG_BODY_BYTES:
            delivery = await asyncio.to_thread(self.inbox.prepared, delivery)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self.submit(delivery, partial(_settle, future))
        return await future

    def submit(self, delivery: Delivery, tell: Tell) -> None:
        """As `store` without waiting, for bodies up to `BIG_BODY_BYTES`: `tell` is called by the event loop.
        Raises InboxFullError."""
        self.writer.submit(delivery, self._tell_soon, tell)

    async def newest_chunk(self, receiver: Receiver, batch_id: str) -> Chunk | None:
        """The last stored part of a stream of lines; None before the first."""

        def walk() -> Chunk | None:
            newest = deque(self.inbox.chunks(receiver.tenant, receiver.name, batch_id), maxlen=1)
            return newest[0] if newest else None

        return await asyncio.to_thread(walk)

    async def session_position(self, receiver: Receiver, session: str) -> int:
        """The last stored message of a numbered session; 0 before the first."""
        return await asyncio.to_thread(self.inbox.session_position, receiver.tenant, receiver.name, session)

    def _tell_soon(self, pairs: list[tuple[Tell, Result]]) -> None:
        self._loop.call_soon_threadsafe(_tell_all, pairs)


def _tell_all(pairs: list[tuple[Tell, Result]]) -> None:
    for tell, result in pairs:
        tell(result)


def _settle(future: "asyncio.Future[Outcome]", result: Result) -> None:
    settle([(future, result)])


def delivery_of(
    receiver: Receiver, stream: str, form: PushFormat, body: bytes, *, key: str | None, **more: Any
) -> Delivery:
    """A delivery ready to be stored.

    Args:
        key: what its sender calls it; None: it is known by its content.
        more: `records`, `encoding`, and `metadata` (JSON-like, or empty).
    """
    fingerprint = hashlib.sha256(body).hexdigest()
    metadata = more.get("metadata")
    return Delivery(
        new_id(),
        receiver.tenant,
        receiver.name,
        stream,
        key or f"content:{stream}:{fingerprint}",
        fingerprint,
        form,
        more.get("encoding", ""),
        body,
        len(body),
        more.get("records", 1),
        msgspec.json.encode(metadata, order="sorted").decode() if metadata else "{}",
    )


async def tell(send: Send, outcome: Outcome, parsed: Parsed | None = None) -> None:
    """Answers with what became of a delivery. Raises as `told`."""
    answer = told(outcome, parsed)
    await send_bytes(send, answer.status, answer.body, answer.media_type)


def told(outcome: Outcome, parsed: Parsed | None = None) -> Answer:
    """The answer to a delivery: 202 new, 200 known already. Raises RequestError (422) if its key was used for
    another body or stream."""
    if outcome.kind == "conflict":
        raise RequestError(
            422, "this key was used for another body or stream", hint="Use a new key for new content"
        )
    document: dict[str, Any] = {"id": outcome.id, "status": outcome.kind}
    if parsed is not None:
        document["records"] = len(parsed.records)
        document["rejected_count"] = len(parsed.rejected)
        document["rejected"] = [{"place": r.place, "reason": r.reason} for r in parsed.rejected[:MOST_TOLD]]
    return Answer(202 if outcome.kind == "stored" else 200, msgspec.json.encode(document))

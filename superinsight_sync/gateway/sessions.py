"""Numbered messages on a connection: taken in order, stored chunk by chunk, acknowledged once they are on the disk.

While one chunk is being stored the next one gathers, so chunks are as large as the disk is slow. One chunk of a
session is under way at a time: what follows a chunk that failed is never stored before it.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Receive, Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.fitting import fitted
from superinsight_sync.gateway.receivers import Receiver
from superinsight_sync.gateway.storing import MOST_TOLD, delivery_of
from superinsight_sync.model.push import PushStreamSpec
from superinsight_sync.receive.envelope import open_message
from superinsight_sync.receive.parsing import parse
from superinsight_sync.receive.refusals import MalformedError, TooLargeError

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

WINDOW = 1_000
"""So many messages of a connection may wait for the disk; then no more are read."""
WINDOW_BYTES = 1 << 20
ALL_BYTES = 128 << 20
"""So many bytes of all connections may wait; then each waits for its own."""
MESSAGE_FRAME_BYTES = 256
"""Room in a message for what is around its record."""
IDLE_S = 600.0
PROVED_S = 30.0
"""After this time a connection's credentials are looked at again."""
_TURN_S = 5.0
_END_S = 10.0


class ClosingError(RequestError):
    """The gateway stops; another one, or this one in a moment, goes on."""

    close_code = 1012

    def __init__(self, hint: str = "Connect again") -> None:
        super().__init__(503, "the gateway is stopping", hint=hint)


@dataclass(frozen=True)
class Sender:
    """Who sends what: `name` is the session's, `prove` raises once the credentials hold no longer."""

    receiver: Receiver
    stream: PushStreamSpec
    name: str
    by: str
    client: tuple[str, int] | None
    prove: Callable[[], Awaitable[Any]]

    @property
    def session(self) -> str:
        """The session as the inbox knows it."""
        return f"{self.stream.name}:{self.name}"


class Session:
    """A connection while it sends. `durable` is the number of the last message that is on the disk."""

    def __init__(self, gate: "Gate", sender: Sender, send: Send) -> None:
        self._gate, self._sender, self._send = gate, sender, send
        self.durable = self._received = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Condition()
        self._is_ended = self._is_gone = self._owes_answer = False
        self._stopped_by: SisError | None = None
        self._reading: asyncio.Task[None] | None = None
        self._proved_s = time.monotonic()
        self.ended = asyncio.Event()

    def stop(self, error: SisError) -> None:
        """Ends it: what was taken is stored and acknowledged, then the sender is told the error."""
        self._stopped_by = self._stopped_by or error
        if self._reading is not None:
            self._reading.cancel()

    async def run(self, receive: Receive) -> None:
        """Takes messages until the sender leaves. Raises SisError: why the connection is to be closed."""
        self.durable = self._received = await self._gate.taking.session_position(
            self._sender.receiver, self._sender.session
        )
        await self._tell(
            type="welcome", last=self.durable, window=WINDOW, record_bytes=self._sender.receiver.limits.record
        )
        self._reading = reading = asyncio.create_task(self._read(receive))
        storing = asyncio.create_task(self._store())
        try:
            if self._stopped_by is not None:
                reading.cancel()
            await asyncio.wait({reading, storing}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                async with self._changed:
                    self._is_ended = True
                    self._changed.notify_all()
                await asyncio.wait({storing})
        finally:
            reading.cancel()
            storing.cancel()
            await asyncio.gather(reading, storing, return_exceptions=True)
            self._count(-self._waiting_bytes)
        for task in (storing, reading):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if self._stopped_by is not None:
            raise self._stopped_by

    @property
    def is_gone(self) -> bool:
        """Whether the sender has left: there is nobody to tell."""
        return self._is_gone

    def _is_full(self) -> bool:
        if self._waiting_bytes >= WINDOW_BYTES or self._received - self.durable >= WINDOW:
            return True
        return self._waiting_bytes > 0 and self._gate.sessions.waiting_bytes >= ALL_BYTES

    async def _read(self, receive: Receive) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._is_full())
            text = await next_text(receive, IDLE_S)
            if text is None:
                self._is_gone = True
                return
            message = open_message(text)
            if len(message.data) > self._sender.receiver.limits.record:
                raise TooLargeError(
                    f"message {message.n} has more than {self._sender.receiver.limits.record} bytes"
                )
            async with self._changed:
                self._take(message.n, bytes(message.data))
                self._changed.notify_all()

    def _take(self, number: int, data: bytes) -> None:
        if not self._received:
            # Nothing is known of this session: it is new, or so old that it was forgotten.
            self.durable = self._received = number - 1
        if number > self._received + 1:
            raise MalformedError(f"messages are missing: the next one is {self._received + 1}")
        if number <= self._received:
            self._owes_answer = True
            return
        self._received = number
        self._waiting.append(
            data.replace(b"\n", b" ").replace(b"\r", b" ")
        )  # line feeds are only between values
        self._count(len(data))

    def _count(self, size_bytes: int) -> None:
        self._waiting_bytes += size_bytes
        self._gate.sessions.waiting_bytes += size_bytes

    async def _store(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting or self._owes_answer or self._is_ended)
                self._owes_answer = False
                count = min(len(self._waiting), self._sender.receiver.limits.records)
                lines = [self._waiting.popleft() for _ in range(count)]
            if lines:
                try:
                    rejected = await self._store_chunk(lines)
                finally:
                    self._count(-sum(map(len, lines)))
                async with self._changed:
                    self.durable += len(lines)
                    self._changed.notify_all()
                await self._tell(type="ack", n=self.durable, **rejected)
            elif self._is_ended:
                return
            else:
                await self._tell(type="ack", n=self.durable)

    async def _store_chunk(self, lines: list[bytes]) -> dict[str, Any]:
        """Stores the lines after `durable`; what is to be told of bad ones."""
        sender, first = self._sender, self.durable + 1
        await self._turn()
        body = b"\n".join(lines)
        parsed = parse(body, "ndjson", sender.receiver.rules(sender.stream))
        last = first + len(lines) - 1
        delivery = delivery_of(
            sender.receiver,
            sender.stream.name,
            "ndjson",
            body,
            key=f"ws:{sender.session}:{first:015d}",
            records=len(parsed.records),
            metadata={"session": sender.name, "first": first, "last": last, "by": sender.by},
        )
        outcome = await self._gate.taking.store(delivery)
        if outcome.kind == "conflict":
            raise RequestError(409, "another connection sends this session")
        parsed = fitted(sender.receiver, sender.stream, "ndjson", body, parsed)
        bad = [{"n": first + r.place - 1, "reason": r.reason} for r in parsed.rejected[:MOST_TOLD]]
        return {"rejected": bad} if bad else {}

    async def _turn(self) -> None:
        """Waits until the source takes more. Raises as the handshake does, if that would take too long."""
        sender, gate = self._sender, self._gate
        gate.check_room()
        sender.receiver.admit(sender.client)
        if time.monotonic() - self._proved_s > PROVED_S:
            await sender.prove()
            self._proved_s = time.monotonic()
        while True:
            try:
                gate.spend(sender.receiver)
            except RequestError as error:
                if error.retry_after_s > _TURN_S:
                    raise
                await asyncio.sleep(error.retry_after_s)
            else:
                return

    async def _tell(self, **document: Any) -> None:
        if self._is_gone:
            return
        try:
            await self._send({"type": "websocket.send", "text": json.dumps(document)})
        except (OSError, RuntimeError):  # it has left, or is leaving
            self._is_gone = True


class Sessions:
    """All connections of a process, and which session is on which of them."""

    def __init__(self) -> None:
        self.most = 2
        self.waiting_bytes = 0
        self._open = self._unproved = 0
        self._is_ending = False
        self._by_name: dict[tuple[str, str, str], Session] = {}

    def open(self) -> None:
        """Counts a connection. Raises RequestError (503): too many, or the gateway stops."""
        if self._is_ending:
            raise ClosingError()
        if self._open >= self.most:
            raise RequestError(503, "too many connections", retry_after_s=5)
        self._open += 1

    def close(self) -> None:
        """Counts it no longer."""
        self._open -= 1

    @contextmanager
    def unproved(self) -> Iterator[None]:
        """While a connection's key is awaited. A fifth of all may be so. Raises RequestError (503)."""
        if self._unproved >= max(1, self.most // 5):
            raise RequestError(503, "too many connections that have sent no key", retry_after_s=5)
        self._unproved += 1
        try:
            yield
        finally:
            self._unproved -= 1

    async def run(self, sender: Sender, session: Session, receive: Receive) -> None:
        """Runs a session; an older connection that has the same one is ended first. Raises as `Session.run`."""
        key = (sender.receiver.tenant, sender.receiver.name, sender.session)
        try:
            async with asyncio.timeout(_END_S):
                while (older := self._by_name.get(key)) is not None:
                    older.stop(RequestError(409, "another connection goes on with this session"))
                    await older.ended.wait()
        except TimeoutError:
            raise RequestError(409, "this session is being sent on another connection") from None
        if self._is_ending:
            raise ClosingError()
        if sum(tenant == key[0] for tenant, _, _ in self._by_name) >= max(1, self.most // 2):
            raise RequestError(429, "too many connections of this tenant", retry_after_s=5)
        self._by_name[key] = session
        try:
            await session.run(receive)
        finally:
            del self._by_name[key]
            session.ended.set()

    async def end(self) -> None:
        """Ends all, each after what it took is acknowledged; in at most 10 seconds."""
        self._is_ending = True
        sessions = list(self._by_name.values())
        for session in sessions:
            session.stop(ClosingError())
        if sessions:
            await asyncio.wait([asyncio.create_task(s.ended.wait()) for s in sessions], timeout=_END_S)
            await asyncio.sleep(0.1)  # until the reasons are sent


async def next_text(receive: Receive, wait_s: float) -> str | None:
    """The next message; None once the other side has left. Raises RequestError (408), MalformedError."""
    try:
        async with asyncio.timeout(wait_s):
            message: Message = await receive()
    except TimeoutError:
        raise RequestError(408, f"no message for {wait_s:.0f} seconds") from None
    if message["type"] != "websocket.receive":
        return None
    text = message.get("text")
    if not isinstance(text, str):
        raise MalformedError("messages are text, not binary")
    return text

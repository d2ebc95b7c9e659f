"""HTTP as it comes over the wire: bounded in front of a body and behind it, and with a short way for webhooks."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from superinsight_sync.gateway.answers import refusal
from superinsight_sync.gateway.middleware import request_id_of
from superinsight_sync.gateway.webhook_fast_path import Direct, behind_status
from superinsight_sync.receive.refusals import MalformedError
from superinsight_sync.state.inbox import BIG_BODY_BYTES

HEAD_BYTES = 64 << 10


class Http(HttpToolsProtocol):
    """One connection.

    Cuts off who sends headers, or trailers, without end: the parser alone would keep them all in memory. A webhook
    that one read brings as a whole goes the short way; every other request is the server's.
    """

    _stuck_bytes = 0
    _answered_s = 0.0
    _idle_timer: asyncio.TimerHandle | None = None
    _parts: list[bytes] | None = None
    """The body of a webhook that may still go the short way."""

    def __init__(self, direct: Direct, **more: Any) -> None:
        super().__init__(**more)
        self._direct = direct

    def data_received(self, data: bytes) -> None:
        """Takes what came; what brings neither a head to its end nor a part of a body is counted."""
        self._stuck_bytes += len(data)
        super().data_received(data)
        if self._parts is not None:
            self._go_long()
        if self._stuck_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(f"the request has more than {HEAD_BYTES} bytes of headers")

    def send_400_response(self, msg: str) -> None:
        """Refuses what the parser cannot read."""
        self._refuse("the request is no HTTP that can be read")

    def _refuse(self, why: str) -> None:
        """Tells it as all problems are told, and ends the connection."""
        request_id = request_id_of(getattr(self, "headers", None) or ())
        told = refusal(MalformedError(why), {"request_id": request_id.decode()})
        parts = [STATUS_LINE[told.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (b"connection: close\r\n", behind_status(told, request_id))
        self.transport.write(b"".join(parts))
        self.transport.close()

    def on_headers_complete(self) -> None:
        """The head has come."""
        self._stuck_bytes = 0
        if self._may_be_short():
            self._parts = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._stuck_bytes = 0
        if self._parts is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """The request is at its end."""
        self._stuck_bytes = 0
        if self._parts is None:
            super().on_message_complete()
            return
        body = b"".join(self._parts)
        if len(body) > BIG_BODY_BYTES:
            self._go_long()
            super().on_message_complete()
            return
        self._parts = None
        taken = _Taken(self)
        self.cycle = cast("RequestResponseCycle", taken)
        self._direct.take(self.url, self.headers, body, self.client, taken.respond)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def end_short(self) -> None:
        """A webhook of the short way is answered. As after any request, but one timer serves all that follow."""
        if self.pipeline or self.transport.is_closing():
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._answered_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_idle)

    def _look_idle(self) -> None:
        self._idle_timer = None
        is_busy = bool(self._stuck_bytes) or not self.cycle.response_complete
        if is_busy or self.timeout_keep_alive_task is not None or self not in self.connections:
            return  # something goes on, or went on later and has the server's timer, or it is a WebSocket's now
        left_s = self._answered_s + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.timeout_keep_alive_handler()
        else:
            self._idle_timer = self.loop.call_later(left_s, self._look_idle)

    def _may_be_short(self) -> bool:
        return (
            self._direct.is_for(self.url)
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )

    def _go_long(self) -> None:
        """Hands to the server what was held back."""
        body, self._parts = b"".join(self._parts or ()), None
        super().on_headers_complete()
        if body:
            super().on_body(body)


class _Taken:
    """A webhook on the short way. To the server it is what is going on on the connection, as any other request."""

    message_event = asyncio.Event()  # nobody waits for it

    def __init__(self, http: Http) -> None:
        self._http = http
        self.keep_alive = True
        self.disconnected = self.response_complete = False

    def respond(self, status: int, rest: bytes) -> None:
        """Writes a whole answer."""
        if self.disconnected:
            return
        http = self._http
        parts = [STATUS_LINE[status]]
        for name, value in http.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(rest)
        http.transport.write(b"".join(parts))
        self.response_complete = True
        if not self.keep_alive:
            http.transport.close()
        http.end_short()

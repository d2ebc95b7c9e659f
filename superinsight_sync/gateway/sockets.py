"""``WebSocket /push/ws``: a connection that stays, for numbered messages.

A session's name and a message's number say which message it is: one that is sent again counts once.
"""

import asyncio
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Scope, Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.access import authenticate, headers_of
from superinsight_sync.gateway.answers import RequestError, detail_of, problem, status_of
from superinsight_sync.gateway.batches import admitted, asked_for
from superinsight_sync.gateway.middleware import SECURITY_HEADERS, request_id_of
from superinsight_sync.gateway.sessions import ClosingError, Sender, Session, next_text
from superinsight_sync.receive.envelope import open_proof
from superinsight_sync.receive.refusals import MalformedError, UnsupportedError
from superinsight_sync.security.refusals import UnauthenticatedError

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

_log = logging.getLogger(__name__)
PROTOCOL = "sis.push.v1"
PROVE_S = 5.0
"""Who sends no header must send its key within this time."""
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")
_REASON_BYTES = 123


async def socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes one connection's messages. What is refused before the handshake ends is an HTTP answer."""
    gate: Gate = scope["app"].state.gate
    scope["request_id"] = request_id = request_id_of(scope["headers"])
    await receive()

    async def send_http(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [*SECURITY_HEADERS, (b"x-request-id", request_id)]
            message = {**message, "headers": [*message["headers"], *more]}
        await send({**message, "type": f"websocket.{message['type']}"})

    try:
        gate.sessions.open()
    except SisError as error:
        await _refuse(receive, send_http, error, request_id)
        return
    try:
        await _serve(gate, scope, receive, send, send_http)
    finally:
        gate.sessions.close()


async def _serve(gate: "Gate", scope: Scope, receive: Receive, send: Send, send_http: Send) -> None:
    accepted = {
        "type": "websocket.accept",
        "subprotocol": PROTOCOL if PROTOCOL in scope["subprotocols"] else None,
    }
    session: Session | None = None
    is_accepted = False
    try:
        headers = headers_of(scope)
        asked = asked_for(scope)
        if "authorization" not in headers and "x-api-key" not in headers:
            _session_name(asked)
            with gate.sessions.unproved():
                await send(accepted)
                is_accepted = True
                headers = {**headers, "authorization": f"Bearer {await _proof(receive)}"}
        sender = await _sender(gate, scope, headers, asked)
        if (proved := scope.get("extensions", {}).get("sis.proved")) is not None:
            proved["tell"]()
        if not is_accepted:
            await send(accepted)
            is_accepted = True
        session = Session(gate, sender, send)
        await gate.sessions.run(sender, session, receive)
    except SisError as error:
        if status_of(error) >= 500 and not isinstance(error, ClosingError):
            _log.warning("connection %s failed: %s", scope["request_id"].decode(), error)
        if not is_accepted:
            await _refuse(receive, send_http, error, scope["request_id"])
        elif session is None or not session.is_gone:
            await _close(send, error)


async def _sender(gate: "Gate", scope: Scope, headers: dict[str, str], asked: dict[str, str]) -> Sender:
    """Who sends, if it may. Raises as `admitted`; MalformedError, UnprocessableError, UnsupportedError."""
    source = asked.get("source", "")
    receiver, principal = await admitted(gate, scope, headers, source)
    stream = receiver.stream(asked.get("stream"))
    if not {"json", "ndjson"} & set(stream.formats):
        raise UnsupportedError("this stream takes no JSON")

    async def prove() -> None:
        again = await authenticate(gate.access, scope, headers, action="push", source=source)
        if again.tenant != receiver.tenant:
            raise UnauthenticatedError()

    client = scope.get("client")
    return Sender(receiver, stream, _session_name(asked), principal.key_id, client, prove)


async def _proof(receive: Receive) -> str:
    try:
        text = await next_text(receive, PROVE_S)
    except RequestError:
        raise UnauthenticatedError("no key came in time") from None
    if text is None:
        raise UnauthenticatedError()
    return open_proof(text)


def _session_name(asked: dict[str, str]) -> str:
    name = asked.get("session", "")
    if not _SESSION.fullmatch(name):
        raise MalformedError(
            "the session's name is not usable", hint="Add &session= and 1 to 128 of A-Z a-z 0-9 _ -"
        )
    return name


async def _refuse(receive: Receive, send_http: Send, error: SisError, request_id: bytes) -> None:
    await problem(send_http, error, {"request_id": request_id.decode()})
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while (await receive())["type"] != "websocket.disconnect":
                pass
            await receive()  # until the connection is closed the server takes the handshake for forgotten


async def _close(send: Send, error: SisError) -> None:
    """Closes with what HTTP would have answered: 4000 and the status."""
    status = status_of(error)
    reason = detail_of(error, status).encode()[:_REASON_BYTES].decode(errors="ignore")
    code = getattr(error, "close_code", 4000 + status)
    with suppress(OSError, RuntimeError):  # it has left already
        await send({"type": "websocket.close", "code": code, "reason": reason})

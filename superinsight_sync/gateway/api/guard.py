"""In front of every route of the control API: nobody comes in unknown, and nothing large is read."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from superinsight_sync.gateway.access import check_credentials, client_ip, headers_of
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.api.context import ROOT
from superinsight_sync.gateway.batches import asked_for
from superinsight_sync.gateway.bodies import read_body
from superinsight_sync.security.access import Access
from superinsight_sync.security.acting import Actor, acting_as

OPEN = frozenset({f"{ROOT}/auth/token", f"{ROOT}/auth/revoke"})
"""Addresses that take credentials in their body. All others, also those that are not there, want them first."""
_MOST_BODY_BYTES = 64 << 10


class Door:
    """Wraps `app`. Raises SisErrors, which the edge answers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if not scope["path"].startswith(f"{ROOT}/"):
            raise RequestError(404, "there is no such address")
        headers = headers_of(scope)
        if scope["path"] not in OPEN:
            check_credentials(headers)
            caller = await asyncio.to_thread(self._access.identify, headers, client_ip(scope))
            scope["principal"] = caller
            actor = Actor("key", caller.key_id, str(self._access.entering(headers, client_ip(scope))))
        else:
            actor = Actor("key", "", str(self._access.entering(headers, client_ip(scope))))
        asked_for(scope)
        has_body = "content-length" in headers or "transfer-encoding" in headers
        body = await read_body(receive, headers, _MOST_BODY_BYTES) if has_body else b""
        with acting_as(actor):
            await self.app(scope, _told_again(body, receive), send)


def _told_again(body: bytes, receive: Receive) -> Receive:
    is_told = False

    async def again() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

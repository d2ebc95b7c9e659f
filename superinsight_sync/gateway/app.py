"""The application: routes, and what is around all of them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from superinsight_sync.gateway.answers import MethodError, RequestError, answer, refusal
from superinsight_sync.gateway.batches import batch
from superinsight_sync.gateway.context import Gate, Rate
from superinsight_sync.gateway.files import files
from superinsight_sync.gateway.middleware import SECURITY_HEADERS, Edge
from superinsight_sync.gateway.receivers import Receivers
from superinsight_sync.gateway.sockets import socket
from superinsight_sync.gateway.storing import Taking
from superinsight_sync.gateway.streams import stream, stream_position
from superinsight_sync.gateway.tus import upload
from superinsight_sync.gateway.uploads import Uploading
from superinsight_sync.gateway.webhooks import webhook
from superinsight_sync.security.access import Access
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.uploads import Uploads

_log = logging.getLogger(__name__)
_UPLOAD_METHODS = ["GET", "HEAD", "PATCH", "DELETE", "POST", "OPTIONS"]
PREFIX = "/api/v1/sync/push"


@dataclass(frozen=True)
class Bounds:
    """What the process as a whole takes at once."""

    requests: int = 1_000
    sockets: int = 500
    waiting: int = 20_000
    waiting_bytes: int = 256 << 20
    bodies_bytes: int = 256 << 20
    uploads_kept_s: float = 86_400.0


def build_app(
    inbox: Inbox,
    receivers: Receivers,
    *,
    access: Access,
    rate: Rate | None = None,
    bounds: Bounds | None = None,
    api: ASGIApp | None = None,
) -> Starlette:
    """The gateway as an ASGI application.

    Args:
        access: asked by every route but the webhooks, which prove themselves by their signature.
        rate: of all that a tenant pushes; what comes with a key is counted by `access`.
        api: the control API, which gets what no route here takes.
    """
    bounds = bounds or Bounds()
    gate = Gate(inbox, receivers, access, rate)
    gate.sessions.most, gate.crowd.most = bounds.sockets, bounds.requests
    gate.bodies.most_bytes, gate.unsigned.most_bytes = bounds.bodies_bytes, bounds.bodies_bytes // 2

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        writer = inbox.writer(max_waiting=bounds.waiting, max_waiting_bytes=bounds.waiting_bytes)
        gate.taking = Taking(inbox, writer)
        folder = inbox.files.folder.with_name("uploads")
        gate.uploading = Uploading(gate, Uploads(folder, kept_s=bounds.uploads_kept_s))
        watching = [asyncio.create_task(gate.watch()), asyncio.create_task(gate.uploading.watch())]
        try:
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.to_thread(writer.close)

    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(Edge, crowd=gate.crowd)],
        exception_handlers={HTTPException: _http_problem, Exception: _unforeseen},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # where to would be told by the request's own Host header
    if api is not None:
        app.router.default = api
    app.state.gate = gate
    return app


class _Endpoint:
    """A plain ASGI application as a route's end: the push path makes no request object."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _routes() -> list[BaseRoute]:
    return [
        Route(f"{PREFIX}/webhook/{{id}}", _Endpoint(webhook), methods=["POST"]),
        Route(f"{PREFIX}/batch", _Endpoint(batch), methods=["POST"]),
        Route(f"{PREFIX}/file", _Endpoint(files), methods=["POST", "OPTIONS"]),
        Route(f"{PREFIX}/file/{{id}}", _Endpoint(upload), methods=_UPLOAD_METHODS),
        Route(f"{PREFIX}/stream", _Endpoint(stream), methods=["POST"]),
        Route(f"{PREFIX}/stream/{{batch}}", _Endpoint(stream_position), methods=["GET"]),
        WebSocketRoute(f"{PREFIX}/ws", _Endpoint(socket)),
        Route("/health/live", _Endpoint(_live), methods=["GET"]),
        Route("/health/ready", _Endpoint(_ready), methods=["GET"]),
    ]


async def _live(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200, {"status": "live"})


async def _ready(scope: Scope, receive: Receive, send: Send) -> None:
    if not scope["app"].state.gate.is_ready:
        raise RequestError(503, "the inbox cannot be reached, or the disk is full")
    await answer(send, 200, {"status": "ready"})


async def _http_problem(request: Request, error: Exception) -> Response:
    """What the router itself refuses, told as everything else is."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        raise MethodError((error.headers or {}).get("Allow", ""))
    raise RequestError(
        error.status_code, "there is no such address" if error.status_code == 404 else error.detail
    )


async def _unforeseen(request: Request, error: Exception) -> Response:
    """An error nobody foresaw: nothing of it is told, and the log has it. This stands in front of `Edge`."""
    request_id = request.scope["request_id"]
    _log.error("request %s failed: %s", request_id.decode(), type(error).__name__)
    failed = RequestError(500, "the gateway failed", hint="Its log has this request's id")
    told = refusal(failed, {"request_id": request_id.decode()})
    response = Response(told.body, told.status, media_type=told.media_type.decode())
    response.raw_headers += [*SECURITY_HEADERS, (b"x-request-id", request_id)]
    return response

"""The outermost layer, plain ASGI: request ids, security headers, how many at once, errors as problems."""

import logging
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.answers import RequestError, problem, status_of
from superinsight_sync.gateway.ids import new_id

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"strict-transport-security", b"max-age=31536000"),
]


class Edge:
    """Wraps the application.

    Args:
        most: requests at once; more are told to come again.
    """

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app, self._most = app, most
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                more = scope.get("answer_headers", ())
                message["headers"] = [*message["headers"], *_HEADERS, *more, (b"x-request-id", request_id)]
            await send(message)

        self._active += 1
        try:
            if self._active > self._most and not scope["path"].startswith("/health/"):
                raise RequestError(503, "too many requests at once", retry_after_s=1)
            await self._app(scope, receive, send_safely)
        except SisError as error:
            if status_of(error) >= 500:
                _log.warning("request %s failed: %s", request_id.decode(), error)
            if started:
                raise
            await problem(send_safely, error, {"request_id": request_id.decode()})
        finally:
            self._active -= 1


def _request_id(scope: Scope) -> bytes:
    for name, given in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(given):
            return bytes(given)
    return new_id().encode()

"""The outermost layer, plain ASGI: request ids, security headers, how many at once, errors as problems."""

import asyncio
import logging
import re
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.access import Pairs
from superinsight_sync.gateway.answers import RequestError, problem, status_of
from superinsight_sync.gateway.ids import new_id

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"strict-transport-security", b"max-age=31536000"),
]


@dataclass
class Crowd:
    """Requests that are worked on. `most` may be at once."""

    most: int = 1_000
    count: int = 0

    def check(self) -> None:
        """Raises RequestError (503) for one too many."""
        if self.count > self.most:
            raise RequestError(503, "too many requests at once", retry_after_s=1)


class Edge:
    """Wraps the application.

    Args:
        crowd: all requests at once; more than it may hold are told to come again.
    """

    def __init__(self, app: ASGIApp, *, crowd: Crowd) -> None:
        self._app, self._crowd = app, crowd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        scope["request_id"] = request_id
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                more = scope.get("answer_headers", ())
                message["headers"] = [
                    *message["headers"],
                    *SECURITY_HEADERS,
                    *more,
                    (b"x-request-id", request_id),
                ]
            await send(message)

        self._crowd.count += 1
        try:
            if not scope["path"].startswith("/health/"):
                self._crowd.check()
            await self._app(scope, receive, send_safely)
        except SisError as error:
            log_failure(error, request_id)
            if started:
                raise
            await problem(send_safely, error, {"request_id": request_id.decode()})
        except asyncio.CancelledError:  # the server stops, and this one took longer than it waits
            if started:
                raise
            stopping = RequestError(503, "the gateway is stopping", hint="Send it again")
            await problem(send_safely, stopping, {"request_id": request_id.decode()})
        finally:
            self._crowd.count -= 1


def request_id_of(headers: Pairs) -> bytes:
    """What the sender calls the request, if that can be used, or a new id."""
    for name, given in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(given):
            return bytes(given)
    return new_id().encode()


def log_failure(error: SisError, request_id: bytes) -> None:
    """Writes to the log what is our own trouble."""
    if status_of(error) >= 500:
        _log.warning("request %s failed: %s", request_id.decode(), error)

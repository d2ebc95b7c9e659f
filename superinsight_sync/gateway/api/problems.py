"""Errors of the control API, told as those of the push routes are."""

import logging
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.answers import MethodError, RequestError, problem, status_of

_log = logging.getLogger(__name__)
_MOST_ERRORS = 20


class GrantError(RequestError):
    """A refusal of a token endpoint. `code` is one of RFC 6749, 5.2."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (GrantError, (self.status, self.code, self.message))


class Problem(Response):
    """An error as an answer."""

    def __init__(self, error: SisError, more: dict[str, Any] | None = None) -> None:
        super().__init__(status_code=status_of(error))
        self._error, self._more = error, more or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["request_id"].decode()
        await problem(send, self._error, {**self._more, "request_id": request_id})


async def told(request: Request, error: Exception) -> Response:
    """The answer to an error of ours."""
    assert isinstance(error, SisError)
    if status_of(error) >= 500:
        _log.warning("request %s failed: %s", request.scope["request_id"].decode(), error)
    return Problem(error, {"error": error.code} if isinstance(error, GrantError) else None)


async def not_taken(request: Request, error: Exception) -> Response:
    """The answer to what the router or the framework itself refuses."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return Problem(MethodError(_allowed(request)))
    is_lost = error.status_code == 404
    message = "there is no such address" if is_lost else "the request cannot be read"
    return Problem(RequestError(error.status_code, message))


def _allowed(request: Request) -> str:
    """The methods of all routes with that address; the router itself knows of one."""
    path = request.scope["path"]
    methods = {m for route in request.app.routes if route.path_regex.match(path) for m in route.methods}
    return ", ".join(sorted(methods))


async def not_valid(request: Request, error: Exception) -> Response:
    """The answer to a request of the wrong shape: where and why, without the values that were sent."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return Problem(RequestError(400, "the body is no JSON"))
    errors = [
        {"at": ".".join(str(part) for part in e["loc"])[:200], "reason": str(e["msg"])[:500]}
        for e in found[:_MOST_ERRORS]
    ]
    return Problem(RequestError(422, "the request has not the right shape"), {"errors": errors})


async def unforeseen(request: Request, error: Exception) -> Response:
    """The answer to an error nobody foresaw: nothing of it is told, and the log has it."""
    return Problem(RequestError(500, "the gateway failed", hint="Its log has this request's id"))

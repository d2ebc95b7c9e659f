"""What the gateway answers: short JSON, and problems as RFC 9457 says."""

from typing import Any, NamedTuple

import msgspec
from starlette.types import Send

from superinsight_sync.core.errors import SisError
from superinsight_sync.receive import refusals
from superinsight_sync.state.inbox_writer import InboxFullError
from superinsight_sync.state.uploads import NoRoomError

Headers = list[tuple[bytes, bytes]]

_TITLES = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Sent too slowly",
    409: "In progress",
    411: "Length required",
    413: "Too large",
    412: "Another version",
    415: "Not supported",
    422: "Not acceptable",
    423: "Locked",
    429: "Too many requests",
    460: "Checksum mismatch",
    500: "Internal error",
    501: "Not set up",
    503: "Not available now",
    507: "No room",
}
_STATUS: tuple[tuple[type[SisError], int], ...] = (
    (refusals.SignatureError, 401),
    (refusals.MalformedError, 400),
    (refusals.TooLargeError, 413),
    (refusals.UnsupportedError, 415),
    (refusals.UnprocessableError, 422),
    (InboxFullError, 503),
)
_RETRY_AFTER_S = 2


class RequestError(SisError):
    """A request that is turned away with the given status."""

    def __init__(
        self, status: int, message: str, *, where: str = "", hint: str = "", retry_after_s: float = 0
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.status, self.message, self.where, self.hint, self.retry_after_s))


class MethodError(RequestError):
    """405: the address does not take the method. `allow` are those it takes, separated by commas."""

    def __init__(self, allow: str) -> None:
        super().__init__(405, "this address does not take this method")
        self.allow = allow

    def __reduce__(self) -> tuple[object, ...]:
        return (MethodError, (self.allow,))


def _rebuild(status: int, message: str, where: str, hint: str, retry_after_s: float) -> RequestError:
    return RequestError(status, message, where=where, hint=hint, retry_after_s=retry_after_s)


def status_of(error: SisError) -> int:
    """The status an error is answered with. What is our own trouble is 503: the sender should come again."""
    told = getattr(error, "status", None)
    if isinstance(told, int):
        return told
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 503)


def detail_of(error: SisError, status: int) -> str:
    """What the sender is told. Of our own trouble nothing but that it passes."""
    if status >= 500 and not isinstance(error, RequestError | InboxFullError | NoRoomError):
        return "the gateway cannot take it now. Send it again later"
    return f"{error.message}. {error.hint}" if error.hint else error.message


async def answer(send: Send, status: int, document: Any, headers: Headers | None = None) -> None:
    """Sends a JSON document."""
    await send_bytes(send, status, msgspec.json.encode(document), b"application/json", headers)


async def send_bytes(
    send: Send, status: int, body: bytes, media_type: bytes, headers: Headers | None = None
) -> None:
    """Sends a whole answer."""
    pairs = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": status, "headers": pairs + headers if headers else pairs}
    )
    await send({"type": "http.response.body", "body": body})


class Answer(NamedTuple):
    """A whole answer, not sent yet."""

    status: int
    body: bytes
    media_type: bytes = b"application/json"
    headers: Headers | None = None


async def problem(send: Send, error: SisError, extra: dict[str, Any] | None = None) -> None:
    """Sends an error."""
    told = refusal(error, extra)
    await send_bytes(send, told.status, told.body, told.media_type, told.headers)


def refusal(error: SisError, extra: dict[str, Any] | None = None) -> Answer:
    """What an error is answered with."""
    status = status_of(error)
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
    }
    document["detail"] = detail_of(error, status)
    headers: Headers = []
    if status in (409, 423, 429, 503, 507):
        after_s = max(1, int(getattr(error, "retry_after_s", 0) + 0.999) or _RETRY_AFTER_S)
        headers.append((b"retry-after", b"%d" % after_s))
    if isinstance(error, MethodError):
        headers.append((b"allow", error.allow.encode("latin-1")))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 411, 413):
        headers.append((b"connection", b"close"))  # what is left of the body is not read
    body = msgspec.json.encode({**document, **(extra or {})})
    return Answer(status, body, b"application/problem+json", headers)

"""Request bodies, read within bounds of size and time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import Message, Receive

from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.receive.refusals import MalformedError, TooLargeError

SLOW_S = 30.0
"""The next part of a body must come within this time."""
WHOLE_S = 120.0
"""A whole body must come within this time."""


class GoneError(RequestError):
    """The sender hung up."""

    def __init__(self) -> None:
        super().__init__(400, "the sender hung up before the end")


Hold = Callable[[int], None]
"""Counts bytes that a request keeps in memory. Raises RequestError (503)."""


@dataclass
class Room:
    """How many bytes of bodies may be in memory at once, of all requests together; one alone may be larger."""

    most_bytes: int
    size_bytes: int = 0

    @contextmanager
    def held(self) -> Iterator[Hold]:
        """What a request counts its bytes with, as long as it lasts."""
        mine = 0

        def hold(size_bytes: int) -> None:
            nonlocal mine
            if self.size_bytes > mine and self.size_bytes + size_bytes > self.most_bytes:
                raise RequestError(503, "too much is being sent at once", retry_after_s=2)
            mine += size_bytes
            self.size_bytes += size_bytes

        try:
            yield hold
        finally:
            self.size_bytes -= mine


async def read_body(
    receive: Receive, headers: Mapping[str, str], limit_bytes: int, hold: Hold = lambda size_bytes: None
) -> bytes:
    """The whole body.

    Args:
        hold: told of what has come, part by part.

    Raises:
        TooLargeError: it is, or says it is, longer than `limit_bytes`. MalformedError: a length that is none.
        RequestError: no length (411), too slow (408), the sender hung up, or what `hold` raises.
    """
    check_length(headers, limit_bytes)
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    hold(len(body))
    if not message.get("more_body"):
        check_size(body, limit_bytes)
        return body
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(WHOLE_S):
            while message.get("more_body"):
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                message = await _next(receive)
                parts.append(message.get("body", b""))
                hold(len(parts[-1]))
                size += len(parts[-1])
    except TimeoutError:
        raise _too_slow() from None
    if size > limit_bytes:
        raise _too_large(limit_bytes)
    return b"".join(parts)


async def body_parts(receive: Receive) -> AsyncIterator[bytes]:
    """The parts of a body of any length. Raises RequestError: too slow (408), or the sender hung up."""
    more = True
    while more:
        message = await _next(receive)
        more = bool(message.get("more_body"))
        if part := message.get("body", b""):
            yield part


async def _next(receive: Receive) -> Message:
    try:
        async with asyncio.timeout(SLOW_S):
            message = await receive()
    except TimeoutError:
        raise _too_slow() from None
    if message["type"] == "http.disconnect":
        raise GoneError()
    return message


def check_length(headers: Mapping[str, str], limit_bytes: int) -> None:
    """Raises as `read_body` for what a request says of its body's length."""
    length = headers.get("content-length")
    if length is None:
        if "transfer-encoding" not in headers:
            raise RequestError(411, "the length of the body is not told", hint="Send Content-Length")
        return
    if not (length.isascii() and length.isdigit()):
        raise MalformedError("Content-Length is no number")
    if int(length[:20]) > limit_bytes:
        raise _too_large(limit_bytes)


def check_size(body: bytes, limit_bytes: int) -> None:
    """Raises TooLargeError for a body that is longer."""
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body has more than {limit_bytes} bytes")


def _too_slow() -> RequestError:
    return RequestError(408, "the body comes too slowly", hint="Send it again")

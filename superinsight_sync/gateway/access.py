"""Who may come in. Every route but the webhooks asks here, and all is denied unless somebody allowed it."""

import asyncio
import re
from collections.abc import Mapping, Sequence

from starlette.types import Scope

from superinsight_sync.core.errors import AccessError
from superinsight_sync.security.access import Access
from superinsight_sync.security.refusals import UnauthenticatedError
from superinsight_sync.security.roles import Principal

Pairs = Sequence[tuple[bytes, bytes]]
"""Headers as they came, names in lower case."""
_REPEATABLE = re.compile(
    r"(accept|cookie|via|forwarded|x-forwarded|cache-control|connection|pragma|sec-websocket-[ep])"
)


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers. Raises as `headers_by_name`."""
    return headers_by_name(scope["headers"])


def headers_by_name(pairs: Pairs) -> dict[str, str]:
    """Headers as text. Raises AmbiguousError for one that says two things."""
    headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in pairs}
    if len(headers) < len(pairs):
        seen: set[bytes] = set()
        for name, _ in pairs:
            if name in seen:
                if not _REPEATABLE.match(name.decode("latin-1")):
                    raise AmbiguousError("a header is there twice")
                key = name.decode("latin-1")
                headers[key] = ", ".join(v.decode("latin-1") for k, v in pairs if k == name)
            seen.add(name)
    return headers


class AmbiguousError(AccessError):
    """400: what a request says of itself can be read in two ways."""

    status = 400


def check_credentials(headers: Mapping[str, str]) -> None:
    """Raises UnauthenticatedError where there are none: nothing is read of such a request."""
    if "authorization" not in headers and "x-api-key" not in headers:
        raise UnauthenticatedError()


async def authenticate(
    access: Access, scope: Scope, headers: Mapping[str, str], *, action: str, source: str | None
) -> Principal:
    """Who asks, if it may do `action` to that source of its own tenant. The one place where routes ask.

    Raises an AccessError with a status, as `Access.check`; TransientError if keys cannot be looked up.
    """
    check_credentials(headers)
    ip = client_ip(scope)
    return await asyncio.to_thread(access.check, headers, ip, tenant=None, action=action, source=source)


def client_ip(scope: Scope) -> str:
    """Where the request comes from: the other end of the connection, or what a trusted proxy says of it."""
    client = scope.get("client")
    return client[0] if client else ""

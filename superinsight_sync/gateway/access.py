"""Who may come in. Every route but the webhooks asks here, and all is denied unless somebody allowed it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

from superinsight_sync.core.errors import AccessError


class Principal(Protocol):
    """Who asks, after the credentials have been checked."""

    @property
    def tenant(self) -> str: ...


class Access(Protocol):
    """What checks requests."""

    def check(
        self,
        headers: Mapping[str, str],
        ip: str,
        *,
        tenant: str | None,
        action: str,
        source: str | None = None,
    ) -> Principal:
        """Who asks, if it may do `action` to the tenant's things (None: its own), or to one source of it.

        Raises an AccessError that has a ``status`` (401, 403 or 429, then with ``retry_after_s``).
        """
        ...


class DeniedError(AccessError):
    """401: nobody is let in."""

    status = 401


class DenyAll:
    """The door before somebody has the keys."""

    def check(
        self,
        headers: Mapping[str, str],
        ip: str,
        *,
        tenant: str | None,
        action: str,
        source: str | None = None,
    ) -> Principal:
        """Raises DeniedError."""
        raise DeniedError("credentials are missing or do not hold")


@dataclass(frozen=True)
class KeyHolder:
    """Who holds a key of `StaticKeys`."""

    tenant: str
    actions: frozenset[str] = frozenset({"push"})


class StaticKeys:
    """A fixed set of keys, known by their SHA-256 (hex)."""

    def __init__(self, holders: Mapping[str, KeyHolder]) -> None:
        self._holders = dict(holders)

    def check(
        self,
        headers: Mapping[str, str],
        ip: str,
        *,
        tenant: str | None,
        action: str,
        source: str | None = None,
    ) -> Principal:
        """Raises DeniedError for an unknown key and for another tenant's alike."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(key.strip().encode("utf-8", "replace")).hexdigest()
        holder = self._holders.get(digest) if scheme.lower() == "bearer" else None
        if holder is None or action not in holder.actions or tenant not in (None, holder.tenant):
            raise DeniedError("credentials are missing or do not hold")
        return holder


_REPEATABLE = re.compile(r"(accept|cookie|via|forwarded|x-forwarded|cache-control|connection|pragma)")


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers, names in lower case. Raises AmbiguousError for one that says two things."""
    pairs = scope["headers"]
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


def authenticate(
    access: Access, scope: Scope, headers: Mapping[str, str], *, action: str, tenant: str | None, source: str
) -> Principal:
    """Who asks, if it may. The one place where routes ask. Raises as `Access.check`."""
    client = scope.get("client")
    return access.check(headers, client[0] if client else "", tenant=tenant, action=action, source=source)

"""Credentials of requests, fetched and renewed where they expire."""

import base64
import threading
import time
from typing import Any

import httpx
import msgspec

from superinsight_sync.core.errors import AccessError, ConfigError, TransientError
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.http.options import ApiKey, Auth, Basic, Bearer, OAuth2

_EARLY_S = 30.0
_LIFETIME_S = 300.0
_MAX_TOKEN_BYTES = 100_000


class _Grant(msgspec.Struct):
    access_token: str
    expires_in: float = _LIFETIME_S


class Credentials:
    """What is added to each request. Secrets are resolved when they are used."""

    def __init__(self, auth: Auth | None, client: httpx.Client) -> None:
        self._auth = auth
        self._client = client
        self._lock = threading.Lock()
        self._granted: str | None = None
        self._renew_at_s = 0.0

    def of_request(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Headers and query parameters."""
        match self._auth:
            case ApiKey(place="header", name=name, value=value):
                return {name: resolve(value)}, {}
            case ApiKey(name=name, value=value):
                return {}, {name: resolve(value)}
            case Bearer(value=value):
                return {"Authorization": f"Bearer {resolve(value)}"}, {}
            case Basic(user=user, password=password):
                return {"Authorization": _basic(resolve(user), resolve(password))}, {}
            case OAuth2() as oauth:
                return {"Authorization": f"Bearer {self._token(oauth)}"}, {}
        return {}, {}

    def renew(self) -> bool:
        """Forgets what may have expired; whether there was anything."""
        with self._lock:
            had, self._granted = self._granted is not None, None
        return had

    def _token(self, oauth: OAuth2) -> str:
        with self._lock:
            if self._granted is None or time.monotonic() >= self._renew_at_s:
                grant = self._grant(oauth)
                self._granted = grant.access_token
                early_s = min(_EARLY_S, grant.expires_in / 2)
                self._renew_at_s = time.monotonic() + grant.expires_in - early_s
            return self._granted

    def _grant(self, oauth: OAuth2) -> _Grant:
        where = "the token endpoint"
        form = {"grant_type": "client_credentials", **({"scope": oauth.scope} if oauth.scope else {})}
        headers = {"Authorization": _basic(resolve(oauth.client_id), resolve(oauth.client_secret))}
        with self._client.stream("POST", resolve(oauth.url), data=form, headers=headers) as response:
            body = b""
            for part in response.iter_bytes():
                body += part
                if len(body) > _MAX_TOKEN_BYTES:
                    raise ConfigError("the response is no token", where=where, hint="Check auth.url")
        status = response.status_code
        if status in (400, 401, 403):
            raise AccessError(f"it answered {status}", where=where, hint="Check client_id and client_secret")
        if status == 429 or status >= 500:
            raise TransientError(f"it answered {status}", where=where)
        try:
            if status != 200:
                raise ValueError(status)
            return msgspec.json.decode(body, type=_Grant, strict=False)
        except ValueError:
            raise ConfigError(
                f"it answered {status} without a token", where=where, hint="Check auth.url"
            ) from None


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

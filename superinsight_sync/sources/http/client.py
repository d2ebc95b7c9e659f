"""One API: its requests, bounded in size, time, rate and number, with credentials that go to it alone."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, TransientError
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.core.stopping import pause
from superinsight_sync.records.json_document import Document
from superinsight_sync.security.net import guard_of, guarded_client
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.http.auth import Credentials
from superinsight_sync.sources.http.limits import limits_of
from superinsight_sync.sources.http.options import HttpConfig
from superinsight_sync.sources.http.retry_after import retry_after_s

_PORTS = {"http": 80, "https": 443}
_RUNNING = "Check that the server runs and can be reached from here"


@dataclass(frozen=True)
class Call:
    """One request. `url` is absolute; `params` go into its query."""

    url: str
    method: str = "GET"
    params: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] | None = None

    def having(self, values: dict[str, Any], *, in_body: bool) -> "Call":
        """The same request with more parameters."""
        if in_body:
            return replace(self, body={**(self.body or {}), **values})
        return replace(self, params={**self.params, **values})


def open_client(config: HttpConfig) -> httpx.Client:
    """A client that takes no proxy or credentials from the environment and follows no redirect."""
    headers = {k: resolve(v) for k, v in config.headers.items()}
    return guarded_client(
        guard_of(allow_private=config.allow_private, allow_networks=config.allow_networks),
        read_timeout_s=config.read_timeout.total_seconds(),
        connect_timeout_s=config.connect_timeout.total_seconds(),
        headers={"Accept": "application/json", "Accept-Encoding": "gzip", **headers},
    )


class Api:
    """A server's side of a connection. Usable from threads; close it after use."""

    def __init__(self, config: HttpConfig, sleep: Callable[[float], None] = pause) -> None:
        self.config = config
        self.base_url = resolve(config.base_url).rstrip("/")
        if urlsplit(self.base_url).scheme not in _PORTS or not urlsplit(self.base_url).hostname:
            raise ConfigError("base_url is no http or https address", where="connection")
        self._client = open_client(config)
        self._credentials = Credentials(config.auth, self._client)
        self._limits = limits_of(self.base_url, config.max_concurrency, config.max_requests_per_s)
        self._sleep = sleep

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def url(self, endpoint: str) -> str:
        """The address of an endpoint. Raises ConfigError for one outside."""
        return self.inside(f"{self.base_url}/{endpoint.lstrip('/')}" if endpoint else self.base_url, "")

    def inside(self, url: str, base: str) -> str:
        """`url`, which may be relative to `base`. Raises ConfigError if it leads to another host."""
        absolute = urljoin(base, url) if base else url
        if _origin(absolute) != _origin(self.base_url):
            raise ConfigError(
                "the address of the next page leads to another host, which is not asked",
                where=self.base_url,
                hint="Use another pagination, or the base_url that the server names",
            )
        return absolute

    def fetch(self, call: Call) -> Document:
        """The JSON that a request gives.

        Raises:
            TransientError: after three repeats, for a network that fails, 429, 5xx, or what is no JSON.
            AccessError: 401, 403. ConfigError: 404, other 4xx, a redirect, HTML. DataError: too big.
        """
        renewed = False

        def asked() -> Document:
            nonlocal renewed
            response, body = self.send(call)
            if response.status_code == 401 and not renewed and self._credentials.renew():
                renewed = True
                response, body = self.send(call)
            self._check_status(response, call)
            document = Document(body, _where(call), response.links.get("next", {}).get("url"))
            document.check()
            return document

        return with_retry(asked, RetryPolicy(), sleep=self._sleep)

    def probe(self, call: Call) -> str:
        """The server's name. Raises AccessError for refused credentials, TransientError if it is not there."""
        response, _ = self.send(call)
        if response.status_code in (401, 403) or response.status_code >= 500:
            self._check_status(response, call)
        return f"{response.headers.get('server', 'server')} at {urlsplit(self.base_url).netloc.rpartition('@')[2]}"

    def send(self, call: Call) -> tuple[httpx.Response, bytes]:
        """One try. The body is decompressed and bounded."""
        where = _where(call)
        with self._limits.slots:
            self._wait_for_start()
            try:
                auth_headers, auth_params = self._credentials.of_request()
                request = self._client.build_request(
                    call.method,
                    httpx.URL(call.url).copy_merge_params({**call.params, **auth_params}),
                    json=call.body,
                    headers=auth_headers,
                )
                response = self._client.send(request, stream=True)
                try:
                    return response, self._body(response, where)
                finally:
                    response.close()
            except httpx.TimeoutException as error:
                raise TransientError(
                    "the server does not answer in time", where=where, hint=_RUNNING
                ) from error
            except httpx.TransportError as error:
                raise TransientError("the connection failed", where=where, hint=_RUNNING) from error
            except httpx.DecodingError as error:
                raise TransientError("the response is compressed wrongly", where=where) from error

    def _body(self, response: httpx.Response, where: str) -> bytes:
        if response.headers.get("content-encoding", "identity") not in ("identity", "gzip", "deflate"):
            raise DataError("the response is compressed in a way that was not asked for", where=where)
        end_s = time.monotonic() + 5 * self.config.read_timeout.total_seconds()
        parts, size_bytes = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > self.config.max_response:
                raise DataError(
                    f"the response has more than {self.config.max_response} bytes",
                    where=where,
                    hint="Ask for smaller pages, or raise max_response",
                )
            if time.monotonic() > end_s:
                raise TransientError("the response takes too long", where=where)
        return b"".join(parts)

    def _check_status(self, response: httpx.Response, call: Call) -> None:
        status, where = response.status_code, _where(call)
        if 200 <= status < 300:
            return
        said = f"the server answered {status}"
        if status in (401, 403):
            raise AccessError(said, where=where, hint="Check the credentials and their rights")
        if status >= 500 or status in (408, 425, 429):
            failure = TransientError(said, where=where)
            failure.wait_s = retry_after_s(response.headers, self.config.max_retry_after.total_seconds())
            raise failure
        hint = (
            "Check base_url and the endpoint" if status in (301, 302, 307, 308, 404) else "Check the options"
        )
        raise ConfigError(said, where=where, hint=hint)

    def _wait_for_start(self) -> None:
        rate = self.config.max_requests_per_s
        if rate is None:
            return
        with self._limits.rate:
            now_s = time.monotonic()
            start_s = max(now_s, self._limits.next_start_s)
            self._limits.next_start_s = start_s + 1 / rate
        self._sleep(start_s - now_s)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", "", None


def _where(call: Call) -> str:
    parts = urlsplit(call.url)
    return f"{call.method} {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

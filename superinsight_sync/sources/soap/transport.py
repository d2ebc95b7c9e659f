"""What a SOAP client may fetch: addresses outside only, bounded in size, no redirects, no other files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from lxml import etree
from zeep.transports import Transport

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.security.net import Guard, guarded_client
from superinsight_sync.sources.http.retry_after import retry_after_s

_UNREACHABLE = "Check that the server runs and can be reached"


class SoapTransport(Transport):
    """What zeep loads and sends through.

    Args:
        base: the WSDL's URL or path. Files are read from its folder only, and only if it is a file.
        auth: sent to the hosts of `trusted` only.
    """

    def __init__(
        self,
        base: str,
        *,
        timeout_s: float,
        guard: Guard,
        max_response: int,
        auth: tuple[str, str] | None = None,
        trusted: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(timeout=timeout_s, operation_timeout=timeout_s)  # type: ignore[no-untyped-call]
        self._folder = None if base.startswith(("http://", "https://")) else Path(base).resolve().parent
        self._max_response = max_response
        self._auth = auth
        self._trusted = trusted
        self._client = guarded_client(guard, read_timeout_s=timeout_s, connect_timeout_s=timeout_s)

    def load(self, url: Any) -> bytes:
        """A WSDL or a schema."""
        address = str(url)
        if address.startswith(("http://", "https://")):
            response = self._send("GET", address)
            if response.status_code != 200:
                raise status_error(response.status_code, response.headers)
            return response.content
        path = Path(address.removeprefix("file://")).resolve()
        if self._folder is None or not path.is_relative_to(self._folder):
            raise ConfigError("the WSDL refers to a file outside its own folder", where="connection.wsdl")
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"'{path.name}' cannot be read ({type(error).__name__})", where="connection.wsdl"
            ) from None

    def post(self, address: str, message: Any, headers: Any) -> httpx.Response:
        """Sends a call."""
        return self._send("POST", address, content=message, headers=dict(headers))

    def post_xml(self, address: str, envelope: Any, headers: Any) -> httpx.Response:
        """Sends a call that is XML."""
        return self.post(address, etree.tostring(envelope, encoding="utf-8", xml_declaration=True), headers)

    def get(self, address: str, params: Any, headers: Any) -> httpx.Response:
        """No SOAP: calls are posted."""
        raise ConfigError("the service's port is no SOAP binding", hint="Name another one: options.port")

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _send(self, method: str, address: str, **how: Any) -> httpx.Response:
        auth = self._auth if host_of(address) in self._trusted else None
        try:
            with self._client.stream(method, address, auth=auth, **how) as response:
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > self._max_response:
                        raise ConfigError(
                            f"an answer has more than {self._max_response} bytes",
                            hint="Read smaller pages, or raise connection.max_response",
                        )
                return httpx.Response(
                    response.status_code, headers=_plain(response.headers), content=bytes(body)
                )
        except httpx.InvalidURL:
            raise ConfigError("the service's address is no URL", where="connection.wsdl") from None
        except httpx.HTTPError as error:
            raise TransientError(
                f"the service cannot be reached ({type(error).__name__})", hint=_UNREACHABLE
            ) from None


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """Without what was true of the bytes on the wire only."""
    wire = ("content-encoding", "content-length", "transfer-encoding")
    return {k: v for k, v in headers.items() if k.lower() not in wire}


def host_of(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def status_error(status: int, headers: Mapping[str, str]) -> SisError:
    """Our error for an HTTP status that is no answer."""
    if status in (401, 403):
        return AccessError(
            f"the service refuses the account (HTTP {status})", hint="Check auth, user and password"
        )
    if status >= 500 or status in (408, 425, 429):
        failure = TransientError(f"the service fails (HTTP {status})", hint=_UNREACHABLE)
        failure.wait_s = retry_after_s(headers)
        return failure
    return ConfigError(f"the service refuses the request (HTTP {status})", hint="Check the address")

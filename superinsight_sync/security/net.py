"""Where we may connect to: an address that data or a server could choose must not lead inside.

A name is looked up once, every address it has is judged, and the connection goes to an address that was
judged, so that a second look-up cannot give another one. Since each connection is judged, so is each redirect.
"""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial

import httpcore
import httpx

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.stopping import on_stop
from superinsight_sync.security.networks import Address, Networks

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_OUTSIDE = Networks(
    (
        "192.0.0.0/24", "192.88.99.0/24",  # protocol assignments, relays of 6to4
        "2002::/16", "2001::/23",  # 6to4; Teredo and others that wrap addresses
        "3fff::/20",  # documentation
    )
)  # fmt: skip
_NEVER = Networks(
    (
        "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32",
        "fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128",
    )
)  # fmt: skip
"""Link-local networks and where clouds give credentials to machines: only a network that names them lets
them in, `allow_private` does not."""
_INSIDE = Networks(("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"))
_INSIDE_V6 = Networks(("::1/128", "fc00::/7"))


@dataclass(frozen=True)
class Guard:
    """Which addresses may be connected to.

    Attributes:
        allow_private: loopback and private networks too, but not link-local ones.
        allowed: networks that are let in whatever they are.
    """

    allow_private: bool = False
    allowed: Networks = field(default_factory=Networks)

    def permits(self, address: str) -> bool:
        """Whether a numeric address may be connected to. Addresses wrapped in IPv6 are judged as themselves."""
        ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
        if ip in self.allowed:
            return True
        if ip in _NEVER:
            return False
        inside = ip in _INSIDE or ip in _INSIDE_V6
        return self.allow_private if inside else _is_outside(ip)

    def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of a name or of a number in any spelling.

        Raises:
            OSError: if there is none.
            ConfigError: if any of them is not permitted.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError("no host name") from None
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not self.permits(address):
                raise ConfigError(
                    "its address is inside a private network or reserved",
                    where=f"host '{host}'",
                    hint="If it is meant to be there, write allow_private: true or its network into "
                    "allow_networks of the connection",
                )
        return addresses

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connection to the first address that answers. Raises OSError, and ConfigError as `addresses`."""
        *others, last = self.addresses(host, port)
        for address in others:
            with contextlib.suppress(OSError):
                return _ended_by_stop(socket.create_connection((address, port), timeout_s))
        return _ended_by_stop(socket.create_connection((last, port), timeout_s))


def _ended_by_stop(connected: socket.socket) -> socket.socket:
    """Who waits for the other side is told that the connection has ended when the work is told to stop."""
    on_stop(partial(_end, connected))
    return connected


def _end(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def guard_of(*, allow_private: bool = False, allow_networks: Iterable[str] = ()) -> Guard:
    """The guard that a connection's keys describe. Raises ConfigError for a text that is no network."""
    return Guard(allow_private, Networks(allow_networks))


def guarded_client(
    guard: Guard,
    *,
    read_timeout_s: float = 60.0,
    connect_timeout_s: float = 10.0,
    headers: Mapping[str, str] | None = None,
    ca_file: str | None = None,
) -> httpx.Client:
    """An HTTP client that connects only where `guard` permits, through no proxy of the environment.

    It follows no redirect unless a request asks for it; one that leads inside is refused like any address.

    Args:
        read_timeout_s: how long the server may be silent.
        ca_file: certificates to trust instead of those that httpx brings.

    Raises:
        ConfigError: from a request whose address is not permitted, before anything is sent; or for `ca_file`.
    """
    return httpx.Client(
        transport=GuardedTransport(guard, ca_file),
        timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s),
        headers=headers,
        trust_env=False,
        follow_redirects=False,
        max_redirects=5,
    )


class GuardedTransport(httpx.HTTPTransport):
    """For `httpx.Client(transport=…)`. The client must have `trust_env=False`, or it may use proxies."""

    def __init__(self, guard: Guard, ca_file: str | None = None) -> None:
        context = _context_of(ca_file) if ca_file else _context()
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=100, network_backend=_GuardedBackend(guard)
        )


@cache
def _context() -> ssl.SSLContext:
    """That of the certificates httpx brings. Reading them takes as long as a small pull."""
    return httpx.create_ssl_context(trust_env=False)


def _context_of(ca_file: str) -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context(verify=ca_file, trust_env=False)
    except OSError as error:
        raise ConfigError(f"ca_file cannot be read ({type(error).__name__})", where="connection") from None


class _GuardedBackend(httpcore.SyncBackend):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            *others, last = self._guard.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _Stream(super().connect_tcp(address, port, timeout, local_address, socket_options))
        return _Stream(super().connect_tcp(last, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("no local sockets")


class _Stream(httpcore.NetworkStream):
    """A connection that ends when the work that opened it is told to stop."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self.read, self.write, self.close = stream.read, stream.write, stream.close  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]
        on_stop(partial(_end, stream.get_extra_info("socket")))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))


def _unwrapped(ip: Address) -> Address:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _TRANSLATED:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _is_outside(ip: Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and ip not in _NOT_OUTSIDE

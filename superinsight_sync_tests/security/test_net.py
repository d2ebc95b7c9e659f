"""Requests that data or servers steer do not lead inside."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.net import guard_of, guarded_client

# Addresses inside, in all the spellings that a resolver understands, and those that wrap one.
HOSTILE = [
    "127.0.0.1", "127.255.255.254", "localhost", "0.0.0.0", "0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "2130706433", "0x7f000001", "017700000001", "127.1", "10.1", "0177.0.0.1", "0x7f.0.0.1", "0xa9fea9fe",
    "2852039166", "①②⑦.⓪.⓪.①",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "64:ff9b:1::7f00:1", "2001:db8::1", "3fff::1", "100::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTILE)
def test_addresses_inside_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        guard_of().addresses(host, 80)
    assert f"host '{host}': its address is inside a private network or reserved" in str(caught.value)
    assert "allow_private: true" in str(caught.value)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_outside_are_let_through(host: str) -> None:
    assert guard_of().addresses(host, 443)


@given(st.ip_addresses(v=4))
def test_no_spelling_of_an_address_changes_the_judgement(address: ipaddress.IPv4Address) -> None:
    guard, number = guard_of(), int(address)
    expected = guard.permits(str(address))
    assert not expected or address.is_global
    wrapped = [f"::ffff:{address}", str(ipaddress.IPv6Address((0x64FF9B << 96) | number))]
    assert {guard.permits(w) for w in wrapped} == {expected}
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (number << 80))
    assert not guard.permits(str(six_to_four))


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "::1", "fd12::1", "100.64.1.1"])
def test_allow_private_lets_private_networks_in(host: str) -> None:
    assert guard_of(allow_private=True).addresses(host, 80)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "0.0.0.0",
             "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_allow_private_does_not_open_what_gives_credentials_to_machines(host: str) -> None:
    with pytest.raises(ConfigError):
        guard_of(allow_private=True).addresses(host, 80)


def test_networks_let_in_exactly_themselves() -> None:
    guard = guard_of(allow_networks=["10.20.0.0/16", "fd12::/64"])
    assert guard.addresses("10.20.3.4", 80) and guard.addresses("fd12::7", 80)
    for host in ("10.21.0.1", "127.0.0.1", "fd12:0:0:1::1"):
        with pytest.raises(ConfigError):
            guard.addresses(host, 80)
    with pytest.raises(ConfigError, match="'10.0.0.1/8' is no network"):
        guard_of(allow_networks=["10.0.0.1/8"])


def answers(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> list[str]:
    """The resolver gives these addresses for names, a round for each look-up. Returns the look-ups."""
    real, asked = socket.getaddrinfo, []

    def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if not str(host).endswith(".test"):
            return real(host, port, *args, **kwargs)
        asked.append(host)
        chosen = rounds[min(len(asked), len(rounds)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in chosen]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return asked


def test_one_private_address_among_a_names_addresses_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["8.8.8.8", "10.0.0.5"])
    with guarded_client(guard_of()) as client, pytest.raises(ConfigError, match=r"host 'both\.test'"):
        client.get("http://both.test/")


def test_a_name_that_changes_after_it_was_judged_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []

    def record(address: Any, *args: Any, **kwargs: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    asked = answers(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    monkeypatch.setattr(socket, "create_connection", record)
    with guarded_client(guard_of()) as client, pytest.raises(httpx.ConnectError):
        client.get("http://rebinding.test/")
    with pytest.raises(OSError):
        guard_of().connect("8.8.8.8", 21, 1)
    assert asked == ["rebinding.test"]
    assert connected == [("8.8.8.8", 80), ("8.8.8.8", 21)]


@contextmanager
def redirecting(target: str) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path == "/start" else 200)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/start", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data/", "http://0xa9fea9fe/", "http://[::ffff:a9fe:a9fe]/",
               "http://10.0.0.1/", "http://[64:ff9b::a9fe:a9fe]/"],
)  # fmt: skip
def test_a_redirect_that_leads_inside_is_refused(target: str) -> None:
    guard = guard_of(allow_networks=["127.0.0.0/8"])
    with redirecting(target) as (url, asked), guarded_client(guard) as client:
        with pytest.raises(ConfigError, match="inside a private network"):
            client.get(url, follow_redirects=True)
        assert asked == ["/start"]


def test_redirects_are_not_followed_unless_asked_for_and_never_to_files() -> None:
    guard = guard_of(allow_private=True)
    with redirecting("file:///etc/passwd") as (url, _), guarded_client(guard) as client:
        assert client.get(url).status_code == 302
        with pytest.raises(httpx.UnsupportedProtocol):
            client.get(url, follow_redirects=True)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with redirecting("/end") as (url, asked):
        with guarded_client(guard_of(allow_private=True)) as client:
            assert client.get(url, follow_redirects=True).status_code == 200
    assert asked == ["/start", "/end"]


def test_a_missing_file_of_certificates_is_told() -> None:
    with pytest.raises(ConfigError, match="ca_file cannot be read"):
        guarded_client(guard_of(), ca_file="/nowhere/ca.pem")

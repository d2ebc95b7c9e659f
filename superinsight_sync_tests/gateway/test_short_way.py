"""A webhook that comes in one piece goes a way of its own: it must tell and keep the same as the long one."""

import gzip
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn

from superinsight_sync.gateway import webhook_fast_path
from superinsight_sync.gateway.app import Bounds
from superinsight_sync.security.access import Access, AccessRules
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync.state import State
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import HOOK, PUSH, Gateway, gateway, signed

ORDER = b'{"type": "order.paid", "id": 1}'


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


def written(body: bytes, headers: dict[str, str], source: str = "shop", version: str = "1.1") -> bytes:
    named = {"host": "x", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {HOOK}/{source} HTTP/{version}\r\n{head}\r\n".encode() + body


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answered(reader: Any) -> Answered:
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        headers[name] = value.strip()
    return Answered(status, headers, json.loads(reader.read(int(headers["content-length"]))))


def asked(url: str, request: bytes, *, whole: bool = True) -> Answered:
    """In one piece, or with the end of the body in a second one."""
    with connected(url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in [request] if whole else [request[:-1], request[-1:]]:
            connection.sendall(part)
            time.sleep(0 if whole else 0.05)
        return answered(connection.makefile("rb"))


BAD = {"webhook-signature": "v1," + "A" * 43 + "="}
CASES = {
    "stored": (ORDER, {}, "shop", 202),
    "packed": (gzip.compress(ORDER), {"content-encoding": "gzip"}, "shop", 202),
    "wrong signature": (ORDER, BAD, "shop", 401),
    "no such source": (ORDER, {}, "nowhere", 404),
    "no webhooks here": (ORDER, {}, "till", 404),
    "no JSON": (b"{", {}, "shop", 400),
    "not UTF-8": (b'{"type": "\xff"}', {}, "shop", 400),
    "no record": (b"[]", {}, "shop", 422),
    "a bomb": (gzip.compress(b" " * (65 << 20)), {"content-encoding": "gzip"}, "shop", 413),
    "another compression": (ORDER, {"content-encoding": "br"}, "shop", 415),
    "another type": (ORDER, {"content-type": "text/html"}, "shop", 415),
}


@pytest.mark.parametrize("case", CASES)
def test_both_ways_tell_the_same(door: Gateway, inbox: Inbox, case: str) -> None:
    body, more, source, status = CASES[case]
    found = []
    for whole in (True, False):
        delivery_id = f"same_{'short' if whole else 'long'}_{case.replace(' ', '_')}"
        headers = {**signed(body, delivery_id), "x-request-id": "req-1", **more}
        found.append(asked(door.url, written(body, headers, source), whole=whole))
    short, long = found
    assert short.status == long.status == status
    assert set(short.headers) == set(long.headers)
    assert short.headers["x-request-id"] == "req-1"
    for name in set(short.headers) - {"date"}:
        assert short.headers[name] == long.headers[name], name
    if status == 202:
        one, other = (inbox.get(answer.body["id"]) for answer in found)
        assert one is not None and other is not None
        assert inbox.body(one.id) == inbox.body(other.id) == body
        assert (one.stream, one.fingerprint, one.metadata) == (
            other.stream,
            other.fingerprint,
            other.metadata,
        )
    else:
        assert short.body == long.body


@pytest.mark.parametrize("whole", [True, False], ids=["short", "long"])
def test_a_key_is_known_on_both_ways(door: Gateway, whole: bool) -> None:
    delivery_id = f"both_ways_{whole}"
    first = asked(door.url, written(ORDER, signed(ORDER, delivery_id)), whole=not whole)
    again = asked(door.url, written(ORDER, signed(ORDER, delivery_id)), whole=whole)
    assert (first.status, again.status) == (202, 200)
    assert again.body == {"id": first.body["id"], "status": "duplicate"}
    other = asked(door.url, written(ORDER + b" ", signed(ORDER + b" ", delivery_id)), whole=whole)
    assert other.status == 422 and other.body["detail"].startswith("this key was used for another body")


def test_requests_behind_each_other_are_answered_in_order(door: Gateway) -> None:
    """All at once on one connection: webhooks, one that is refused, and one of another route."""
    requests = [written(ORDER, signed(ORDER, f"line_{n}")) for n in range(3)]
    requests.insert(1, written(ORDER, {**signed(ORDER, "line_bad"), **BAD}))
    requests.insert(2, b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    with connected(door.url) as connection:
        connection.sendall(b"".join(requests))
        reader = connection.makefile("rb")
        found = [answered(reader).status for _ in requests]
        connection.sendall(written(ORDER, signed(ORDER, "line_last")))
        found.append(answered(reader).status)
    assert found == [202, 401, 200, 202, 202, 202]


@pytest.mark.parametrize(
    ("version", "more"), [("1.1", {"connection": "close"}), ("1.0", {})], ids=["close", "1.0"]
)
def test_who_wants_the_connection_ended_gets_it_ended(
    door: Gateway, version: str, more: dict[str, str]
) -> None:
    with connected(door.url) as connection:
        headers = {**signed(ORDER, f"close_{len(more)}"), **more}
        connection.sendall(written(ORDER, headers, version=version))
        reader = connection.makefile("rb")
        assert answered(reader).status == 202
        assert reader.read() == b""


def test_an_address_written_otherwise_is_the_same_source(door: Gateway) -> None:
    for written_so in ("sho%70", "shop?x=1"):
        headers = signed(ORDER, f"so_{len(written_so)}_{written_so[3] == 'p'}")
        assert asked(door.url, written(ORDER, headers, written_so)).status == 202
    assert (
        asked(door.url, written(ORDER, signed(ORDER, "so_not"), "shop/")).status == 401
    )  # no webhook's address


def test_what_nobody_foresaw_takes_no_place_for_good(
    served: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served(bounds=Bounds(requests=2))
    with monkeypatch.context() as broken:
        broken.setattr(webhook_fast_path, "checked", lambda *_: 1 / 0)
        for n in range(5):
            with connected(url) as connection:
                connection.sendall(written(ORDER, signed(ORDER, f"unforeseen_{n}")))
                assert b" 202 " not in connection.makefile("rb").readline()
    assert asked(url, written(ORDER, signed(ORDER, "foreseen"))).status == 202


def test_an_idle_connection_is_ended_and_a_used_one_is_not(served: Callable[..., str]) -> None:
    def short_rest(config: uvicorn.Config) -> None:
        config.timeout_keep_alive = 2

    with connected(served(short_rest)) as connection:
        reader = connection.makefile("rb")
        began = time.monotonic()
        for n in range(4):
            connection.sendall(written(ORDER, {**signed(ORDER, f"idle_{n}"), **BAD}))
            assert answered(reader).status == 401
            time.sleep(0.7)
        # The last of all goes the long way: the server's own timer holds then.
        connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answered(reader).status == 200
        assert reader.read() == b""
        assert time.monotonic() - began > 4.7
    with connected(served(short_rest)) as connection:
        reader = connection.makefile("rb")
        connection.sendall(written(ORDER, {**signed(ORDER, "idle"), **BAD}))
        assert answered(reader).status == 401
        began = time.monotonic()
        assert reader.read() == b""
        assert time.monotonic() - began > 0.5


@pytest.mark.parametrize("whole", [True, False], ids=["short", "long"])
def test_a_proxy_that_is_believed_is_believed_on_both_ways(tmp_path: Path, whole: bool) -> None:
    behind = gateway(tmp_path)
    behind.environment |= {
        "SIS_GATEWAY_PROXIES": "127.0.0.1",
        "SIS_GATEWAY_NETWORKS": "203.0.113.0/24, 127.0.0.1",
    }
    behind.start()
    try:
        for forwarded, status in (("203.0.113.9", 202), ("198.51.100.1", 403), ("nobody", 403)):
            headers = {**signed(ORDER, f"p_{status}_{forwarded[0]}"), "x-forwarded-for": forwarded}
            assert asked(behind.url, written(ORDER, headers), whole=whole).status == status, forwarded
    finally:
        behind.end()


@pytest.mark.parametrize("whole", [True, False], ids=["short", "long"])
def test_wrong_signatures_are_counted_by_address_and_right_ones_are_taken(
    served: Callable[..., str], near: State, whole: bool
) -> None:
    url = served(access=Access(near.api_keys, rules=AccessRules(failures=RateLimit(0.001, 5))))
    wrong = [asked(url, written(ORDER, signed(ORDER, f"w{n}") | BAD), whole=whole) for n in range(8)]
    assert [a.status for a in wrong] == [401] * 5 + [429] * 3
    assert int(wrong[-1].headers["retry-after"]) > 100 and wrong[-1].body["title"] == "Too many requests"
    assert asked(url, written(ORDER, signed(ORDER, "right")), whole=whole).status == 202
    key = {"authorization": "Bearer sis_00000000_" + "x" * 43}
    answer = httpx.post(f"{url}{PUSH}/batch?source=till", json=[{}], headers=key)
    assert answer.status_code == 429, "wrong keys are counted together with them"

"""Webhooks against a real gateway process: what is answered, and what is in the inbox then."""

import gzip
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import HOOK, Gateway, gateway, signed
from superinsight_sync_tests.servers.ports import listens
from superinsight_sync_tests.waiting import until


def push(door: Gateway, body: bytes, delivery_id: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{door.url}{HOOK}/shop", content=body, headers={**signed(body, delivery_id), **headers}
    )


def test_a_webhook_is_in_the_inbox_once_it_is_answered(door: Gateway, inbox: Inbox) -> None:
    body = b'{"type": "order.paid", "id": 18446744073709551616, "name": "\xe9\x9b\xaa \xf0\x9f\x98\x80"}'
    answer = push(door, body, "evt_1")
    assert (answer.status_code, answer.json()["status"]) == (202, "stored")
    stored = inbox.get(answer.json()["id"])
    assert stored is not None
    assert (stored.tenant, stored.source, stored.stream, stored.records) == ("acme", "shop", "orders", 1)
    assert (stored.state, stored.metadata) == ("received", {"event": "order.paid"})
    assert inbox.body(stored.id) == body
    again = push(door, body, "evt_1")
    assert (again.status_code, again.json()) == (200, {"id": stored.id, "status": "duplicate"})
    other = push(door, body + b" ", "evt_1")
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    assert other.json()["detail"].startswith("this key was used for another body")


def test_a_big_body_is_a_file_and_a_packed_one_stays_as_it_came(door: Gateway, inbox: Inbox) -> None:
    body = json.dumps({"type": "order.big", "text": "x" * 100_000}).encode()
    answer = push(door, body, "evt_big")
    assert answer.status_code == 202
    assert inbox.body(answer.json()["id"]) == body
    packed = gzip.compress(body)
    answer = push(door, packed, "evt_packed", **{"content-encoding": "gzip"})
    stored = inbox.get(answer.json()["id"])
    assert stored is not None and stored.encoding == "gzip"
    assert inbox.body(stored.id) == packed


def test_what_does_not_prove_itself_is_told_nothing(door: Gateway, inbox: Inbox) -> None:
    body = b'{"type": "order.paid"}'
    good = signed(body, "evt_x")
    before = inbox.backlog().deliveries
    for headers in (
        {},
        {**good, "webhook-signature": "v1,AAAA"},
        {**good, "webhook-id": "evt_y"},
        {**good, "webhook-timestamp": "1"},
        signed(body, "evt_x", at_s=time.time() - 301),
        signed(body, "evt_x", secret="whsec_bm90IHRoZSBzZWNyZXQ="),
        signed(body, "evt.x"),
    ):
        answer = httpx.post(f"{door.url}{HOOK}/shop", content=body, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["detail"] == "the signature is missing or does not hold"
    assert httpx.post(f"{door.url}{HOOK}/shop", content=body + b" ", headers=good).status_code == 401
    assert httpx.post(f"{door.url}{HOOK}/nobody", content=body, headers=good).status_code == 404
    assert httpx.post(f"{door.url}{HOOK}/till", content=body, headers=good).status_code == 404
    assert inbox.backlog().deliveries == before


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b'{"type": ', {}, 400, "no valid JSON"),
        (b'{"type": "order.x", "a": NaN}', {}, 400, "no valid JSON"),
        (b'{"a": "\xff"}', {}, 400, "no UTF-8"),
        (b"[" * 100_000, {}, 422, "nested too deeply"),
        (b'{"type": "order.x", "a": %s1%s}' % (b"[" * 80, b"]" * 80), {}, 422, "deeper than 64 levels"),
        (b'"text"', {}, 422, "must be a JSON object"),
        (b"[]", {}, 422, "no records"),
        (b"{}", {"content-type": "image/png"}, 415, "content type"),
        (b"{}", {"content-type": "application/json; charset=latin-1"}, 415, "encoding"),
        (b"{}", {"content-encoding": "br"}, 415, "compression"),
        (b"{}", {"content-encoding": "gzip"}, 400, "no valid gzip"),
        (gzip.compress(b" " * (65 << 20)), {"content-encoding": "gzip"}, 413, "unpacked"),
        (b"", {}, 400, "no valid JSON"),
    ],
)
def test_hostile_bodies_are_refused_by_name(
    door: Gateway, body: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    answer = push(door, body, "evt_hostile", **headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_router_refuses_in_the_same_form(door: Gateway) -> None:
    for method, path, status in (("GET", f"{HOOK}/shop", 405), ("POST", "/api/nothing", 404)):
        answer = httpx.request(method, door.url + path, content=b"x")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
    too_large = httpx.post(f"{door.url}{HOOK}/shop", content=b"x" * ((16 << 20) + 1))
    assert too_large.status_code == 413


def test_a_stopped_gateway_answers_what_it_took(tmp_path: Path) -> None:
    door = gateway(tmp_path)
    door.start()
    body = b'{"type": "order.slow"}'

    def slowly() -> Iterator[bytes]:
        yield body[:5]
        door.answers_others()
        assert door.process is not None
        door.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(door.port), "it does not stop")
        yield body[5:]

    answer = httpx.post(f"{door.url}{HOOK}/shop", content=slowly(), headers=signed(body, "evt_slow"))
    assert answer.status_code == 202
    assert door.end() == 0
    settings = load_settings(door.environment)
    inbox = Inbox(open_state(settings.database_url).database, settings.landing_dir)
    assert [d.id for d in inbox.list()] == [answer.json()["id"]]

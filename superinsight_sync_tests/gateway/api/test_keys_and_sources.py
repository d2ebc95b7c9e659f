"""Keys and sources by HTTP, limits by key and tenant, and the document that describes it all."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from superinsight_sync.core.errors import TransientError
from superinsight_sync_tests.gateway.api.served import API, Served, bearer
from superinsight_sync_tests.gateway.doors import PUSH

KEYS = f"{API}/keys"


def test_a_key_is_made_shown_once_used_and_revoked(served: Served) -> None:
    with served.client(bearer(served.key("admin"))) as client:
        asked = {
            "name": "till 7 🛒",
            "role": "pusher",
            "sources": ["till"],
            "networks": ["127.0.0.0/8", "2001:db8::1"],
            "expires_in_s": 3600,
        }
        answer = client.post(KEYS, json=asked)
        assert answer.status_code == 201
        made = answer.json()
        assert answer.headers["location"] == f"{KEYS}/{made['id']}" and made["key"].endswith(
            made["client_secret"]
        )
        ends = datetime.fromisoformat(made["not_after"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < ends < timedelta(minutes=61)
        told = client.get(KEYS)
        assert made["client_secret"] not in told.text and "hash" not in told.text
        mine = next(k for k in told.json()["keys"] if k["id"] == made["id"])
        assert mine["holds"] and (mine["sources"], mine["networks"]) == (asked["sources"], asked["networks"])
        with served.client(bearer(made["key"])) as pusher:
            assert pusher.post(f"{PUSH}/batch?source=till", json=[{"by": "made"}]).status_code == 202
            assert pusher.post(f"{PUSH}/batch?source=shop", json=[{"by": "made"}]).status_code == 403
            for _ in range(2):
                assert client.delete(f"{KEYS}/{made['id']}").status_code == 204
            assert pusher.post(f"{PUSH}/batch?source=till", json=[{"by": "made"}]).status_code == 401
        mine = next(k for k in client.get(KEYS).json()["keys"] if k["id"] == made["id"])
        assert not mine["holds"] and mine["revoked_at"]


def test_a_tenants_admin_sees_and_revokes_no_other_tenants_keys(served: Served) -> None:
    theirs = served.key("viewer", "other")
    with served.client(bearer(served.key("admin"))) as client:
        assert theirs.id not in client.get(KEYS).text
        for key_id in (theirs.id, "0a0a0a0a"):
            answer = client.delete(f"{KEYS}/{key_id}")
            assert (answer.status_code, answer.json()["detail"]) == (404, "there is no such key")
        assert client.delete(f"{KEYS}/x").status_code == 422
    with served.client(bearer(theirs)) as other:
        assert other.get(f"{API}/me").json()["tenant"] == "other"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body.name"),
        ({"name": "a", "role": "root"}, "body.role"),
        ({"name": "", "role": "viewer"}, "body.name"),
        ({"name": "a\0b", "role": "viewer"}, "body.name"),
        ({"name": "\ud800", "role": "viewer"}, "body.name"),
        ({"name": "a", "role": "viewer", "tenant": "other"}, "body.tenant"),
        ({"name": "a", "role": "viewer", "networks": ["10.0.0.1/8"]}, "body.networks.0"),
        ({"name": "a", "role": "viewer", "networks": ["hunter2"]}, "body.networks.0"),
        ({"name": "a", "role": "viewer", "sources": ["A B"]}, "body.sources.0"),
        ({"name": "a", "role": "viewer", "expires_in_s": 0}, "body.expires_in_s"),
        ({"name": "a", "role": "viewer", "expires_in_s": 1e300}, "body.expires_in_s"),
        ([], "body"),
        ("x", "body"),
        (None, "body"),
    ],
)
def test_a_key_that_cannot_be_is_told_where_without_what_was_sent(
    served: Served, body: Any, place: str
) -> None:
    with served.client({**bearer(served.key("admin")), "content-type": "application/json"}) as client:
        answer = client.post(KEYS, content=json.dumps(body))
    assert answer.status_code == 422, answer.text
    assert place in {e["at"] for e in answer.json()["errors"]}
    assert "hunter2" not in answer.text and "10.0.0.1" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 60_000, b'{"name": NaN'])
def test_a_body_that_is_no_json_is_refused(served: Served, body: bytes) -> None:
    with served.client({**bearer(served.key("admin")), "content-type": "application/json"}) as client:
        answer = client.post(KEYS, content=body)
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.post(KEYS, content=b" " * 70_000).status_code == 413


def test_sources_are_told_without_their_secrets(served: Served) -> None:
    with served.client(bearer(served.key("pusher"))) as client:
        answer = client.get(f"{API}/sources")
    assert "SECRET" not in answer.text and "NOT_SET" not in answer.text
    found = {s["name"]: s for s in answer.json()["sources"]}
    assert list(found) == ["broken", "shop", "till"]
    assert [found[n]["is_receiving"] for n in found] == [False, True, True]
    shop, till = found["shop"], found["till"]
    assert (shop["signature"], till["signature"]) == ("standard", None)
    assert shop["urls"]["webhook"] == f"{PUSH}/webhook/shop" and till["urls"]["webhook"] is None
    assert shop["limits"]["records"] == 10_000 and shop["limits"]["body_bytes"] == 16 << 20
    assert [s["name"] for s in shop["streams"]] == ["orders", "others"]
    with served.client(bearer(served.key("viewer", sources=("till",)))) as bound:
        assert [s["name"] for s in bound.get(f"{API}/sources").json()["sources"]] == ["till"]


def test_a_database_that_fails_is_told_as_passing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    api = served.api
    with served.client(bearer(served.key("admin"))) as client:
        for error, status in ((TransientError("password=hunter2"), 503), (RuntimeError("hunter2"), 500)):

            def broken(*_: Any, error: Exception = error, **__: Any) -> None:
                raise error

            monkeypatch.setattr(api.state.reach.engine.inbox, "search", broken)
            answer = client.get(f"{API}/inbox/deliveries")
            assert answer.status_code == status and "hunter2" not in answer.text
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
            assert ("retry-after" in answer.headers) == (status == 503)


def test_a_request_keeps_its_id(served: Served) -> None:
    with served.client({**bearer(served.key("viewer")), "x-request-id": "mine-1"}) as client:
        for path in ("me", "nothing", "keys", "inbox/deliveries?limit=0"):
            assert client.get(f"{API}/{path}").headers["x-request-id"] == "mine-1"


def test_a_repeated_credential_is_ambiguous_and_a_body_needs_no_length_to_be_empty(served: Served) -> None:
    key = served.key("viewer")
    port = int(served.url.rsplit(":", 1)[1])
    head = f"GET {API}/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    one = f"authorization: Bearer {key.text}\r\n"
    for raw, status in ((head + one, 200), (head + one + one, 400), (head.replace("GET", "POST") + one, 405)):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"{raw}\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)


def test_a_websocket_to_nowhere_is_closed(served: Served) -> None:
    url = served.url.replace("http://", "ws://")
    for path in (f"{API}/me", "/nothing"):
        with pytest.raises(InvalidStatus) as refused, connect(f"{url}{path}"):
            pass
        assert refused.value.response.status_code == 403


def test_the_document_describes_every_route_and_nothing_else(served: Served) -> None:
    with served.client(bearer(served.key("pusher"))) as client:
        told = client.get(f"{API}/openapi.json").json()
    api = served.api
    there = {
        (route.path, method.lower())
        for route in [*served.app.routes, *api.routes]
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    assert {
        (path, method) for path, item in told["paths"].items() for method in item if method != "head"
    } == there
    assert told["openapi"] == "3.1.0" and told["security"]
    upload = told["paths"][f"{PUSH}/file/{{id}}"]["patch"]["responses"]
    assert {"409", "412", "423", "460", "507"} <= set(upload), "what only a busy upload or a full disk brings"
    for path, item in told["paths"].items():
        for method, operation in item.items():
            assert operation["summary"].endswith(".") and operation["operationId"], (path, method)
            for status, answer in operation["responses"].items():
                assert status.startswith("2") or answer["$ref"].endswith(f"Problem{status}"), (path, status)
    named = set(re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(told)))
    assert all(name in told["components"][kind] for kind, name in named)
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert "http://" not in json.dumps(told) and "https://" not in json.dumps(told)

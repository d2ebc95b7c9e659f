"""Every route of the gateway with every kind of credential. A route that is not in the table fails the first test."""

import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from superinsight_sync.core.clock import utc_now
from superinsight_sync.security.api_keys import Credential
from superinsight_sync.security.jwt_tokens import signer_from
from superinsight_sync.security.roles import ROLES
from superinsight_sync_tests.gateway.api.served import API, Served, bearer
from superinsight_sync_tests.gateway.doors import HOOK, PUSH, signed

ALL = frozenset(ROLES)
PUSHERS = frozenset({"admin", "pusher"})
READERS = frozenset({"admin", "operator", "viewer"})
OPERATORS = frozenset({"admin", "operator"})
ADMINS = frozenset({"admin"})


@dataclass(frozen=True)
class Line:
    """A route, and what must come of it.

    Attributes:
        path: with {…} for what `World` fills in.
        roles: those that may; others get 403.
        good: the status for those.
        other_tenant: the status for another tenant's admin, who asks for the same thing.
        bound: the status for an admin's key that is bound to another source.
        request: what is sent with it.
        again: the status when the same comes once more, if it is another.
    """

    method: str
    path: str
    roles: frozenset[str]
    good: int
    other_tenant: int = 404
    bound: int = 403
    query: str = ""
    request: dict[str, Any] = field(default_factory=dict)
    again: int = 0

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


_CSV = {"content": b"a,b\n1,2\n", "headers": {"content-type": "text/csv"}}
_FORM = {"files": {"f": ("a.csv", b"a,b\n1,2\n", "text/csv")}}
TUS = {"tus-resumable": "1.0.0"}
_PART = {
    "content": b"a,b\n1,3\n",
    "headers": {**TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream"},
}
_OVERRIDE = {"headers": {**TUS, "x-http-method-override": "HEAD"}}
_NAMED = {"json": {"name": "made", "role": "viewer"}}
LINES = (
    Line("POST", f"{PUSH}/batch", PUSHERS, 202, query="?source=till", request=_CSV, again=200),
    Line("POST", f"{PUSH}/stream", PUSHERS, 202, query="?source=till", request=_CSV),
    Line("GET", f"{PUSH}/stream/{{batch}}", PUSHERS, 200, query="?source=till"),
    Line("POST", f"{PUSH}/file", PUSHERS, 202, query="?source=till", request=_FORM, again=200),
    Line("GET", f"{PUSH}/file/{{id}}", PUSHERS, 200, query="?source=till"),
    Line("PATCH", f"{PUSH}/file/{{id}}", PUSHERS, 204, query="?source=till", request=_PART),
    Line("DELETE", f"{PUSH}/file/{{id}}", PUSHERS, 204, query="?source=till", request={"headers": TUS}),
    Line("POST", f"{PUSH}/file/{{id}}", PUSHERS, 200, query="?source=till", request=_OVERRIDE),
    Line("GET", f"{API}/me", ALL, 200, 200, 200),
    Line("GET", f"{API}/sources", ALL, 200, 200, 200),
    Line("GET", f"{API}/openapi.json", ALL, 200, 200, 200),
    Line("GET", f"{API}/inbox/deliveries", READERS, 200, 200, 200),
    Line("GET", f"{API}/inbox/deliveries/{{delivery_id}}", READERS, 200, bound=404),
    Line("GET", f"{API}/inbox/deliveries/{{delivery_id}}/body", OPERATORS, 200, bound=404),
    Line("POST", f"{API}/inbox/deliveries/{{delivery_id}}/replay", OPERATORS, 409, bound=404),
    Line("GET", f"{API}/audit", ADMINS, 200, 200),
    Line("GET", f"{API}/keys", ADMINS, 200, 200),
    Line("POST", f"{API}/keys", ADMINS, 201, 201, request=_NAMED),
    Line("DELETE", f"{API}/keys/{{key_id}}", ADMINS, 204),
)
PROVED_OTHERWISE = {
    f"POST {HOOK}/{{id}}",
    f"POST {API}/auth/token",
    f"POST {API}/auth/revoke",
    f"OPTIONS {PUSH}/file",
    f"OPTIONS {PUSH}/file/{{id}}",
    f"WS {PUSH}/ws",
    "GET /health/live",
    "GET /health/ready",
}


@dataclass
class World:
    """What paths are filled with, and every credential that must not do."""

    served: Served
    fills: dict[str, str]
    bad: dict[str, dict[str, str]]
    good: dict[str, Credential]
    elsewhere: Credential
    bound: Credential

    def begin_upload(self) -> str:
        headers = {
            **TUS,
            **bearer(self.good["admin"]),
            "upload-length": "8",
            "upload-metadata": "filename YS5jc3Y=",
        }
        made = httpx.post(f"{self.served.url}{PUSH}/file?source=till", headers=headers)
        assert made.status_code == 201, made.text
        return made.headers["location"].partition("?")[0].rpartition("/")[2]

    def ask(self, line: Line, headers: dict[str, str], client: httpx.Client) -> httpx.Response:
        fills = dict(self.fills)
        if "{key_id}" in line.path:
            fills["key_id"] = self.served.key("viewer").id
        if "{id}" in line.path and line.method in ("PATCH", "DELETE"):
            fills["id"] = self.begin_upload()
        request = {**line.request, "headers": {**line.request.get("headers", {}), **headers}}
        return client.request(line.method, line.path.format(**fills) + line.query, **request)


@pytest.fixture(scope="module")
def world(served: Served) -> World:
    good: dict[str, Credential] = {role: served.key(role) for role in ROLES}
    key = good["admin"]
    long_ago = utc_now() - timedelta(hours=1)
    expired, revoked = served.expired_key(), served.revoked_key()
    foreign = signer_from({"SIS_TOKEN_SECRET": "another secret of more than 32 bytes"})
    assert foreign is not None
    with served.client() as client:
        given = client.post(
            f"{API}/auth/token",
            data={"grant_type": "client_credentials", "client_id": key.id, "client_secret": key.secret},
        ).json()
        stored = client.post(f"{PUSH}/batch?source=till", json=[{"a": 1}], headers=bearer(key)).json()
    head, body, tail = given["access_token"].split(".")
    bad = {
        "none": {},
        "nonsense": bearer("nonsense"),
        "empty": {"authorization": "Bearer"},
        "wrong secret": bearer(Credential(key.id, "x" * 43)),
        "unknown id": bearer(Credential("00000000", key.secret)),
        "expired key": bearer(expired),
        "revoked key": bearer(revoked),
        "key of another network": bearer(served.key(networks=["192.0.2.0/24"])),
        "token of an expired key": bearer(served.token(expired)),
        "token of a revoked key": bearer(served.token(revoked)),
        "expired token": bearer(served.token(key, now=long_ago)),
        "token from tomorrow": bearer(served.token(key, now=utc_now() + timedelta(days=1))),
        "token of another gateway": bearer(foreign.make(key.id, "acme", "admin")),
        "token of another role": bearer(served.token(good["viewer"], "admin")),
        "changed token": bearer(f"{head}.{body}.{tail[:-4]}AAAA"),
        "token without signature": bearer(f"eyJhbGciOiJub25lIn0.{body}."),
        "refresh token": bearer(given["refresh_token"]),
        "basic": {"authorization": "Basic YTpi"},
        "two credentials": {**bearer(key), "x-api-key": key.text},
    }
    made = World(
        served,
        {"delivery_id": stored["id"], "batch": "b1"},
        bad,
        good,
        served.key("admin", "other"),
        served.key("admin", sources=("shop",)),
    )
    made.fills["id"] = made.begin_upload()
    return made


def test_every_route_is_in_the_table(served: Served) -> None:
    api = served.api
    there = set()
    for route in [*served.app.routes, *api.routes]:
        assert isinstance(route, Route | APIRoute | WebSocketRoute), f"what is {route}?"
        methods = {"WS"} if isinstance(route, WebSocketRoute) else (route.methods or set()) - {"HEAD"}
        there |= {f"{method} {route.path}" for method in methods}
    assert there == {line.name for line in LINES} | PROVED_OTHERWISE


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_route_lets_in_who_may_and_nobody_else(line: Line, world: World) -> None:
    for what, headers in world.bad.items():
        with world.served.client() as client:
            answer = world.ask(line, headers, client)
        assert_problem(answer, 401, f"{line.name} with {what}")
        assert answer.headers["www-authenticate"] == "Bearer"
    with world.served.client() as client:
        for role, key in world.good.items():
            expected = line.good if role in line.roles else 403
            for way in (bearer(key), {"x-api-key": key.text}, bearer(world.served.token(key, role))):
                answer = world.ask(line, way, client)
                if expected == 403:
                    assert_problem(answer, 403, f"{line.name} as {role}")
                # What was stored by the first way is known by the next.
                assert answer.status_code in {expected, line.again or expected}, (role, answer.text)
                assert_guarded(answer)
        elsewhere = world.ask(line, bearer(world.elsewhere), client)
        assert elsewhere.status_code == line.other_tenant, elsewhere.text
        bound = world.ask(line, bearer(world.bound), client)
        assert bound.status_code == line.bound, bound.text


def test_an_address_that_is_not_there_tells_strangers_nothing(world: World) -> None:
    for path in (
        f"{API}/",
        f"{API}/nothing",
        f"{API}/keys/",
        f"{API}/docs",
        f"{API}/auth/token/",
        f"{API}/%2e%2e/me",
    ):
        with world.served.client() as client:
            assert_problem(client.get(path), 401, path)
            assert_problem(client.get(path, headers=bearer(world.good["admin"])), 404, path)
    with world.served.client() as client:
        for path in ("/", "/api", "/docs", "/api/v10/me"):
            assert_problem(client.get(path), 404, path)
        for path, method, allow in ((f"{API}/me", "PUT", "GET"), (f"{PUSH}/batch", "GET", "POST")):
            answer = client.request(method, path, headers=bearer(world.good["admin"]))
            assert_problem(answer, 405, path)
            assert answer.headers["allow"] == allow


def test_a_head_request_is_no_way_around(world: World) -> None:
    with world.served.client() as client:
        for line in LINES:
            assert client.head(
                line.path.format(**world.fills, key_id="00000000") + line.query
            ).status_code in (401, 405, 412)


def test_webhooks_are_let_in_by_their_signature_alone(world: World) -> None:
    body = b'{"type": "order.paid"}'
    with world.served.client() as client:

        def send(source: str, headers: dict[str, str]) -> int:
            answer = client.post(f"{HOOK}/{source}", content=body, headers=headers)
            if answer.status_code >= 400:
                assert_problem(answer, answer.status_code, source)
            return answer.status_code

        good = signed(body, "w1")
        assert send("shop", {}) == 401
        assert send("shop", bearer(world.good["admin"])) == 401, "a key is no signature"
        assert send("shop", signed(body, "w1", secret="whsec_" + "QUFB" * 8)) == 401
        assert send("shop", signed(body, "w1", at_s=time.time() - 3600)) == 401
        assert send("shop", signed(body + b" ", "w1")) == 401
        assert send("till", good) == 404 and send("nothing", good) == 404 and send("broken", good) == 404
        assert send("shop", good) == 202 and send("shop", good) == 200


def test_a_connection_is_let_in_as_a_request_is(world: World) -> None:
    url = f"{world.served.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=s1"

    def status(headers: dict[str, str], place: str = "127.0.0.1") -> int:
        try:
            with connect(url, additional_headers=headers, source_address=(place, 0)) as connection:
                return 101 if json.loads(connection.recv(10))["type"] == "welcome" else 0
        except InvalidStatus as refused:
            told = refused.response
            document = json.loads(told.body)
            assert document["status"] == told.status_code
            assert document["request_id"] == told.headers["x-request-id"]
            assert told.headers["x-content-type-options"] == "nosniff"
            assert told.headers["cache-control"] == "no-store"
            return told.status_code

    for number, (what, headers) in enumerate(world.bad.items()):
        if what != "none":
            assert status(headers, f"127.1.0.{number + 1}") == 401, what
    for role, key in world.good.items():
        for way in (bearer(key), {"x-api-key": key.text}, bearer(world.served.token(key, role))):
            assert status(way) == (101 if role in PUSHERS else 403), role
    assert status(bearer(world.elsewhere)) == 404 and status(bearer(world.bound)) == 403
    with connect(url, source_address=("127.1.0.250", 0)) as unproved:
        unproved.send("nonsense")
        with pytest.raises(ConnectionClosed) as ended:
            unproved.recv(10)
    assert ended.value.rcvd is not None and ended.value.rcvd.code in (4400, 4401, 4422)


def test_health_is_told_to_all(world: World) -> None:
    with world.served.client() as client:
        for path in ("/health/live", "/health/ready"):
            for headers in world.bad.values():
                answer = client.get(path, headers=headers)
                assert answer.status_code == 200
                assert_guarded(answer)


def assert_problem(answer: httpx.Response, status: int, what: str) -> None:
    assert answer.status_code == status, (what, answer.text)
    assert answer.headers["content-type"] == "application/problem+json", what
    told = answer.json()
    assert told["status"] == status and told["request_id"] == answer.headers["x-request-id"], what
    assert_guarded(answer)


def assert_guarded(answer: httpx.Response) -> None:
    for name in (
        "x-content-type-options",
        "content-security-policy",
        "strict-transport-security",
        "x-request-id",
    ):
        assert name in answer.headers
    assert answer.headers["cache-control"] == "no-store"

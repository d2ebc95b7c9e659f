"""What a webhook says in its headers is kept, and one that comes as a form is taken, by declaration."""

import gzip
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import ValidationError

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.receive.examples import examples
from superinsight_sync_tests.gateway.doors import HOOK, Gateway, gateway

SECRET = "it's a secret"
HMAC = 'scheme: hmac, signature_header: X-Sign, secrets: "{{ env.SHOP_SECRET }}"'
DECLARED = f"""
type: superinsight_sync.PushSource
attributes:
  name: hub
  tenant: acme
  signature: {{scheme: github, secrets: "{{{{ env.SHOP_SECRET }}}}"}}
  event_header: X-GitHub-Event
  headers: {{github_event: X-GitHub-Event, Hook: X-Hook}}
  form_field: payload
  streams:
    - {{name: pushes, events: [push]}}
    - {{name: others}}
---
type: superinsight_sync.PushSource
attributes:
  name: unpacked
  tenant: acme
  signature: {{{HMAC}, over: unpacked}}
  headers: {{kind: X-Kind}}
  streams: [{{name: all}}]
---
type: superinsight_sync.PushSource
attributes:
  name: payload
  tenant: acme
  signature: {{{HMAC}, over: payload}}
  form_field: payload
  streams: [{{name: all}}]
"""
EVENT = {"ref": "refs/heads/main", "größe": 1}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = gateway(tmp_path_factory.mktemp("hub"), declared=DECLARED)
    made.environment["SHOP_SECRET"] = SECRET
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def engine(hub: Gateway) -> Engine:
    return open_engine("run", load_settings(hub.environment))


def sign(body: bytes) -> str:
    return hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()


def send(
    hub: Gateway, source: str, body: bytes, signed: bytes | None = None, **headers: str
) -> httpx.Response:
    proof = {"x-sign": sign(body if signed is None else signed)}
    if source == "hub":
        proof = {"x-hub-signature-256": f"sha256={proof['x-sign']}"}
    sent = {"content-type": "application/json", **proof, **headers}
    return httpx.post(f"{hub.url}{HOOK}/{source}", content=body, headers=sent)


def landed(engine: Engine, source: str, stream: str) -> list[dict[str, Any]]:
    push = load_project(engine.settings).push_sources[source]
    pull_stream(engine, push.landed, push.landed.stream(stream))
    found = engine.lake.scan(TableRef("acme", source, stream, "raw")).read_all().to_pylist()
    return [{k: v for k, v in row.items() if k[:5] != "_sis_"} for row in found]


def test_the_event_in_a_header_says_the_stream_and_headers_become_columns(
    hub: Gateway, engine: Engine
) -> None:
    body = json.dumps(EVENT).encode()
    form = urlencode({"payload": json.dumps({"zen": "a&b=c+ü"})}).encode()
    named = {"x-github-event": "push", "x-hook": "7"}
    assert send(hub, "hub", body, **{"x-github-delivery": "d1", **named}).status_code == 202
    assert send(hub, "hub", body, **{"x-github-delivery": "d1", **named}).status_code == 200
    told = send(hub, "hub", form, **FORM, **{"x-github-delivery": "d2", "x-github-event": "ping"})
    assert told.status_code == 202, told.text
    clash = {"x-github-delivery": "d3", "x-github-event": "ping"}
    assert send(hub, "hub", b'{"GitHub_Event": "mine"}', **clash).status_code == 202
    assert landed(engine, "hub", "pushes") == [{**EVENT, "github_event": "push", "Hook": "7"}]
    assert landed(engine, "hub", "others") == [{"zen": "a&b=c+ü", "github_event": "ping", "Hook": None}]
    aside = engine.lake.scan(TableRef("acme", "hub", "others", "unreadable")).read_all().to_pylist()
    assert [a["reason"] for a in aside] == ["a field has the name of a column that is declared for a header"]


@pytest.mark.parametrize(
    "body", [b"payload=", b"other=1", b"payload=%7B%7D&payload=%7B%7D", b"\xff", b"payload=%FF"]
)
def test_what_is_no_such_form_is_refused(hub: Gateway, body: bytes) -> None:
    headers = {"x-github-delivery": "bad", "x-github-event": "push", **FORM}
    assert send(hub, "hub", body, **headers).status_code == 400


def test_signatures_over_what_was_unpacked_or_is_in_the_form(hub: Gateway, engine: Engine) -> None:
    body = json.dumps(EVENT).encode()
    packed, form = gzip.compress(body), urlencode({"payload": json.dumps(EVENT)}).encode()
    gz = {"content-encoding": "gzip"}
    assert send(hub, "unpacked", packed, **gz).status_code == 401
    assert send(hub, "unpacked", packed, body, **gz, **{"x-kind": "a"}).status_code == 202
    assert send(hub, "unpacked", packed, body, **gz, **{"x-kind": "a"}).status_code == 200
    assert send(hub, "unpacked", packed, body, **gz, **{"x-kind": "b"}).status_code == 202, "another event"
    assert send(hub, "unpacked", body[:-1], body).status_code == 401
    assert [r["kind"] for r in landed(engine, "unpacked", "all")] == ["a", "b"]
    assert send(hub, "payload", form, **FORM).status_code == 401
    assert send(hub, "payload", form, body, **FORM).status_code == 202
    assert landed(engine, "payload", "all") == [EVENT]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"event_type": "type", "event_header": "x-a"}, "not in both"),
        ({"headers": {"a": "Authorization"}}, "holds a secret"),
        ({"headers": {"a": "X-Sign ature"}}, "is no column"),
        ({"headers": {"_sis_a": "X-A"}}, "is no column"),
        (
            {"headers": {"a": "X-A"}, "streams": [{"name": "s", "columns": {"a": "int64"}}]},
            "for a header too",
        ),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PushSourceSpec.model_validate({"name": "hub", "streams": [{"name": "s"}], **change})


def test_the_printed_commands_send_the_event(hub: Gateway, engine: Engine) -> None:
    printed = examples(load_project(engine.settings).push_sources["hub"], hub.url)
    assert '-H "x-github-event: push"' in printed["openssl"]
    assert "'x-github-event': 'push'" in printed["python webhook"]

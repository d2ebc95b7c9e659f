"""Batches against a real gateway process: every form, every key that does not open, every repeat."""

import gzip
import json
from datetime import timedelta

import httpx
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state import State
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import PUSH, Gateway
from superinsight_sync_tests.waiting import until


def push(door: Gateway, body: bytes, key: dict[str, str], query: str = "", **headers: str) -> httpx.Response:
    sent = {"content-type": "application/json", **key, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return httpx.post(f"{door.url}{PUSH}/batch{query}", content=body, headers=sent)


def test_an_envelope_and_a_bare_array_are_stored_as_they_were_written(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    data = b'[ {"id": 18446744073709551616, "price": 1.10}, {"id": 2} ]'
    body = b'{"tenant": "acme", "source": "till", "metadata": {"shift": 3}, "data": %s}' % data
    answer = push(door, body, key)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["status"], told["records"], told["rejected"]) == ("stored", 2, [])
    stored = inbox.get(told["id"])
    assert stored is not None and inbox.body(stored.id) == data
    assert stored.metadata["metadata"] == {"shift": 3} and len(stored.metadata["by"]) == 8
    again = push(door, data, key, "?source=till&stream=sales")
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, told["id"], "duplicate")


@pytest.mark.parametrize(
    ("media", "body", "records"),
    [
        ("application/x-ndjson", b'{"a": 1}\n{"a": 2}\n', 2),
        ("text/csv; charset=utf-8", b"a,b\n007,x\n", 1),
        ("application/xml", b"<r><i><a>1</a></i><i/></r>", 2),
    ],
)
def test_other_formats_are_taken(
    door: Gateway, inbox: Inbox, key: dict[str, str], media: str, body: bytes, records: int
) -> None:
    answer = push(door, body, key, "?source=till", content_type=media)
    assert (answer.status_code, answer.json()["records"]) == (202, records)
    assert inbox.body(answer.json()["id"]) == body
    packed = gzip.compress(body)
    answer = push(door, packed, key, "?source=till", content_type=media, content_encoding="gzip")
    assert answer.status_code == 202 and inbox.body(answer.json()["id"]) == packed


def test_bad_records_are_told_by_their_place_and_never_repeated(door: Gateway, key: dict[str, str]) -> None:
    body = b'{"a": 1}\nhunter2\n[1]\n{"a": "\\u0000"}\n'
    answer = push(door, body, key, "?source=till", content_type="application/x-ndjson")
    assert answer.status_code == 202 and "hunter2" not in answer.text
    told = answer.json()
    assert (told["records"], told["rejected_count"]) == (1, 3)
    assert [r["place"] for r in told["rejected"]] == [2, 3, 4]
    none = push(door, b"[1, 2]", key, "?source=till")
    assert (none.status_code, "must be a JSON object" in none.json()["detail"]) == (422, True)


def test_an_idempotency_key_counts_once(door: Gateway, key: dict[str, str]) -> None:
    first = push(door, b'[{"a": 1}]', key, "?source=till", idempotency_key='"k-1"')
    again = push(door, b'[{"a": 1}]', key, "?source=till", idempotency_key="k-1")
    other = push(door, b'[{"a": 2}]', key, "?source=till", idempotency_key="k-1")
    assert [a.status_code for a in (first, again, other)] == [202, 200, 422]
    assert push(door, b'[{"a": 1}]', key, "?source=till", idempotency_key="a b").status_code == 400


def test_a_batch_over_the_limit_is_refused_whole(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    before = inbox.backlog().deliveries
    answer = push(door, json.dumps([{"a": n} for n in range(10_001)]).encode(), key, "?source=till")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "more than 10000 records. Send them in several batches"
    assert inbox.backlog().deliveries == before


def test_nobody_comes_in_with_a_key_that_does_not_hold(
    door: Gateway, state: State, inbox: Inbox, key: dict[str, str]
) -> None:
    keys = state.api_keys
    made = {
        "viewer": keys.create("v", "viewer", tenant="acme").text,
        "other tenant": keys.create("o", "pusher", tenant="other").text,
        "other source": keys.create("s", "pusher", tenant="acme", sources=["shop"]).text,
        "other address": keys.create("n", "pusher", tenant="acme", networks=["192.0.2.0/24"]).text,
        "expiring": keys.create("e", "pusher", tenant="acme", not_after=utc_now() + timedelta(days=1)).text,
        "revoked": keys.create("r", "pusher", tenant="acme").text,
    }
    keys.revoke(made["revoked"].split("_")[2])
    before = inbox.backlog().deliveries
    expected = {
        "viewer": 403,
        "other tenant": 404,
        "other source": 403,
        "other address": 401,
        "revoked": 401,
    }
    for name, status in expected.items():
        answer = push(door, b'[{"who": 1}]', {"authorization": f"Bearer {made[name]}"}, "?source=till")
        assert (name, answer.status_code) == (name, status)
        assert answer.headers["content-type"] == "application/problem+json"
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": key["authorization"][:-1] + "_"},
        {"authorization": key["authorization"].replace("Bearer", "Basic")},
    ]
    for path in ("/batch?source=till", "/stream?source=till"):
        for headers in wrong:
            answer = httpx.post(f"{door.url}{PUSH}{path}", content=b'{"who": 1}', headers=headers)
            assert answer.status_code == 401
            assert answer.json()["detail"] == "credentials are missing or do not hold"
    assert inbox.backlog().deliveries == before
    assert push(door, b'[{"who": 1}]', {"x-api-key": made["expiring"]}, "?source=till").status_code == 202

    def is_noted() -> bool:
        used = keys.find(made["expiring"].split("_")[2])
        return used is not None and used.last_used_at is not None

    until(is_noted, "the use of a key is not noted")


def test_what_is_not_there_is_not_told_from_another_tenants(door: Gateway, key: dict[str, str]) -> None:
    envelope = b'{"tenant": "other", "source": "till", "data": [{"a": 1}]}'
    answers = [
        push(door, b"[{}]", key, "?source=nobody"),
        push(door, envelope, key),
        push(door, envelope.replace(b"till", b"nobody"), key),
    ]
    assert [(a.status_code, a.json()["detail"]) for a in answers] == [
        (404, "there is no such push source")
    ] * 3


@pytest.mark.parametrize(
    ("query", "body", "headers", "status"),
    [
        ("", b"[{}]", {}, 422),
        ("", b'{"source": "till"}', {}, 422),
        ("", b'{"source": "till", "data": [{}], "more": 1}', {}, 422),
        ("", b"a,b", {"content_type": "text/csv"}, 422),
        ("?source=till&source=shop", b"[{}]", {}, 400),
        ("?source=till&stream=nothing", b"[{}]", {}, 422),
        ("?source=shop&stream=orders", b"a\n1\n", {"content_type": "text/csv"}, 415),
        ("?source=till", b"{", {}, 400),
        ("?source=till", b"<r><!DOCTYPE x></r>", {"content_type": "text/xml"}, 400),
        ("?source=till", b"<!DOCTYPE r><r/>", {"content_type": "text/xml"}, 422),
        ("?%zz", b"{}", {}, 400),
    ],
)
def test_wrong_batches_are_refused(
    door: Gateway, key: dict[str, str], query: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = push(door, body, key, query, **headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_key_that_was_used_for_another_stream_is_told_and_nothing_is_said_to_be_stored(
    door: Gateway, key: dict[str, str]
) -> None:
    """The same bytes for two streams are two deliveries: a 200 would promise what is not there."""
    body, where = b'[{"id": 77}]', "?source=shop&stream="
    first = push(door, body, key, f"{where}orders", idempotency_key="k-2")
    other = push(door, body, key, f"{where}others", idempotency_key="k-2")
    assert [a.status_code for a in (first, other)] == [202, 422]
    assert push(door, body, key, f"{where}others", idempotency_key="k-3").status_code == 202


def test_a_batch_id_that_was_used_for_another_stream_is_told(door: Gateway, key: dict[str, str]) -> None:
    headers = {**key, "x-batch-id": "two", "content-type": "application/x-ndjson"}
    url = f"{door.url}{PUSH}/stream?source=shop&stream="
    first, other = (
        httpx.post(f"{url}{n}", content=b'{"id": 78}', headers=headers) for n in ("orders", "others")
    )
    assert [first.status_code, other.status_code] == [202, 422]
    assert other.json()["detail"].startswith("this batch id was used for other lines or another stream")

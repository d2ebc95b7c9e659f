"""Deliveries by HTTP: found, paged, shown without their content, and replayed, each by its own tenant alone."""

import gzip
import itertools
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.settings import load_settings
from superinsight_sync.gateway.ids import new_id
from superinsight_sync.state import State
from superinsight_sync.state.deliveries import Wanted
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync_tests.gateway.api.served import API, Served, bearer
from superinsight_sync_tests.gateway.doors import PUSH, Gateway

INBOX = f"{API}/inbox/deliveries"


_values = itertools.count()


def push(client: httpx.Client, source: str = "till", **more: Any) -> str:
    body = [{"secret_value": next(_values)}]
    answer = client.post(f"{PUSH}/batch?source={source}{more.get('and_', '')}", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.fixture(scope="module")
def client(served: Served) -> httpx.Client:
    return served.client(bearer(served.key("admin")))


@pytest.fixture
def ids(client: httpx.Client) -> list[str]:
    """Of five deliveries to `till`, and two to `shop` in between; oldest first."""
    made = [push(client) for _ in range(3)]
    made += [push(client, "shop", and_="&stream=others") for _ in range(2)]
    return made + [push(client) for _ in range(2)]


def listed(client: httpx.Client, **asked: Any) -> list[str]:
    answer = client.get(INBOX, params=asked)
    assert answer.status_code == 200, answer.text
    return [d["id"] for d in answer.json()["deliveries"]]


def test_they_are_found_newest_first_by_source_stream_state_and_time(
    served: Served, client: httpx.Client, ids: list[str]
) -> None:
    stored = {d.id: d for d in served.inbox.list()}
    first = stored[ids[0]]
    since = {"since": first.received_at.isoformat()}
    assert listed(client, **since) == ids[::-1]
    assert listed(client, source="shop", **since) == [ids[4], ids[3]]
    assert listed(client, stream="others", **since) == [ids[4], ids[3]]
    assert listed(client, source="till", stream="others") == []
    assert listed(client, source="far") == [], "another tenant's"
    till = ("acme", "till", "sales")
    assert served.inbox.mark_landed(*till, seq=first.seq, load_id="load-1")[0] >= 1
    assert served.inbox.mark_failed(*till, ValueError("it broke")) == 4
    assert listed(client, state="landed", **since) == [ids[0]]
    assert listed(client, failed=True, **since) == [ids[6], ids[5], ids[2], ids[1]]
    assert listed(client, state="received", **since) == ids[:0:-1]
    assert listed(client, since=stored[ids[5]].received_at.isoformat()) == [ids[6], ids[5]]
    assert listed(client, since=(utc_now() + timedelta(hours=1)).isoformat()) == []
    told = client.get(f"{INBOX}/{ids[0]}").json()
    assert (told["state"], told["load_id"], told["error"]) == ("landed", "load-1", None)
    assert client.get(f"{INBOX}/{ids[1]}").json()["error"] == "it broke"


def test_pages_follow_each_other_while_more_comes_in(
    served: Served, client: httpx.Client, ids: list[str]
) -> None:
    first = served.inbox.get(ids[0])
    assert first is not None
    asked = {"limit": 2, "since": first.received_at.isoformat()}
    answer = client.get(INBOX, params=asked).json()
    seen = [d["id"] for d in answer["deliveries"]]
    newer = push(client)
    while answer["next"]:
        assert answer["next"] == answer["deliveries"][-1]["id"]
        answer = client.get(INBOX, params={**asked, "before": answer["next"]}).json()
        seen += [d["id"] for d in answer["deliveries"]]
    assert seen == ids[::-1] and newer not in seen
    assert listed(client, limit=1) == [newer]
    theirs = served.client(bearer(served.key("admin", "other")))
    assert theirs.get(INBOX, params={"before": ids[3]}).status_code == 404
    assert client.get(INBOX, params={"before": "0" * 32}).status_code == 404


def test_what_is_shown_never_holds_what_was_sent(served: Served, client: httpx.Client) -> None:
    body = {"source": "till", "data": [{"name": "Ada-in-the-body"}], "metadata": {"note": "Ada-in-the-note"}}
    delivery_id = client.post(f"{PUSH}/batch", json=body, headers={"idempotency-key": "till-9"}).json()["id"]
    for path in (INBOX, f"{INBOX}/{delivery_id}"):
        assert "Ada" not in client.get(path).text
    told = client.get(f"{INBOX}/{delivery_id}").json()
    assert (told["source"], told["stream"], told["format"], told["records"]) == ("till", "sales", "json", 1)
    assert told["key"] == "key:till-9" and len(told["sha256"]) == 64
    assert list(told["about"]) == ["by"]
    viewer = served.client(bearer(served.key("viewer")))
    assert viewer.get(f"{INBOX}/{delivery_id}").status_code == 200
    assert viewer.get(f"{INBOX}/{delivery_id}/body").status_code == 403
    assert json.loads(client.get(f"{INBOX}/{delivery_id}/body").content) == body["data"]


_PACKED = gzip.compress(mtime=0, data=b'[{"text": "short"}]')
_BIG = b'[{"text": "<script>%s"}]' % (b"x" * 300_000)


@pytest.mark.parametrize(("body", "encoding"), [(_PACKED, "gzip"), (_BIG, "identity")], ids=["packed", "big"])
def test_a_body_comes_back_as_it_came_to_the_byte(client: httpx.Client, body: bytes, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    made = client.post(f"{PUSH}/batch?source=till", content=body, headers=headers)
    answer = client.get(f"{INBOX}/{made.json()['id']}/body")
    assert answer.status_code == 200 and answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith('attachment; filename="till-')


def test_a_body_that_is_gone_is_told_so(served: Served, client: httpx.Client) -> None:
    made = client.post(f"{PUSH}/batch?source=till", json=[{"t": "y" * 70_000}]).json()["id"]
    kept = served.inbox.get(made)
    assert kept is not None
    fingerprint = kept.fingerprint
    (served.inbox.files.folder / fingerprint[:2] / fingerprint).unlink()
    answer = client.get(f"{INBOX}/{made}/body")
    assert answer.status_code == 410 and str(served.inbox.files.folder) not in answer.text


def test_a_replay_is_a_new_delivery_that_names_the_old(served: Served, client: httpx.Client) -> None:
    old = push(client)
    waits = client.post(f"{INBOX}/{old}/replay")
    assert waits.status_code == 409 and "for the first time" in waits.json()["detail"]
    stored = served.inbox.get(old)
    assert stored is not None
    served.inbox.mark_failed("acme", "till", "sales", ValueError("no room"))
    failed = client.post(f"{INBOX}/{old}/replay")
    assert (failed.status_code, failed.json()) == (202, {"id": old, "replay_of": old})
    served.inbox.mark_landed("acme", "till", "sales", seq=stored.seq, load_id="load-2")
    landed = client.post(f"{INBOX}/{old}/replay")
    assert landed.status_code == 409 and "all records" in landed.json()["detail"]
    answer = client.post(f"{INBOX}/{old}/replay", params={"all": True})
    assert answer.status_code == 202 and answer.json()["replay_of"] == old
    new = answer.json()["id"]
    assert answer.headers["location"] == f"{INBOX}/{new}"
    told = client.get(answer.headers["location"]).json()
    assert (told["replay_of"], told["state"], told["sha256"]) == (
        old,
        "received",
        client.get(f"{INBOX}/{old}").json()["sha256"],
    )
    assert served.inbox.body(new) == served.inbox.body(old)
    assert client.post(f"{INBOX}/{'0' * 32}/replay").status_code == 404


def test_who_looked_and_who_replayed_is_in_the_log(door: Gateway, state: State) -> None:
    made = state.api_keys.create("n", "admin", tenant="acme")
    with httpx.Client(base_url=door.url, headers=bearer(made)) as client:
        delivery_id = push(client)
        client.get(f"{INBOX}/{delivery_id}/body")
        inbox = Inbox(state.database, load_settings(door.environment).landing_dir)
        inbox.mark_landed("acme", "till", "sales", seq=inbox.newest(), load_id="load-3")
        client.post(f"{INBOX}/{delivery_id}/replay", params={"all": True})
        client.post(f"{API}/keys", json={"name": "n", "role": "viewer"})
    log = (door.folder / "gateway.log").read_text()
    for told in (
        f"saw the body of delivery {delivery_id}",
        f"replayed delivery {delivery_id} as",
        "made key",
    ):
        assert f"key {made.id} {told}" in log
    assert made.secret not in log


def test_another_tenants_are_as_if_they_were_not_there(served: Served, client: httpx.Client) -> None:
    mine = push(client)
    with served.client(bearer(served.key("admin", "other"))) as other:
        theirs = push(other, "far")
        assert theirs in listed(other) and mine not in listed(other)
        assert other.get(f"{API}/sources").json()["sources"][0]["name"] == "far"
        for method, path in (("GET", mine), ("GET", f"{mine}/body"), ("POST", f"{mine}/replay")):
            refused, unknown = (
                other.request(method, f"{INBOX}/{p}") for p in (path, path.replace(mine, "f" * 32))
            )
            assert refused.status_code == unknown.status_code == 404
            assert {**refused.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert theirs not in listed(client)
    with served.client(bearer(served.key("operator", sources=("shop",)))) as bound:
        assert set(listed(bound)) == set(listed(client, source="shop"))
        assert listed(bound, source="till") == []
        assert bound.get(f"{INBOX}/{mine}").status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "place"),
    [
        ("limit=0", 422, "query.limit"),
        ("limit=501", 422, "query.limit"),
        ("limit=x", 422, "query.limit"),
        ("state=lost", 422, "query.state"),
        ("stat=failed", 422, "query.stat"),
        ("since=yesterday", 422, "query.since"),
        ("since=1767225600", 422, "query.since"),
        ("since=2026-01-01T00:00:00", 422, "query.since"),
        ("since=0001-01-01T00:00:00%2B23:59", 422, "query.since"),
        ("source=%00", 422, "query.source"),
        ("source=A", 422, "query.source"),
        ("before=1", 422, "query.before"),
        ("source=a&source=b", 400, ""),
        ("source", 400, ""),
        ("source=%ff", 422, "query.source"),
    ],
)
def test_what_is_asked_wrongly_is_told_where(
    client: httpx.Client, query: str, status: int, place: str
) -> None:
    answer = client.get(f"{INBOX}?{query}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [e["at"] for e in answer.json().get("errors", [])] == ([place] if place else [])


def test_a_small_tenants_page_does_not_read_what_others_sent(served: Served) -> None:
    """Asks the database itself how it would find them."""
    writer = served.inbox.writer()
    many = [
        Delivery(new_id(), "other", "far", "things", f"k{n}", "f" * 64, "json", "", b"[]", 2, 1)
        for n in range(50)
    ]
    for delivery in many:
        writer.accept(delivery)
    writer.close()
    statements: list[tuple[str, Any]] = []

    @event.listens_for(served.state.database.engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        statements.append((statement, parameters))

    served.inbox.search(Wanted(tenant="acme", failed=True), before=10)
    served.inbox.get(many[0].id)
    event.remove(served.state.database.engine, "before_cursor_execute", note)
    plans = []
    with served.state.database.read() as connection:
        for statement, parameters in [s for s in statements if "sis_inbox" in s[0]]:
            plans.append(
                " ".join(
                    str(r) for r in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                )
            )
    assert "ix_sis_inbox_tenant_seq" in plans[0] and "TEMP B-TREE" not in plans[0]
    assert "ix_sis_inbox_id" in plans[1]

"""Numbered messages over WebSocket against a real gateway process: acknowledged once stored, each counted once."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from superinsight_sync.core.clock import utc_now
from superinsight_sync.receive.parsing import parse
from superinsight_sync.state import State
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync_tests.gateway.doors import PUSH, Gateway
from superinsight_sync_tests.waiting import until


def address(door: Gateway, session: str, query: str = "source=till") -> str:
    return f"{door.url.replace('http', 'ws', 1)}{PUSH}/ws?{query}&session={session}"


@contextmanager
def opened(
    door: Gateway, session: str, key: dict[str, str], **more: Any
) -> Iterator[tuple[ClientConnection, int]]:
    """A connection, and the number of the last message that the gateway has."""
    with connect(address(door, session), additional_headers=key, open_timeout=20, **more) as connection:
        welcome = json.loads(connection.recv(10))
        assert welcome["type"] == "welcome"
        yield connection, welcome["last"]


def message(number: int, record: Any = None) -> str:
    return json.dumps({"n": number, "data": {"n": number} if record is None else record})


def await_ack(connection: ClientConnection, number: int) -> list[dict[str, Any]]:
    """Waits until that message is acknowledged; what was told of bad ones on the way."""
    rejected: list[dict[str, Any]] = []
    while True:
        told = json.loads(connection.recv(20))
        assert told["type"] == "ack"
        rejected.extend(told.get("rejected", []))
        if told["n"] >= number:
            return rejected


def why_closed(connection: ClientConnection) -> tuple[int, str]:
    """Code and reason with which the gateway ends it; what it says before is passed over."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            connection.recv(20)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


def stored(inbox: Inbox, session: str) -> list[int]:
    """The numbers of a session's messages, in the inbox's order."""
    numbers: list[int] = []
    for found in inbox.pending(max_deliveries=10**6, max_bytes=10**12):
        for delivery, body in inbox.read(found):
            if delivery.metadata.get("session") == session:
                assert delivery.format == "ndjson"
                numbers.extend(int(r["n"]) for r in parse(body, "ndjson").records)
    return numbers


def test_messages_are_acknowledged_in_batches_and_stored_in_order(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    with opened(door, "plain", key) as (connection, last):
        assert last == 0
        for number in range(1, 3_001):
            connection.send(message(number))
        await_ack(connection, 3_000)
    assert stored(inbox, "plain") == list(range(1, 3_001))


def test_what_is_sent_again_counts_once(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    with opened(door, "again", key) as (connection, _):
        for number in (1, 2, 3, 2, 3, 1):
            connection.send(message(number))
        await_ack(connection, 3)
    with opened(door, "again", key) as (connection, last):
        assert last == 3
        for number in range(1, 6):
            connection.send(message(number))
        await_ack(connection, 5)
    with opened(door, "again", key) as (connection, last):
        assert last == 5
        connection.send(message(5))
        await_ack(connection, 5)
    assert stored(inbox, "again") == [1, 2, 3, 4, 5]


def test_bad_records_are_told_by_number_and_kept(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    with opened(door, "bad", key) as (connection, _):
        sent = [{"n": 1}, "hunter2", {"n": 3}, {"n": 4, "t": "\0"}, {"n": 5, "t": "a\nb 🚀"}]
        for number, record in enumerate(sent, start=1):
            connection.send(json.dumps({"n": number, "data": record}, indent=2))
        rejected = await_ack(connection, 5)
    assert [r["n"] for r in rejected] == [2, 4] and "hunter2" not in json.dumps(rejected)
    bodies = [inbox.body(d.id) or b"" for d in inbox.list(limit=10_000) if d.metadata.get("session") == "bad"]
    lines = [json.loads(line) for body in reversed(bodies) for line in body.split(b"\n")]
    assert lines == sent


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        ([message(1), message(3)], 4400, "messages are missing: the next one is 2"),
        (['{"n": 1, "data": NaN}'], 4400, "not a message such as"),
        (['{"n": 0, "data": {}}'], 4400, "not a message such as"),
        (['{"n": 1, "data": {}, "x": 1}'], 4400, "not a message such as"),
        (["[" * 100_000], 4400, "not a message such as"),
        ([b'{"n": 1, "data": {}}'], 4400, "messages are text, not binary"),
        ([message(1, {"t": "x" * (1 << 20)})], 4413, "message 1 has more than 1048576 bytes"),
    ],
)
def test_what_is_no_message_ends_the_connection_with_a_reason(
    door: Gateway, key: dict[str, str], sent: list[str | bytes], code: int, reason: str
) -> None:
    with opened(door, "none", key) as (connection, _):
        for text in sent:
            connection.send(text)
        told = why_closed(connection)
    assert told[0] == code and told[1].startswith(reason)


def test_a_message_that_is_far_too_long_is_not_read_to_its_end(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    with opened(door, "long", key) as (connection, _):
        connection.send(message(1))
        await_ack(connection, 1)
        with pytest.raises(ConnectionClosed) as ended:
            connection.send(message(2, {"t": "x" * (1 << 24)}))
            connection.recv(20)
        assert ended.value.rcvd is None or ended.value.rcvd.code == 1009
    assert stored(inbox, "long") == [1]


def test_what_came_before_a_broken_message_is_acknowledged(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    with opened(door, "before", key) as (connection, _):
        for number in range(1, 101):
            connection.send(message(number))
        connection.send("hunter2")
        last = 0
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                last = json.loads(connection.recv(10))["n"]
        assert ended.value.rcvd is not None and "hunter2" not in ended.value.rcvd.reason
    assert last == 100 and stored(inbox, "before") == list(range(1, 101))


def refused(door: Gateway, session: str, headers: dict[str, str], query: str = "source=till") -> int:
    """The status of a handshake that does not succeed."""
    with pytest.raises(InvalidStatus) as told:
        connect(address(door, session, query), additional_headers=headers, open_timeout=20)
    answer = told.value.response
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"without completing handshake" not in (door.folder / "gateway.log").read_bytes()
    assert json.loads(answer.body or b"")["status"] == answer.status_code
    return answer.status_code


def test_who_may_not_push_is_refused_at_the_handshake(
    door: Gateway, state: State, key: dict[str, str]
) -> None:
    keys = state.api_keys
    other = keys.create("other", "pusher", tenant="rival").text
    reader = keys.create("reader", "viewer", tenant="acme").text
    bound = keys.create("bound", "pusher", tenant="acme", sources=("shop",)).text
    ends_at = utc_now() + timedelta(seconds=0.2)
    short = keys.create("short", "pusher", tenant="acme", not_after=ends_at).text
    until(lambda: utc_now() > ends_at, "time passes")
    wrong = key["authorization"][:-1] + ("A" if key["authorization"][-1] != "A" else "B")
    cases = {
        wrong: 401,
        f"Bearer {short}": 401,
        f"Bearer {other}": 404,
        f"Bearer {reader}": 403,
        f"Bearer {bound}": 403,
    }
    for credential, status in cases.items():
        assert refused(door, "who", {"authorization": credential}) == status
    assert refused(door, "who", key, "source=nowhere") == 404
    assert refused(door, "who", key, "source=shop&stream=none") == 422
    assert refused(door, "a.b", key) == 400
    assert refused(door, "", {}) == 400


def test_a_browser_proves_itself_by_its_first_message(
    door: Gateway, inbox: Inbox, key: dict[str, str], state: State
) -> None:
    text = key["authorization"].removeprefix("Bearer ")
    rival = state.api_keys.create("rival", "pusher", tenant="rival").text
    with connect(address(door, "browser"), subprotocols=["sis.push.v1"]) as connection:  # type: ignore[list-item]
        assert connection.subprotocol == "sis.push.v1"
        connection.send(json.dumps({"auth": text}))
        assert json.loads(connection.recv(10)) == {
            "type": "welcome", "last": 0, "window": 1_000, "record_bytes": 1 << 20,
        }  # fmt: skip
        connection.send(message(1))
        await_ack(connection, 1)
    assert stored(inbox, "browser") == [1]
    for first, code in (
        (json.dumps({"auth": text[:-1] + "!"}), 4401),
        (json.dumps({"auth": rival}), 4404),
        (json.dumps({"auth": "\u00e9\n"}), 4401),
        (message(1), 4400),
        (b"x", 4400),
    ):
        with connect(address(door, "browser")) as connection:
            connection.send(first)
            assert why_closed(connection)[0] == code
    with connect(address(door, "browser")) as connection:
        assert why_closed(connection) == (4401, "no key came in time")


def test_a_newer_connection_takes_a_session_over(door: Gateway, inbox: Inbox, key: dict[str, str]) -> None:
    with opened(door, "over", key) as (older, _):
        for number in range(1, 501):
            older.send(message(number))
        with opened(door, "over", key) as (newer, last):
            assert why_closed(older) == (4409, "another connection goes on with this session")
            for number in range(last + 1, 601):
                newer.send(message(number))
            await_ack(newer, 600)
    assert stored(inbox, "over") == list(range(1, 601))
    with (
        opened(
            door,
            "over",
            key,
        ) as (same, last),
        connect(address(door, "over", "source=shop&stream=others"), additional_headers=key) as elsewhere,
    ):
        assert last == 600 and json.loads(elsewhere.recv(10))["last"] == 0, "a session is of one stream"
        same.send(message(601))
        await_ack(same, 601)


def test_two_that_send_one_session_at_two_gateways_do_not_mix(
    door: Gateway, inbox: Inbox, key: dict[str, str]
) -> None:
    """What the other gateway stored in the meantime stays; who comes second is told to look again."""
    body = b'{"n": 1}\n{"n": 2}\n{"n": 3}'
    other = Delivery(
        uuid.uuid4().hex, "acme", "till", "sales", f"ws:sales:clash:{1:015d}", hashlib.sha256(body).hexdigest(),
        "ndjson", "", body, len(body), 3, '{"session": "clash", "first": 1, "last": 3}',
    )  # fmt: skip
    with opened(door, "clash", key) as (connection, last):
        assert last == 0 and inbox.accept(other).kind == "stored"
        connection.send(message(1))
        assert why_closed(connection) == (4409, "another connection sends this session")
    with opened(door, "clash", key) as (connection, last):
        assert last == 3
        connection.send(message(4))
        await_ack(connection, 4)
    assert stored(inbox, "clash") == [1, 2, 3, 4]

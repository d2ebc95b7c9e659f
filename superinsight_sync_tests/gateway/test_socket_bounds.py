"""What a connection may take of the gateway: memory, time, places; and for how long its key is believed."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from superinsight_sync.gateway import sessions
from superinsight_sync.gateway.app import Bounds
from superinsight_sync.gateway.wire_sockets import UNPROVED_BYTES, Socket
from superinsight_sync.security.access import Access
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync.state import State
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import PUSH, Gateway
from superinsight_sync_tests.gateway.drills import held
from superinsight_sync_tests.gateway.test_hostile import resident_mb
from superinsight_sync_tests.gateway.test_sockets import await_ack, message, opened, stored, why_closed
from superinsight_sync_tests.waiting import until

Started = Callable[..., str]


def join(url: str, session: str, near: State, query: str = "source=till") -> ClientConnection:
    key = near.api_keys.create("near", "pusher", tenant="acme").text
    return connect(
        f"{url.replace('http', 'ws', 1)}{PUSH}/ws?{query}&session={session}",
        additional_headers={"authorization": f"Bearer {key}"},
    )


def test_a_flood_stays_with_its_sender_while_the_disk_is_slow(
    door: Gateway, state: State, inbox: Inbox, key: dict[str, str]
) -> None:
    assert door.process is not None
    pad, sent, before_mb = "x" * 10_000, 0, resident_mb(door.process.pid)
    with opened(door, "flood", key, close_timeout=1) as (connection, _):
        with held(state):

            def flood() -> None:
                nonlocal sent
                for number in range(1, 8_001):
                    connection.send(message(number, {"n": number, "pad": pad}))
                    sent = number

            def cannot_send_on() -> bool:
                before = sent
                threading.Event().wait(1)
                return 0 < before == sent

            flooding = threading.Thread(target=flood)
            flooding.start()
            until(cannot_send_on, "it can send on and on")
            assert sent < 4_000
            assert resident_mb(door.process.pid) - before_mb < 30
        last = 0
        while last < 8_000:
            last = json.loads(connection.recv(20))["n"]
        flooding.join()
    assert stored(inbox, "flood") == list(range(1, 8_001))
    assert resident_mb(door.process.pid) - before_mb < 60


def test_who_does_not_read_its_acknowledgements_is_not_read_either(
    door: Gateway, key: dict[str, str]
) -> None:
    """Each repeat asks for an acknowledgement; none of them may pile up."""
    assert door.process is not None
    with opened(door, "deaf", key, max_queue=1, close_timeout=0.2) as (connection, _):
        connection.send(message(1))
        before_mb = resident_mb(door.process.pid)
        connection.socket.settimeout(2)
        with suppress(TimeoutError, ConnectionClosed, OSError):
            for _ in range(100_000):
                connection.send(message(1))
        assert resident_mb(door.process.pid) - before_mb < 20
    with opened(door, "deaf", key) as (_, last):
        assert last == 1


def test_a_revoked_key_ends_its_connections(
    served: Started, near: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PROVED_S", 0.0)
    from superinsight_sync.security.access import AccessRules

    url = served(access=Access(near.api_keys, rules=AccessRules(remembered_s=0.0)))
    key = near.api_keys.create("soon gone", "pusher", tenant="acme")
    where = f"{url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=revoked"
    with connect(where, additional_headers={"authorization": f"Bearer {key.text}"}) as connection:
        connection.recv(10)
        connection.send(message(1))
        await_ack(connection, 1)
        near.api_keys.revoke(key.id)
        connection.send(message(2))
        assert why_closed(connection) == (4401, "credentials are missing or do not hold")
    with join(url, "revoked", near) as connection:
        assert json.loads(connection.recv(10))["last"] == 1


def test_silent_and_too_many_connections_are_ended(
    served: Started, near: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "IDLE_S", 0.4)
    url = served(bounds=Bounds(sockets=2))
    silent = f"{url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=silent"
    with connect(silent):
        with pytest.raises(InvalidStatus) as told:
            connect(silent)
        assert told.value.response.status_code == 503
    with join(url, "one", near) as connection, connect(silent):
        with pytest.raises(InvalidStatus) as told:
            join(url, "two", near)
        assert told.value.response.status_code == 503 and told.value.response.headers["retry-after"] == "5"
        assert why_closed(connection) == (4408, "no message for 0 seconds")
    with join(url, "two", near) as connection:
        connection.recv(10)


def test_who_does_not_answer_pings_is_gone(served: Started, near: State) -> None:
    def configure(config: object) -> None:
        config.ws_ping_interval = config.ws_ping_timeout = 0.3  # type: ignore[attr-defined]

    url = served(configure)
    key = near.api_keys.create("mute", "pusher", tenant="acme").text
    request = (
        f"GET {PUSH}/ws?source=till&session=mute HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\nauthorization: Bearer {key}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as mute:
        mute.sendall(request.encode())
        mute.settimeout(300)
        got = b""
        while part := mute.recv(4096):
            got += part
    assert got.startswith(b"HTTP/1.1 101") and b"keepalive ping timeout" in got


def test_a_tenant_with_a_rate_sends_at_that_rate(served: Started, near: State) -> None:
    url = served(rate=RateLimit(2, 2))
    with join(url, "rate", near) as connection:
        connection.recv(10)
        began = time.monotonic()
        for number in range(1, 6):
            connection.send(message(number))
            await_ack(connection, number)
        assert time.monotonic() - began > 1, "it waits, and is not thrown out"


def test_too_much_that_waits_to_be_landed_ends_the_connection(served: Started, near: State) -> None:
    url = served()
    with join(url, "wait", near, "source=shop&stream=others") as connection:
        connection.recv(10)
        with pytest.raises(ConnectionClosed) as ended:
            for number in range(1, 3_000):
                connection.send(message(number))
                await_ack(connection, number)
                threading.Event().wait(0.1)
    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (
        4429, "too much of this source waits to be landed",
    )  # fmt: skip


def test_random_frames_do_no_harm(door: Gateway, key: dict[str, str]) -> None:
    assert door.process is not None
    before_mb = resident_mb(door.process.pid)
    pieces = [
        message(1).encode(),
        b"{",
        b'{"n":1e9,"data":1}',
        b'{"n":2,"data":',
        b"\xff",
        b"[" * 3_000,
        b'"\\ud800"',
    ]
    for number in range(150):
        with (
            suppress(ConnectionClosed),
            opened(door, f"r{number % 7}", key, close_timeout=1) as (connection, _),
        ):
            for _ in range(5):
                noise = pieces[os.urandom(1)[0] % len(pieces)] + os.urandom(os.urandom(1)[0] % 4)
                connection.send(noise, text=number % 3 != 0)
            connection.recv(2)
    assert resident_mb(door.process.pid) - before_mb < 20
    with opened(door, "after", key) as (connection, _):
        connection.send(message(1))
        await_ack(connection, 1)


@pytest.mark.parametrize(
    "frame", [b"\x00\x81abcd\x00", b"\x89\x81abcd\x00", b"\x8a\x80abcd"], ids=["parts", "pings", "pongs"]
)
def test_who_has_proved_nothing_is_cut_off_after_some_bytes_in_whatever_frames(
    served: Started, near: State, monkeypatch: pytest.MonkeyPatch, frame: bytes
) -> None:
    looked_at = 0
    handle = Socket.data_received

    def counted(self: Socket, data: bytes) -> None:
        nonlocal looked_at
        handle(self, data)
        looked_at += 0 if self.transport.is_closing() else len(data)

    monkeypatch.setattr(Socket, "data_received", counted)
    url = served()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"GET {PUSH}/ws?source=till&session=flood HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b"101 Switching" in connection.recv(4_096)
        connection.settimeout(20)
        with pytest.raises((ConnectionError, BrokenPipeError)):
            connection.sendall(b"\x01\x81abcd\x00")
            for _ in range(900):
                connection.sendall(frame * 1_000)
    assert looked_at <= UNPROVED_BYTES + 4_096
    with join(url, "after", near) as fine:
        assert json.loads(fine.recv(20))["type"] == "welcome"
        fine.send(message(1))
        await_ack(fine, 1)

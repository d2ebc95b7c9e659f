"""The gateway is killed while numbered messages stream in: what it acknowledged is in the inbox, once, in order."""

import json
import signal
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from superinsight_sync.core.settings import load_settings
from superinsight_sync.receive.parsing import parse
from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.doors import PUSH, Gateway, gateway
from superinsight_sync_tests.gateway.test_drills import HOLD_S, held

KILLS = 50 if LONG else 10
PRODUCERS = 4
IN_FLIGHT = 400


class Producer(threading.Thread):
    """Sends a session's messages, and after every break those again that were not acknowledged."""

    def __init__(self, number: int, doors: list[Gateway], key: str, stop: threading.Event) -> None:
        super().__init__()
        self.name_of_session, self.doors, self.key, self.stop = f"drill-{number}", doors, key, stop
        self.sent = self.acknowledged = self.breaks = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            door = self.doors[self.breaks % len(self.doors)]
            url = f"{door.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session={self.name_of_session}"
            try:
                with connect(url, additional_headers={"authorization": f"Bearer {self.key}"}) as connection:
                    self.talk(connection)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError):
                self.breaks += 1
                time.sleep(0.02)

    def talk(self, connection: ClientConnection) -> None:
        last = json.loads(connection.recv(20))["last"]
        if last < self.acknowledged:
            self.wrong.append(f"{self.acknowledged} was acknowledged, and {last} is known")
        if last > self.sent:
            self.wrong.append(f"{last} is known, and {self.sent} was sent")
        waiting = deque(range(self.acknowledged + 1, self.sent + 1))  # on purpose from too early on
        self.acknowledged = max(last, self.acknowledged)
        while not self.stop.is_set() or self.acknowledged < self.sent:
            while waiting or (self.sent - self.acknowledged < IN_FLIGHT and not self.stop.is_set()):
                if waiting:
                    number = waiting.popleft()
                else:
                    number = self.sent = self.sent + 1
                connection.send(json.dumps({"n": number, "data": {"n": number, "pad": "x" * (number % 300)}}))
            told = json.loads(connection.recv(20))
            if told["n"] > self.sent:
                self.wrong.append(f"{told['n']} is acknowledged, and {self.sent} was sent")
            self.acknowledged = max(self.acknowledged, told["n"])


def check(inbox: Inbox, producers: list[Producer]) -> int:
    """Every session from 1 on without gap, repeat or disorder, at least as far as was acknowledged."""
    stored: dict[str, list[int]] = {p.name_of_session: [] for p in producers}
    for found in inbox.pending(max_deliveries=10**6, max_bytes=10**12):
        for delivery, body in inbox.read(found):
            stored[delivery.metadata["session"]].extend(int(r["n"]) for r in parse(body, "ndjson").records)
    for producer in producers:
        numbers = stored[producer.name_of_session]
        assert producer.wrong == []
        assert numbers == list(range(1, len(numbers) + 1))
        assert producer.acknowledged <= len(numbers) <= producer.sent
    return sum(map(len, stored.values()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kill_9_loses_no_acknowledged_message(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_server").create_database() if kind == "postgres" else None
    door = gateway(tmp_path, url)
    door.start()
    settings = load_settings(door.environment)
    state = open_state(settings.database_url)
    key = state.api_keys.create("drill", "pusher", tenant="acme").text
    stop = threading.Event()
    producers = [Producer(n, [door], key, stop) for n in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    for kill in range(KILLS):
        time.sleep(HOLD_S)
        with held(state) if kill % 2 == 0 else nullcontext():
            # While nothing can be committed, an acknowledgement given too early has time to be given.
            time.sleep(0.3)
            door.end(signal.SIGKILL)
        door.start()
    time.sleep(HOLD_S)
    stop.set()
    for producer in producers:
        producer.join(30)
    assert door.end() == 0
    count = check(Inbox(state.database, settings.landing_dir), producers)
    assert count > 1_000 and all(p.acknowledged == p.sent for p in producers)
    assert all(p.breaks >= KILLS for p in producers), "nobody noticed a kill: the drill drilled nothing"
    state.close()


@pytest.mark.slow
def test_sessions_wander_between_two_gateways(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from superinsight_sync_tests.servers.ports import free_port

    first = gateway(tmp_path, request.getfixturevalue("postgres_server").create_database())
    first.start()
    second = Gateway(first.folder, free_port(), dict(first.environment))
    second.start()
    settings = load_settings(first.environment)
    state = open_state(settings.database_url)
    key = state.api_keys.create("drill", "pusher", tenant="acme").text
    stop = threading.Event()
    producers = [
        Producer(n, [first, second] if n % 2 else [second, first], key, stop) for n in range(PRODUCERS)
    ]
    for producer in producers:
        producer.start()
    for victim in (first, second):
        time.sleep(HOLD_S)
        victim.end(signal.SIGKILL)
        time.sleep(HOLD_S)
        victim.start()
    stop.set()
    for producer in producers:
        producer.join(30)
    first.end()
    second.end()
    assert check(Inbox(state.database, settings.landing_dir), producers) > 1_000
    state.close()


@pytest.mark.slow
def test_a_gateway_that_stops_acknowledges_what_it_took(tmp_path: Path) -> None:
    door = gateway(tmp_path)
    door.start()
    settings = load_settings(door.environment)
    state = open_state(settings.database_url)
    key = state.api_keys.create("stop", "pusher", tenant="acme").text
    url = f"{door.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=stop"
    with connect(url, additional_headers={"authorization": f"Bearer {key}"}) as connection:
        connection.recv(10)
        with held(state):
            for number in range(1, 301):
                connection.send(json.dumps({"n": number, "data": {"n": number}}))
            time.sleep(2)
            assert door.process is not None
            door.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        last = 0
        with pytest.raises(ConnectionClosed) as ended, suppress(TimeoutError):
            while True:
                last = json.loads(connection.recv(20))["n"]
    assert ended.value.rcvd is not None
    assert (last, ended.value.rcvd.code) == (300, 1012)
    assert ended.value.rcvd.reason == "the gateway is stopping. Connect again"
    assert door.end() == 0
    (found,) = Inbox(state.database, settings.landing_dir).pending()
    assert found.records == 300
    state.close()

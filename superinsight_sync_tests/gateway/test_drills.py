"""The gateway is killed under load: what it acknowledged is in the inbox, once, in each sender's order."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.doors import HOOK, Gateway, gateway, signed
from superinsight_sync_tests.waiting import until

KILLS = 50 if LONG else 10
SENDERS = 8
HOLD_S = 0.7


class Sender(threading.Thread):
    """Sends numbered webhooks one after the other, each until it is acknowledged."""

    def __init__(self, number: int, doors: list[Gateway], stop: threading.Event) -> None:
        super().__init__()
        self.number, self.doors, self.stop = number, doors, stop
        self.acknowledged: list[str] = []
        self.repeats = 0
        self.unexpected: list[int] = []

    def run(self) -> None:
        at = 0
        clients = [httpx.Client(base_url=door.url, timeout=10) for door in self.doors]
        while not self.stop.is_set():
            name = f"s{self.number}_{len(self.acknowledged)}"
            pad = "x" * (70_000 if len(self.acknowledged) % 50 == 7 else 100)
            body = b'{"type": "order.n", "name": "%s", "pad": "%s"}' % (name.encode(), pad.encode())
            while not self.stop.is_set():
                try:
                    answer = clients[at % len(clients)].post(
                        f"{HOOK}/shop", content=body, headers=signed(body, name)
                    )
                except httpx.TransportError:
                    self.repeats += 1
                    at += 1
                    time.sleep(0.02)
                    continue
                if answer.status_code in (200, 202):
                    self.acknowledged.append(name)
                    break
                if answer.status_code != 503:
                    self.unexpected.append(answer.status_code)
                at += 1
                time.sleep(0.05)
        for client in clients:
            client.close()


@contextmanager
def held(state: State) -> Iterator[None]:
    """As long as this lasts nobody can write to the inbox."""
    with state.database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE sis_inbox IN ACCESS EXCLUSIVE MODE"))
        yield


def check(inbox: Inbox, senders: list[Sender]) -> None:
    stored: list[str] = []
    for found in inbox.pending(max_deliveries=10**6, max_bytes=10**12):
        stored.extend(d.key.removeprefix("webhook:") for d, _ in inbox.read(found))
    counts = Counter(stored)
    assert [n for n, c in counts.items() if c > 1] == []
    for sender in senders:
        assert sender.unexpected == []
        assert [n for n in sender.acknowledged if n not in counts] == []
        mine = [int(n.split("_")[1]) for n in stored if n.startswith(f"s{sender.number}_")]
        assert mine == sorted(mine)
        assert len(mine) - len(sender.acknowledged) in (0, 1), "at most the last one was not answered"


def goes_on(senders: "list[Sender]") -> None:
    """Waits until more is acknowledged than now."""
    before = sum(len(s.acknowledged) for s in senders)
    until(lambda: sum(len(s.acknowledged) for s in senders) > before, "nothing is accepted any more", 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kill_9_loses_nothing_that_was_acknowledged(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_server").create_database() if kind == "postgres" else None
    door = gateway(tmp_path, url)
    door.start()
    stop = threading.Event()
    senders = [Sender(n, [door], stop) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    state = open_state(load_settings(door.environment).database_url)
    for kill in range(KILLS):
        time.sleep(HOLD_S)
        with held(state) if kill % 2 == 0 else nullcontext():
            # While nothing can be committed, an answer given too early has time to be given.
            time.sleep(0.3)
            door.end(signal.SIGKILL)
        door.start()
    time.sleep(HOLD_S)
    stop.set()
    for sender in senders:
        sender.join()
    door.end()
    settings = load_settings(door.environment)
    check(Inbox(open_state(settings.database_url).database, settings.landing_dir), senders)
    assert sum(len(s.acknowledged) for s in senders) > 100
    assert sum(s.repeats for s in senders) >= KILLS, "nobody noticed a kill: the drill drilled nothing"


@pytest.mark.slow
def test_one_of_two_gateways_is_killed_and_nobody_loses(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_server").create_database()
    first = gateway(tmp_path, url)
    first.start()
    second = Gateway(first.folder, first.port, dict(first.environment))
    from superinsight_sync_tests.servers.ports import free_port

    second.port = free_port()
    second.start()
    stop = threading.Event()
    senders = [Sender(n, [first, second] if n % 2 else [second, first], stop) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    for victim in (first, second):
        time.sleep(HOLD_S)
        victim.end(signal.SIGKILL)
        goes_on(senders)
        victim.start()
    stop.set()
    for sender in senders:
        sender.join()
    first.end()
    second.end()
    settings = load_settings(first.environment)
    check(Inbox(open_state(settings.database_url).database, settings.landing_dir), senders)


@pytest.mark.slow
def test_postgresql_restarts_under_load_and_no_acknowledgement_is_false(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from superinsight_sync_tests.servers.postgres import running_postgres

    with running_postgres() as server:
        door = gateway(tmp_path, server.create_database())
        door.start()
        stop = threading.Event()
        senders = [Sender(n, [door], stop) for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        for _ in range(2):
            time.sleep(HOLD_S)
            server.stop()
            time.sleep(0.3)
            server.start()
        time.sleep(2 * HOLD_S)
        answered = sum(len(s.acknowledged) for s in senders)
        stop.set()
        for sender in senders:
            sender.join()
        door.end()
        assert answered > 100
        settings = load_settings(door.environment)
        state = open_state(settings.database_url)
        check(Inbox(state.database, settings.landing_dir), senders)
        state.close()

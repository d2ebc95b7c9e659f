"""Realtime streams land while gateway and drain are killed: what was acknowledged is in the lake, once, in order."""

import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.doors import PUSH, SIS, Gateway, gateway
from superinsight_sync_tests.servers.process import dying_with_us
from superinsight_sync_tests.waiting import until

KILLS = 10 if LONG else 2
CLICKS = TableRef("acme", "till", "clicks", "raw")
DECLARED = """
type: superinsight_sync.PushSource
attributes:
  name: till
  tenant: acme
  streams:
    - {name: clicks, realtime: true, columns: {n: int64, by: int64}}
"""


class Drain:
    """`sis drain` as a user starts it."""

    def __init__(self, door: Gateway) -> None:
        environment = {**os.environ, **door.environment, "DAGSTER_HOME": str(door.folder)}
        self.log = door.folder / f"drain-{uuid.uuid4().hex}.log"
        self.process = subprocess.Popen(
            dying_with_us([*SIS, "drain", "--json"]),
            cwd=door.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.log.open("ab"),
        )

    def is_ready(self) -> bool:
        """Whether it drains, and finishes what it has begun when it is told to stop."""
        return b"draining" in self.log.read_bytes()

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=300)


class Sender(threading.Thread):
    """Sends numbered records one after the other, each until it is acknowledged."""

    def __init__(self, by: int, door: Gateway, headers: dict[str, str], stop: threading.Event) -> None:
        super().__init__()
        self.by, self.door, self.headers, self.stop = by, door, headers, stop
        self.acknowledged = self.refused = 0
        self.unexpected: list[int] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.door.url, timeout=60, headers=self.headers) as client:
            while not self.stop.is_set():
                key = {"idempotency-key": f"{self.by}-{self.acknowledged}"}
                record = {"by": self.by, "n": self.acknowledged}
                try:
                    answer = client.post(f"{PUSH}/batch?source=till", json=record, headers=key)
                except httpx.TransportError:
                    self.refused += 1
                    self.stop.wait(0.05)
                    continue
                if answer.status_code in (200, 202):
                    self.acknowledged += 1
                elif answer.status_code == 503:
                    self.refused += 1
                else:
                    self.unexpected.append(answer.status_code)
                self.stop.wait(0.005)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Gateway]:
    made = gateway(tmp_path, declared=DECLARED)
    made.start()
    yield made
    made.end()


@pytest.fixture
def engine(door: Gateway) -> Engine:
    return open_engine("test", load_settings(door.environment))


@pytest.fixture
def headers(engine: Engine) -> dict[str, str]:
    text = engine.state.api_keys.create("till", "pusher", tenant="acme").text
    return {"authorization": f"Bearer {text}"}


def waits(engine: Engine) -> int:
    return Inbox(engine.state.database, engine.settings.landing_dir).backlog().deliveries


def landed(engine: Engine) -> dict[int, list[int]]:
    rows = engine.lake.scan(CLICKS).read_all().to_pylist()
    rows.sort(key=lambda r: r["_sis_seq"])
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row["by"], []).append(row["n"])
    return found


def rows_landed(engine: Engine) -> int:
    return engine.lake.count(CLICKS) if engine.lake.exists(CLICKS) else 0


def test_killed_drains_and_gateways_lose_and_repeat_nothing(
    door: Gateway, engine: Engine, headers: dict[str, str]
) -> None:
    stop = threading.Event()
    senders = [Sender(by, door, headers, stop) for by in range(3)]
    drains = [Drain(door), Drain(door)]
    for sender in senders:
        sender.start()

    def goes_on() -> None:
        """Waits until every sender has more acknowledged, and more is in the lake."""
        wanted, rows = [s.acknowledged + 20 for s in senders], rows_landed(engine)
        until(
            lambda: (
                all(s.acknowledged >= w for s, w in zip(senders, wanted, strict=True))
                and rows_landed(engine) > rows
            ),
            "nothing lands any more",
        )

    for kill in range(KILLS):
        goes_on()
        assert drains[kill % 2].end(signal.SIGKILL) == -9
        if kill % 2:
            door.end(signal.SIGKILL)
            door.start()
        drains[kill % 2] = Drain(door)
    goes_on()
    stop.set()
    for sender in senders:
        sender.join()
    until(lambda: waits(engine) == 0, drains[0].log.read_text())
    until(lambda: all(d.is_ready() for d in drains), "a drain does not begin")
    assert [d.end(signal.SIGTERM) for d in drains] == [0, 0]
    assert landed(engine) == {s.by: list(range(s.acknowledged)) for s in senders}
    assert min(s.acknowledged for s in senders) > 50


def test_what_is_pushed_lands_without_another_push(
    door: Gateway, engine: Engine, headers: dict[str, str]
) -> None:
    """Nothing waits for anything else than the next look. `benchmarks/drain.py` measures how soon that is."""
    drain = Drain(door)
    with httpx.Client(base_url=door.url, headers=headers) as client:
        for n in range(8):
            client.post(f"{PUSH}/batch?source=till", json={"n": n, "by": 0}).raise_for_status()
            until(lambda: waits(engine) == 0, "what was pushed does not land")
    assert drain.end(signal.SIGTERM) == 0
    inbox = Inbox(engine.state.database, engine.settings.landing_dir)
    assert len([d for d in inbox.list() if d.marked_at is not None]) == 8
    assert landed(engine) == {0: list(range(8))}

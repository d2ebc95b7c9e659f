"""What drills share: gateways that are killed while senders push, and what is in the lake in the end."""

import json
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.state import State
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.doors import DECLARED, HOOK, PUSH, Gateway, gateway, signed
from superinsight_sync_tests.gateway.test_short_way import connected, written
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.waiting import until

KILLS = 50 if LONG else 3
IN_FLIGHT = 400
# Without a key every record is a row: one that landed twice is there twice.
ROWS = DECLARED.replace("primary_key: [id], ", "")


@contextmanager
def held(state: State) -> Iterator[None]:
    """As long as this lasts nobody can write to the inbox."""
    with state.database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE sis_inbox IN ACCESS EXCLUSIVE MODE"))
        yield


class Numbered(threading.Thread):
    """Sends numbered records until it is told to stop. `urls`: where to; after a break at the next one.

    Attributes:
        acknowledged: so many, from number 1 on, were. breaks: connections that were cut or refused.
        refused: how often the gateway said that it cannot now.
        wrong: what must not have been answered.
    """

    most_open = 1
    """So many more may have been stored than were acknowledged."""

    def __init__(self, by: int, urls: Sequence[str], stop: threading.Event) -> None:
        super().__init__()
        self.by, self.urls, self.stop = by, urls, stop
        self.acknowledged = self.breaks = self.refused = 0
        self.wrong: list[str] = []

    @property
    def url(self) -> str:
        return self.urls[self.breaks % len(self.urls)]


class Hooks(Numbered):
    """Sends webhooks one after the other, each until it is acknowledged: even ones' in one piece, which is the
    gateway's short way, odd ones' as any HTTP client does.

    Args:
        again: whether it goes on after a break.
    """

    def __init__(self, by: int, urls: Sequence[str], stop: threading.Event, *, again: bool = True) -> None:
        super().__init__(by, urls, stop)
        self.again = again

    def run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self.stop.is_set():
                try:
                    self._talk(client)
                except (OSError, HTTPException, httpx.TransportError):
                    if not self.again:
                        return
                    self.breaks += 1
                    self.stop.wait(0.05)

    def _talk(self, client: httpx.Client) -> None:
        if self.by % 2:
            while not self.stop.is_set():
                body, headers = self._next()
                answer = client.post(f"{self.url}{HOOK}/shop", content=body, headers=headers)
                self._took(answer.status_code)
            return
        with connected(self.url) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.stop.is_set():
                body, headers = self._next()
                connection.sendall(written(body, headers))
                answer = HTTPResponse(connection, method="POST")
                answer.begin()
                answer.read()
                self._took(answer.status)

    def _next(self) -> tuple[bytes, dict[str, str]]:
        n = self.acknowledged + 1
        pad = "x" * (70_000 if n % 50 == 7 else 100)
        body = json.dumps({"type": "order.n", "by": self.by, "n": n, "pad": pad}).encode()
        return body, signed(body, f"s{self.by}_{n}")

    def _took(self, status: int) -> None:
        if status in (200, 202):
            self.acknowledged += 1
        elif status == 503:
            self.refused += 1
            self.stop.wait(0.05)
        else:
            self.wrong.append(f"answered {status}")


class Messages(Numbered):
    """Sends a session's messages, and after every break those again that were not acknowledged."""

    most_open = IN_FLIGHT

    def __init__(self, by: int, urls: Sequence[str], stop: threading.Event, key: str) -> None:
        super().__init__(by, urls, stop)
        self.key, self.sent = key, 0

    def run(self) -> None:
        while not self.stop.is_set():
            url = f"{self.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=drill-{self.by}"
            try:
                with connect(url, additional_headers={"authorization": f"Bearer {self.key}"}) as connection:
                    self._talk(connection)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError):
                self.breaks += 1
                self.stop.wait(0.02)

    def _talk(self, connection: ClientConnection) -> None:
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
                data = {"by": self.by, "n": number, "pad": "x" * (number % 300)}
                connection.send(json.dumps({"n": number, "data": data}))
            told = json.loads(connection.recv(20))
            if told["n"] > self.sent:
                self.wrong.append(f"{told['n']} is acknowledged, and {self.sent} was sent")
            self.acknowledged = max(self.acknowledged, told["n"])
            self.stop.wait(0.05)  # what is sent has to be landed too


@dataclass
class Drill:
    """Gateways on one inbox, what is sent to them, and the engine that lands it."""

    doors: list[Gateway]
    engine: Engine
    stop: threading.Event = field(default_factory=threading.Event)
    senders: list[Numbered] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        return [door.url for door in self.doors]

    def key(self) -> str:
        return self.engine.state.api_keys.create("drill", "pusher", tenant="acme").text

    @contextmanager
    def sending(self, *senders: Numbered) -> Iterator[None]:
        """They send as long as this lasts; what is open then is waited for."""
        self.senders = list(senders)
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            self.stop.set()
            for sender in senders:
                sender.join(300)

    def kill(self, times: int = KILLS) -> None:
        """Kills the gateways in turns, under load, and starts each again. With several, the others go on meanwhile."""
        for number in range(times):
            victim = self.doors[number % len(self.doors)]
            self.goes_on()
            with held(self.engine.state) if number % 2 == 0 else nullcontext():
                # While nothing can be committed, an answer given too early has time to be given.
                victim.answers_others()
                victim.end(signal.SIGKILL)
            if len(self.doors) > 1:
                self.goes_on()
            victim.start()
        self.goes_on()

    def goes_on(self, times: int = 20) -> None:
        """Waits until of every sender so many more are acknowledged than now."""
        wanted = [sender.acknowledged + times for sender in self.senders]
        until(
            lambda: all(s.acknowledged >= w for s, w in zip(self.senders, wanted, strict=True)),
            "nothing is accepted any more",
        )

    @property
    def acknowledged(self) -> int:
        return sum(sender.acknowledged for sender in self.senders)

    def check(self) -> int:
        """Ends the gateways, lands all, and holds what is in the lake against what was acknowledged; how many
        records are there."""
        assert [sender.is_alive() for sender in self.senders] == [False] * len(self.senders)
        assert [door.end() for door in self.doors] == [0] * len(self.doors)
        count = 0
        for kind, source, stream in ((Hooks, "shop", "orders"), (Messages, "till", "sales")):
            mine = [sender for sender in self.senders if isinstance(sender, kind)]
            found: dict[int, list[int]] = {sender.by: [] for sender in mine}
            for row in self._landed(source, stream) if mine else ():
                found[row["by"]].append(row["n"])
            for sender in mine:
                numbers = found[sender.by]
                assert sender.wrong == []
                assert numbers == list(range(1, len(numbers) + 1)), (
                    "one is missing, twice there, or out of order"
                )
                assert sender.acknowledged <= len(numbers) <= sender.acknowledged + sender.most_open
                count += len(numbers)
        return count

    def _landed(self, source: str, stream: str) -> list[dict[str, Any]]:
        engine = self.engine
        push = load_project(engine.settings).push_sources[source]
        while engine.inbox.pending("acme", source):
            pull_stream(engine, push.landed, push.landed.stream(stream))
        rows = engine.lake.scan(TableRef("acme", source, stream, "raw")).read_all().to_pylist()
        # Within one delivery no column tells the place: there the number decides.
        return sorted(rows, key=lambda row: (row["_sis_seq"], row["n"]))


@contextmanager
def drill(folder: Path, database_url: str | None = None, *, gateways: int = 1) -> Iterator[Drill]:
    """Gateways that run, on one inbox."""
    first = gateway(folder, database_url, ROWS)
    doors = [first, *(Gateway(folder, free_port(), first.environment) for _ in range(1, gateways))]
    engine = open_engine("drill", load_settings(first.environment))
    try:
        for door in doors:
            door.start()
        yield Drill(doors, engine)
    finally:
        for door in doors:
            if door.process is not None:
                door.end()
        engine.state.close()

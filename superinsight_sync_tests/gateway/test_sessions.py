"""A session whose connections break and whose inbox fails, before a commit and after it: each message once, in order."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.gateway.context import Gate
from superinsight_sync.gateway.receivers import Receivers
from superinsight_sync.gateway.sessions import Sender, Session
from superinsight_sync.gateway.storing import Taking
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.security.access import Access
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery, InboxWriter, Outcome

SPEC = PushSourceSpec.model_validate(
    {"name": "till", "tenant": "acme", "limits": {"records": 7}, "streams": [{"name": "sales"}]}
)
names = iter(f"p{n}" for n in range(10**9))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path_factory.mktemp('sessions')}/state.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def inbox(state: State, tmp_path_factory: pytest.TempPathFactory) -> Inbox:
    return Inbox(state.database, tmp_path_factory.mktemp("landing"))


class Shaky(Taking):
    """The real thing, which fails as it is told to."""

    def __init__(self, inbox: Inbox, writer: InboxWriter, plan: list[str]) -> None:
        super().__init__(inbox, writer)
        self.plan = plan

    async def store(self, delivery: Delivery) -> Outcome:
        how = self.plan.pop() if self.plan else "well"
        if how == "before":
            raise TransientError("the database is gone")
        outcome = await super().store(delivery)
        if how == "after":
            raise TransientError("the database is gone, and has committed")
        return outcome


class Client:
    """Sends numbers over connections, some of them again, and notes what it is told."""

    def __init__(self, gate: Gate, name: str) -> None:
        self.gate, self.name = gate, name
        self.sent = self.acknowledged = 0

    async def connect(self, numbers: int, again: int, *, breaks: bool) -> None:
        """One connection: repeats the last `again` messages, sends `numbers` new ones, and leaves or waits."""
        incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        told = asyncio.Event()
        last = -1

        async def send(message: dict[str, Any]) -> None:
            nonlocal last
            document = json.loads(message["text"])
            last = document["last"] if document["type"] == "welcome" else document["n"]
            assert self.acknowledged <= last <= self.sent
            self.acknowledged = last
            told.set()

        async def prove() -> None: ...

        receiver = self.gate.receivers.get("till")
        assert receiver is not None
        sender = Sender(receiver, receiver.stream(None), self.name, "k", None, prove)
        running = asyncio.create_task(
            self.gate.sessions.run(sender, Session(self.gate, sender, send), incoming.get)  # type: ignore[arg-type]
        )
        await asyncio.wait(
            {running, waiting := asyncio.create_task(told.wait())}, return_when="FIRST_COMPLETED"
        )
        waiting.cancel()
        first = max(1, self.acknowledged + 1 - again)
        for number in range(first, self.sent + numbers + 1):
            self.sent = max(self.sent, number)
            text = json.dumps({"n": number, "data": {"n": number}}, indent=number % 2)
            incoming.put_nowait({"type": "websocket.receive", "text": text})
            if number % 5 == 0:
                await asyncio.sleep(0)
        if not breaks:
            while self.acknowledged < self.sent and not running.done():
                await asyncio.sleep(0.001)
        incoming.put_nowait({"type": "websocket.disconnect"})
        try:
            await running
        except SisError as error:
            assert "the database is gone" in str(error)


async def talk(
    state: State, inbox: Inbox, steps: list[tuple[int, int, bool]], failures: list[str], name: str
) -> int:
    access = Access(state.api_keys)
    gate = Gate(inbox, Receivers([SPEC]), access, None)
    gate.is_ready, gate.sessions.most = True, 4
    writer = inbox.writer()
    gate.taking = shaky = Shaky(inbox, writer, failures)
    client = Client(gate, name)
    for numbers, again, breaks in steps:
        await client.connect(numbers, again, breaks=breaks)
    shaky.plan.clear()
    await client.connect(1, 3, breaks=False)
    await asyncio.to_thread(writer.close)
    assert client.acknowledged == client.sent and gate.sessions.waiting_bytes == 0
    return client.sent


@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), st.booleans()), max_size=6),
    failures=st.lists(st.sampled_from(["well", "before", "after"]), max_size=10),
)
def test_each_message_is_stored_once_and_in_order(
    state: State, inbox: Inbox, steps: list[tuple[int, int, bool]], failures: list[str]
) -> None:
    name = next(names)
    sent = asyncio.run(talk(state, inbox, steps, failures, name))
    numbers: list[int] = []
    for found in inbox.pending(max_deliveries=10**6, max_bytes=10**12):
        for delivery, body in inbox.read(found):
            if delivery.metadata["session"] == name:
                lines = [json.loads(line)["n"] for line in body.split(b"\n")]
                assert lines == list(range(delivery.metadata["first"], delivery.metadata["last"] + 1))
                assert len(lines) <= 7
                numbers.extend(lines)
    assert numbers == list(range(1, sent + 1))

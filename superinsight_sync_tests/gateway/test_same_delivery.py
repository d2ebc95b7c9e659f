"""The same delivery, sent again while it is on its way (decision 15)."""

import hashlib
import itertools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.gateway.storing import told
from superinsight_sync.state import State, open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery, InboxWriter, Outcome, settle
from superinsight_sync_tests.gateway.doors import HOOK, Gateway, signed
from superinsight_sync_tests.gateway.drills import held

runs = itertools.count()


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Inbox, list[InboxWriter]]]:
    """Those of two gateways on one inbox."""
    folder = tmp_path_factory.mktemp("twice")
    states = [open_state(f"sqlite:///{folder}/state.db") for _ in range(2)]
    inboxes = [Inbox(s.database, folder / "landing") for s in states]
    opened = [inbox.writer() for inbox in inboxes]
    yield inboxes[0], opened
    for writer in opened:
        writer.close()
    for state in states:
        state.close()


@given(
    sent=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 1), st.booleans()), min_size=1, max_size=30
    )
)
def test_any_interleaving_is_stored_once_and_told_202_once(
    writers: tuple[Inbox, list[InboxWriter]], sent: list[tuple[str, int, bool]]
) -> None:
    """`sent`: which delivery, by which gateway, and whether its answer is awaited before the next is sent."""
    inbox, by = writers
    run = next(runs)
    answers: dict[str, list[Future[Outcome]]] = {}
    for name, gateway, waits in sent:
        body = name.encode()
        digest = hashlib.sha256(body).hexdigest()
        delivery = Delivery(
            uuid.uuid4().hex, "acme", "till", "sales", f"{run}:{name}", digest, "json", "", body, 1, 1
        )
        answer: Future[Outcome] = Future()
        by[gateway].submit(delivery, settle, answer)
        answers.setdefault(name, []).append(answer)
        if waits:
            answer.result(30)
    told_of = {name: [future.result(30) for future in futures] for name, futures in answers.items()}
    stored = {d.key: d.id for d in inbox.list(limit=len(answers))}
    assert len(stored) == len(answers)
    for name, outcomes in told_of.items():
        assert sorted(told(o).status for o in outcomes) == [200] * (len(outcomes) - 1) + [202]
        assert {o.id for o in outcomes} == {stored[f"{run}:{name}"]}


def test_nobody_is_answered_before_the_commit(door: Gateway, state: State, inbox: Inbox) -> None:
    body = b'{"type": "order.paid", "n": "twice"}'
    headers = signed(body, "evt_twice")
    codes: list[int] = []

    def send() -> None:
        codes.append(
            httpx.post(f"{door.url}{HOOK}/shop", content=body, headers=headers, timeout=30).status_code
        )

    senders = [threading.Thread(target=send) for _ in range(4)]
    with held(state):
        for sender in senders:
            sender.start()
        door.answers_others(50)
        assert codes == []
    for sender in senders:
        sender.join()
    assert sorted(codes) == [200, 200, 200, 202]
    assert [d.key for d in inbox.list(limit=100)].count("webhook:evt_twice") == 1

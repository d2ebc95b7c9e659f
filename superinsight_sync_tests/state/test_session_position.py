"""Up to where a numbered session is stored, among others with names much like it, on both databases."""

import json
import time
import uuid
from pathlib import Path

import pytest

from superinsight_sync.state import State
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery

NAMES = [
    "sales:a",
    "sales:a-b",
    "sales:ab",
    "sales:A",
    "sales:a_b",
    "sales:aB",
    "sale:sa",
    "sales:a-",
    "sales:1",
]


def chunk(session: str, first: int, last: int, tenant: str = "acme", source: str = "till") -> Delivery:
    note = json.dumps({"first": first, "last": last})
    key = f"ws:{session}:{first:015d}"
    return Delivery(
        uuid.uuid4().hex, tenant, source, "sales", key, "0" * 64, "ndjson", "", b"{}", 2, 1, note
    )  # fmt: skip


@pytest.fixture
def inbox(state: State, tmp_path: Path) -> Inbox:
    return Inbox(state.database, tmp_path / "landing")


def test_each_session_has_its_own_position(inbox: Inbox) -> None:
    writer = inbox.writer()
    for place, name in enumerate(NAMES, start=1):
        assert inbox.session_position("acme", "till", name) == 0
        for first, last in (
            (1, 9 * place),
            (9 * place + 1, 1_000 * place),
            (1_000 * place + 1, 100_000 * place),
        ):
            assert writer.accept(chunk(name, first, last)).kind == "stored"
    writer.accept(chunk("sales:a", 1, 7, tenant="rival"))
    writer.accept(chunk("sales:a", 1, 8, source="shop"))
    writer.close()
    found = [inbox.session_position("acme", "till", name) for name in NAMES]
    assert found == [100_000 * place for place in range(1, len(NAMES) + 1)]
    assert inbox.session_position("rival", "till", "sales:a") == 7
    assert inbox.session_position("acme", "shop", "sales:a") == 8
    assert inbox.session_position("acme", "till", "sales:%") == 0


def test_it_costs_the_same_however_long_a_session_is(inbox: Inbox) -> None:
    writer = inbox.writer()
    done: list[object] = []
    for n in range(1, 20_001):
        writer.submit(chunk("sales:long", n, n), done.extend, n)
    writer.close()
    assert len(done) == 20_000
    began = time.process_time()
    for _ in range(50):
        assert inbox.session_position("acme", "till", "sales:long") == 20_000
    assert time.process_time() - began < 1, "a walk through it would take longer"

"""Up to where a numbered session is stored, among others with names much like it, on both databases."""

import json
import sqlite3
import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

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


def test_it_costs_the_same_however_long_a_session_is(inbox: Inbox, state: State) -> None:
    writer = inbox.writer()
    done: list[object] = []
    for n in range(1, 20_001):
        writer.submit(chunk("sales:long", n, n), done.extend, n)
    writer.close()
    assert len(done) == 20_000
    steps = (
        count_sqlite(state) if state.database.url.get_backend_name() == "sqlite" else count_postgres(state)
    )
    assert inbox.session_position("acme", "till", "sales:long") == 20_000
    assert 0 < steps() < 5_000, "a walk through it takes a step for each message at least"


def count_sqlite(state: State) -> Callable[[], int]:
    """Counts the steps of SQLite's machine."""
    taken = count(1)

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.set_progress_handler(lambda: next(taken) and None, 1)

    event.listen(state.database.engine, "connect", prepare)
    return lambda: next(taken) - 1


def count_postgres(state: State) -> Callable[[], int]:
    """Counts the rows and pages that PostgreSQL's plan for the last statement looks at."""
    asked: list[tuple[str, Any]] = []
    listened = state.database.engine, "before_cursor_execute"
    event.listen(*listened, lambda _c, _u, statement, values, *_: asked.append((statement, values)))

    def steps() -> int:
        (statement, values) = asked[-1]
        with psycopg.connect(state.database.url.render_as_string(False).replace("+psycopg", "")) as db:
            found = db.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}".encode(), values
            ).fetchone()
        assert found is not None
        return looked_at(found[0][0]["Plan"])

    return steps


def looked_at(plan: dict[str, Any]) -> int:
    own = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck", "Shared Hit Blocks")
    return sum(int(plan.get(name, 0)) for name in own) + sum(looked_at(p) for p in plan.get("Plans", ()))

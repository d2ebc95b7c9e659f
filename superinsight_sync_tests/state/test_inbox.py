"""The inbox on both databases: once for each key, in an order nobody misses, landed exactly once."""

import hashlib
import os
import random
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import DataError, SisError, TransientError
from superinsight_sync.state import State, open_state
from superinsight_sync.state.deliveries import Range, Wanted
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery, InboxFullError, InboxWriter, Outcome
from superinsight_sync.state.tables import inbox as table
from superinsight_sync_tests.waiting import until


def delivery(key: str, body: bytes = b"{}", source: str = "shop", stream: str = "orders") -> Delivery:
    digest = hashlib.sha256(body).hexdigest()
    return Delivery(
        uuid.uuid4().hex, "acme", source, stream, key, digest, "json", "", body, len(body), 1, '{"n":"1"}'
    )


def mark(inbox: Inbox, found: Range, load_id: str) -> int:
    """How many of the range's deliveries were waiting still."""
    return inbox.mark_landed(found.tenant, found.source, found.stream, seq=found.last, load_id=load_id)[0]


@pytest.fixture
def inbox(state: State, tmp_path: Path) -> Inbox:
    return Inbox(state.database, tmp_path / "landing")


@pytest.fixture
def writer(inbox: Inbox) -> Iterator[InboxWriter]:
    made = inbox.writer()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    folder = tmp_path_factory.mktemp("inbox")
    url = f"sqlite:///{folder}/state.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").create_database()
    state = open_state(url)
    yield Inbox(state.database, folder / "landing")
    state.close()


@settings(max_examples=100)
@given(
    plan=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
)
def test_a_delivery_is_stored_once_in_any_interleaving(
    shared: Inbox, plan: list[tuple[int, int]], seed: int
) -> None:
    """Two writers, as of two gateways, each asked from three threads, for keys with up to three bodies."""
    source = uuid.uuid4().hex
    writers = [shared.writer(), shared.writer()]
    shuffled = list(plan) * 2
    random.Random(seed).shuffle(shuffled)

    def push(at: int) -> tuple[Delivery, Outcome]:
        key, body = shuffled[at]
        made = delivery(f"k{key}", b"body%d" % body, source)
        return made, writers[at % 2].accept(made)

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(push, range(len(shuffled))))
    for writer in writers:
        writer.close()
    for key in {d.key for d, _ in told}:
        mine = [(d, o) for d, o in told if d.key == key]
        stored = [(d, o) for d, o in mine if o.kind == "stored"]
        assert len(stored) == 1
        first = stored[0][0]
        for made, outcome in mine:
            assert outcome.id == first.id
            if outcome.kind != "stored":
                same = made.fingerprint == first.fingerprint
                assert outcome.kind == ("duplicate" if same else "conflict")
        assert shared.body(first.id) == first.body
    kept = shared.list(source=source, limit=1_000)
    assert len(kept) == len({k for k, _ in plan})


def test_many_waiters_share_few_commits(inbox: Inbox, writer: InboxWriter) -> None:
    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(lambda n: writer.accept(delivery(f"k{n}")), range(1_000)))
    assert [o.kind for o in outcomes] == ["stored"] * 1_000
    assert inbox.backlog().deliveries == 1_000
    (found,) = inbox.pending()
    seen = [stored.seq for stored, body in inbox.read(found) if body == b"{}"]
    assert seen == sorted(seen) and len(seen) == 1_000


def test_a_reader_with_a_cursor_misses_nothing_while_several_gateways_write(inbox: Inbox) -> None:
    writers = [inbox.writer() for _ in range(4)]
    total = 4 * 150
    seen: list[int] = []
    keys: set[str] = set()

    def write(at: int) -> None:
        for n in range(150):
            writers[at].accept(delivery(f"{at}-{n}"))

    threads = [threading.Thread(target=write, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    position = 0
    while len(seen) < total:
        for found in inbox.pending("acme", "shop", "orders"):
            for stored, _ in inbox.read(found, after=position):
                position = stored.seq
                seen.append(stored.seq)
                keys.add(stored.key)
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close()
    assert len(seen) == total == len(keys)
    assert seen == sorted(set(seen))


def test_landing_is_exactly_once_wherever_it_is_cut(inbox: Inbox, writer: InboxWriter) -> None:
    """The lake keeps rows and position together; marking may be lost any number of times."""
    lake: list[str] = []
    position = 0
    rng = random.Random(7)
    for n in range(60):
        writer.accept(delivery(f"k{n}"))
        if rng.random() < 0.5:
            continue
        for found in inbox.pending(max_deliveries=rng.randint(1, 10)):
            batch = [(s.seq, s.key) for s, _ in inbox.read(found, after=position)]
            if rng.random() < 0.3:
                continue  # killed before the commit
            lake.extend(key for _, key in batch)
            position = max([position, *(seq for seq, _ in batch)])
            if rng.random() < 0.5:
                mark(inbox, found, "load")
    while found_all := inbox.pending():
        for found in found_all:
            batch = [(s.seq, s.key) for s, _ in inbox.read(found, after=position)]
            lake.extend(key for _, key in batch)
            position = max([position, *(seq for seq, _ in batch)])
            mark(inbox, found, "load")
    assert lake == [f"k{n}" for n in range(60)]


def test_ranges_are_by_stream_and_within_their_limits(inbox: Inbox, writer: InboxWriter) -> None:
    for n in range(10):
        writer.accept(delivery(f"a{n}", b"x" * 100, stream="orders"))
        writer.accept(delivery(f"b{n}", b"x" * 100, stream="people"))
    orders, people = inbox.pending(max_deliveries=4)
    assert (orders.stream, orders.deliveries, people.stream, people.deliveries) == ("orders", 4, "people", 4)
    assert [s.stream for s, _ in inbox.read(orders)] == ["orders"] * 4
    (big,) = inbox.pending(stream="people", max_bytes=250)
    assert (big.deliveries, big.size_bytes, big.records) == (2, 200, 2)
    (one,) = inbox.pending(stream="people", max_bytes=1)
    assert one.deliveries == 1
    assert mark(inbox, orders, "load_1") == 4
    assert mark(inbox, orders, "load_1") == 0
    assert inbox.pending(stream="orders")[0].deliveries == 6
    assert inbox.waiting() == {("acme", "shop"): 16}


def test_what_waits_is_counted_by_an_index_alone(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/state.db")
    statements: list[str] = []
    event.listen(state.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert Inbox(state.database, tmp_path).waiting() == {}
    (counting,) = [s for s in statements if "sis_inbox" in s]
    with state.database.read() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {counting}").all())
    assert "USING COVERING INDEX ix_sis_inbox_waiting" in plan
    state.close()


def test_what_could_not_be_landed_says_why_and_waits_on(inbox: Inbox, writer: InboxWriter) -> None:
    body = os.urandom(100_000)
    first = inbox.prepared(delivery("k1", body))
    assert first.body is None
    writer.accept(first)
    writer.accept(delivery("k2", stream="people"))
    assert inbox.mark_failed("acme", "shop", "orders", DataError("no records, password=hunter2")) == 1
    (failed,) = inbox.list(failed=True)
    assert (failed.id, failed.state, failed.error_text) == (first.id, "received", "no records, password=***")
    orders, _ = inbox.pending()
    assert mark(inbox, orders, "load_1") == 1
    assert inbox.list(failed=True) == ()
    landed = inbox.get(first.id)
    assert landed is not None and landed.error_text is None
    new_id = inbox.replay(first.id)
    assert new_id is not None
    (found,) = inbox.pending(stream="orders")
    ((again, kept),) = inbox.read(found)
    assert (again.replay_of, kept) == (landed.seq, body) and again.seq > landed.seq
    assert inbox.replay("nobody") is None


def test_a_failed_commit_fails_all_and_is_not_remembered(
    inbox: Inbox, writer: InboxWriter, state: State
) -> None:
    writer.accept(delivery("k0"))
    with state.database.write() as connection:
        connection.execute(text("ALTER TABLE sis_inbox RENAME TO sis_elsewhere"))
    with ThreadPoolExecutor(8) as pool:
        failures = list(pool.map(lambda n: _failure(writer, f"k{n}"), range(20)))
    assert all(failures)
    with state.database.write() as connection:
        connection.execute(text("ALTER TABLE sis_elsewhere RENAME TO sis_inbox"))
    assert [writer.accept(delivery(f"k{n}")).kind for n in range(20)] == ["duplicate"] + ["stored"] * 19


def _failure(writer: InboxWriter, key: str) -> str:
    try:
        writer.accept(delivery(key))
    except SisError as error:
        return type(error).__name__
    return ""


def test_one_that_cannot_be_stored_does_not_take_the_others_with_it(
    inbox: Inbox, writer: InboxWriter, state: State
) -> None:
    bad = delivery("bad")._replace(stream="half a pair \ud800")
    futures = []
    with ThreadPoolExecutor(9) as pool, state.database.write():
        for made in [*(delivery(f"k{n}") for n in range(4)), bad, *(delivery(f"l{n}") for n in range(4))]:
            futures.append(pool.submit(writer.accept, made))
        until(lambda: all(f.running() or f.done() for f in futures), "they are not handed in")
    told = [f.exception() for f in futures]
    assert [e is None for e in told] == [True] * 4 + [False] + [True] * 4
    assert isinstance(told[4], TransientError)
    assert inbox.backlog().deliveries == 8


def test_more_than_may_wait_is_refused_at_once(inbox: Inbox, state: State) -> None:
    writer = inbox.writer(max_waiting=3)
    told: list[object] = []
    with state.database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE sis_inbox IN ACCESS EXCLUSIVE MODE"))
        writer.submit(delivery("first"), told.extend, 0)
        until(lambda: writer.waiting == 0, "it is not with the database")
        for n in range(3):
            writer.submit(delivery(f"k{n}"), told.extend, n)
        with pytest.raises(InboxFullError, match="cannot take more"):
            writer.submit(delivery("one too many"), told.extend, 9)
    writer.close()
    assert len(told) == 4 and inbox.backlog().deliveries == 4
    with pytest.raises(InboxFullError):
        writer.submit(delivery("late"), told.extend, 10)


def test_purging_forgets_what_was_landed_seven_days_ago_and_its_files(
    inbox: Inbox, writer: InboxWriter, state: State
) -> None:
    bodies = [os.urandom(70_000) for _ in range(3)]
    for n, body in enumerate(bodies):
        writer.accept(inbox.prepared(delivery(f"k{n}", body)))
    writer.accept(inbox.prepared(delivery("k3", bodies[2])))
    (found,) = inbox.pending(max_deliveries=3)
    mark(inbox, found, "load")
    assert inbox.purge(utc_now()) == 0, "keys are kept for seven days"
    with state.database.write() as connection:
        connection.execute(
            update(table).where(table.c.key != "k1").values(received_at=utc_now() - timedelta(days=8))
        )
    for file in (f for f in inbox.files.folder.rglob("*") if f.is_file()):
        os.utime(file, (1, 1))
    assert inbox.purge(utc_now()) == 2
    assert {d.key for d in inbox.list()} == {"k1", "k3"}
    left = {f.name for f in inbox.files.folder.rglob("*") if f.is_file()}
    assert left == {hashlib.sha256(b).hexdigest() for b in bodies[1:]}


def test_a_damaged_or_lost_file_is_noticed(inbox: Inbox) -> None:
    made = delivery("k", os.urandom(70_000))
    inbox.accept(made)
    path = next(f for f in inbox.files.folder.rglob("*") if f.is_file())
    path.write_bytes(b"x")
    with pytest.raises(DataError, match="damaged"):
        inbox.body(made.id)
    path.unlink()
    with pytest.raises(DataError, match="gone"):
        inbox.body(made.id)
    assert inbox.body("nobody") is None


def test_a_writer_that_breaks_leaves_nobody_waiting(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = inbox.writer()
    assert writer.is_usable

    def break_down(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(writer, "_store", break_down)
    with pytest.raises(TransientError, match="has ended"):
        writer.accept(delivery("k"))
    assert not writer.is_usable
    with pytest.raises(InboxFullError):
        writer.accept(delivery("k"))


def test_deliveries_are_searched_newest_first_and_their_bodies_come_in_parts(shared: Inbox) -> None:
    tenant, others = uuid.uuid4().hex, uuid.uuid4().hex
    big = b"x" * (3 << 20)
    sent = [
        delivery(f"{tenant}-{n}", big if n == 0 else b"%d" % n, source)._replace(tenant=tenant, stream=stream)
        for n, (source, stream) in enumerate([("a", "s"), ("a", "t"), ("b", "s"), ("c", "s")])
    ]
    begun = utc_now()
    for d in [*sent, sent[0]._replace(id=uuid.uuid4().hex, tenant=others)]:
        assert shared.accept(d).kind == "stored"
    seqs = {d.id: d.seq for d in shared.search(Wanted(tenant=tenant))}
    ids = [d.id for d in sent]

    def found(before: int | None = None, limit: int = 100, **wanted: Any) -> list[int]:
        return [
            ids.index(d.id)
            for d in shared.search(Wanted(tenant=tenant, **wanted), before=before, limit=limit)
        ]

    assert found() == found(since=begun, state="received") == [3, 2, 1, 0]
    assert found(source="a") == found(sources=("a",)) == [1, 0]
    assert found(sources=("a", "c"), stream="s") == [3, 0]
    assert found(since=utc_now()) == found(state="failed") == []
    assert found(before=seqs[ids[2]], limit=1) == [1]
    assert shared.ids({seqs[ids[0]], seqs[ids[3]], 0}) == {seqs[ids[0]]: ids[0], seqs[ids[3]]: ids[3]}
    assert shared.ids(()) == {}
    parts = shared.body_parts(ids[0])
    assert parts is not None and [len(p) for p in parts] == [1 << 20] * 3
    assert shared.body(ids[0]) == big and shared.body(ids[1]) == b"1"
    assert shared.body_parts("none") is None and shared.body("none") is None
    path = shared.files.folder / sent[0].fingerprint[:2] / sent[0].fingerprint
    path.write_bytes(b"y" + big[1:])
    with pytest.raises(DataError, match="damaged"):
        shared.body_parts(ids[0])


def test_order_numbers_belong_to_one_inbox_and_are_never_given_again(
    inbox: Inbox, writer: InboxWriter
) -> None:
    assert inbox.newest() == 0
    for n in range(3):
        writer.accept(delivery(f"k{n}"))
    (found,) = inbox.pending()
    assert inbox.newest() == found.last == inbox.last("acme", "shop", "orders")
    with inbox._database.write() as connection:
        connection.execute(table.delete())
    assert inbox.newest() == found.last and inbox.last("acme", "shop", "orders") == 0
    writer.accept(delivery("k9"))
    assert inbox.newest() > found.last
    assert inbox.identity() == inbox.identity() != ""
    assert inbox.streams("acme", "shop") == ("orders",)


def test_what_waits_is_looked_at_by_index_however_much_it_is(inbox: Inbox, state: State) -> None:
    keys = [("acme", "shop", stream) for stream in ("orders", "quiet", "done", "never")]
    for number in range(3):
        inbox.accept(delivery(f"o{number}"))
        inbox.accept(delivery(f"d{number}", stream="done"))
    inbox.accept(delivery("q", stream="quiet"))
    inbox.accept(delivery("else", source="till"))
    inbox.mark_landed("acme", "shop", "done", seq=10**6, load_id="l1")
    inbox.mark_landed("acme", "shop", "orders", seq=inbox.last("acme", "shop", "orders") - 4, load_id="l1")
    found = inbox.waits(keys)
    assert {stream: (w.first, w.last, w.asked_at) for (_, _, stream), w in found.items()} == {
        "orders": (3, 5, None),
        "quiet": (7, 7, None),
    }
    inbox.mark_failed("acme", "shop", "orders", ValueError("no"))
    assert inbox.waits(keys)[keys[0]].asked_at is None
    inbox.ask_again("acme", "shop", "orders")
    inbox.accept(delivery("o9"))
    assert inbox.waits(keys)[keys[0]].asked_at is not None
    assert inbox.waits([]) == {}
    assert inbox.records("acme", "shop", "orders", after=1, last=5) == 2
    if state.database.url.get_backend_name() != "sqlite":
        return
    seen: list[tuple[str, Any]] = []
    event.listen(state.database.engine, "before_cursor_execute", lambda c, k, s, p, *_: seen.append((s, p)))
    inbox.waits(keys)
    inbox.last(*keys[0])
    inbox.records(*keys[0], after=1, last=5)
    with state.database.read() as connection:
        asked = [(s, p) for s, p in seen if s.lstrip().startswith(("SELECT", "WITH"))]
        plans = [str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {s}", p).all()) for s, p in asked]
    assert len(asked) == 4, "one for the ends, one for the marks, whatever waits"
    assert all(
        "SCAN sis_inbox" not in plan and "SCAN i" not in plan and "TEMP B-TREE" not in plan for plan in plans
    )
    assert plans[0].count("COVERING INDEX ix_sis_inbox_waiting (tenant=? AND source=? AND stream=?)") == 2
    assert "INTEGER PRIMARY KEY (rowid=?)" in plans[1]
    assert "COVERING INDEX ix_sis_inbox_stream (tenant=? AND source=? AND stream=?)" in plans[2]
    assert "COVERING INDEX ix_sis_inbox_stream (tenant=? AND source=? AND stream=? AND seq>?" in plans[3]


def test_room_of_what_was_forgotten_is_given_back(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/state.db")
    inbox = Inbox(state.database, tmp_path / "landing")
    for number in range(10):
        inbox.accept(delivery(f"k{number}", b"x" * 50_000 + str(number).encode()))
    inbox.mark_landed("acme", "shop", "orders", seq=10**6, load_id="l1")
    with state.database.write() as connection:
        connection.execute(update(table).values(received_at=utc_now() - timedelta(days=40)))
    assert inbox.purge(utc_now() - timedelta(days=30)) == 10
    pages = int(state.database.pragma("PRAGMA page_count"))
    assert state.database.give_back(most_pages=10) >= 10
    assert state.database.give_back() > 0
    assert int(state.database.pragma("PRAGMA freelist_count")) == 0
    assert int(state.database.pragma("PRAGMA page_count")) < pages / 2
    assert state.database.give_back() == 0
    state.close()

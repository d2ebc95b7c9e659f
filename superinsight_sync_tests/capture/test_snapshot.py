"""Where a snapshot meets the log: no gap, no double, whatever a transaction does in between."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from superinsight_sync.capture.postgres import snapshot
from superinsight_sync.capture.postgres.snapshot import Decoded, Visibility
from superinsight_sync.capture.protocol import Pace
from superinsight_sync.pipeline import capture
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync_tests.capture.bank import captured, capturing, caught_up, landed, log_of
from superinsight_sync_tests.servers.postgres import running_postgres
from superinsight_sync_tests.waiting import stays, until


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Has something done after each chunk was read, before its mark is in the log."""

    def install(work: Callable[[int], None]) -> None:
        read, count = snapshot.Snapshot._read, iter(range(1000))

        def reading(self: Any, columns: Any) -> Any:
            found = read(self, columns)
            work(next(count))
            return found

        monkeypatch.setattr(snapshot.Snapshot, "_read", reading)

    return install


def test_what_changes_after_a_chunk_was_read_is_newer_than_the_chunk(
    engine: Engine, bank: str, between: Callable[[Callable[[int], None]], None]
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int, body text)")
        db.execute("ALTER TABLE a ALTER body SET STORAGE EXTERNAL")
        db.execute("INSERT INTO a SELECT i, 0, repeat(md5(i::text), 200) FROM generate_series(1, 250) i")

        def change(chunk: int) -> None:
            first = chunk * 100
            db.execute("UPDATE a SET v = 1, body = 'new' WHERE id = %s", (first + 1,))
            db.execute("DELETE FROM a WHERE id = %s", (first + 2,))
            db.execute("DELETE FROM a WHERE id = %s; ", (first + 3,))
            db.execute("INSERT INTO a VALUES (%s, 3, 'again')", (first + 3,))
            db.execute("UPDATE a SET v = 4 WHERE id = %s", (first + 4,))  # without its long value
            db.execute("UPDATE a SET id = -id WHERE id = %s", (first + 5,))
            db.execute("INSERT INTO a VALUES (%s, 9, 'later')", (1000 + chunk,))

        between(change)
        source = captured(bank, {"table": "a"})
        with capturing(engine, source, pace=Pace(window_s=0.02, chunk_rows=100, idle_s=0.05)) as running:
            caught_up(engine, source, bank, running)
        with db.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            rows = cursor.execute("SELECT * FROM a ORDER BY id").fetchall()
    assert landed(engine, source, "a").to_pylist() == rows


def test_a_table_emptied_after_a_chunk_was_read_is_empty(
    engine: Engine, bank: str, between: Callable[[Callable[[int], None]], None]
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 20)")
        lock = threading.Thread(target=lambda: psycopg.connect(bank, autocommit=True).execute("TRUNCATE a"))
        between(lambda chunk: lock.start() if chunk == 0 else None)  # it waits for the chunk's transaction
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            lock.join()
            db.execute("INSERT INTO a VALUES (7)")
            caught_up(engine, source, bank, running)
    assert landed(engine, source, "a").column("id").to_pylist() == [7]


def test_a_commit_that_stands_in_the_log_before_others_see_it_is_waited_for(engine: Engine) -> None:
    """As with synchronous replication: the log has the change, a snapshot has not."""
    with running_postgres() as server:
        dsn = server.create_database()
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY)")
            db.execute("INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1)")
            both = captured(dsn, {"table": "a"}, {"table": "b"})
            a, b = (table_of(both, both.stream(n), "changes") for n in "ab")
            with capturing(engine, both) as running:
                caught_up(engine, both, dsn, running)
                db.execute("SET synchronous_commit = local")
                db.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                db.execute("SELECT pg_reload_conf()")
                until(
                    lambda: db.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",),
                    "no reload",
                )

                def write() -> None:
                    with psycopg.connect(dsn, autocommit=True) as other:
                        other.execute("SET synchronous_commit = on")
                        other.execute("UPDATE a SET v = 2; INSERT INTO b VALUES (2)")

                writer = threading.Thread(target=write)
                writer.start()
                until(lambda: engine.lake.count(b) == 4 or not running.alive, "the log is not followed")
                assert db.execute("SELECT v FROM a").fetchone() == (1,)
                engine.state.workers.want_anew("capture", "acme", "bank/a")
                until(
                    lambda: _ops(engine, a).count("snapshot_begin") == 2 or not running.alive, "no snapshot"
                )
                stays(
                    lambda: _ops(engine, a).count("snapshot") == 1, "a chunk was read that lacks the change"
                )
                db.execute("ALTER SYSTEM RESET synchronous_standby_names")
                db.execute("SELECT pg_reload_conf()")
                writer.join()
                until(lambda: _ops(engine, a).count("snapshot_end") == 2 or not running.alive, "no snapshot")
        assert landed(engine, both, "a").to_pylist() == [{"id": 1, "v": 2}]


def _ops(engine: Engine, table: Any) -> list[str]:
    found: list[str] = engine.lake.scan(table).read_all().column("_sis_op").to_pylist()
    return found


def test_what_is_told_again_lands_once(engine: Engine, bank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "_ACKNOWLEDGE_S", 1e9)  # the source is told once, at the start
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int)")
        source = captured(bank, {"table": "a"})
        log = table_of(source, source.stream("a"), "changes")
        for n in range(1, 4):
            with capturing(engine, source) as running:
                db.execute("INSERT INTO a VALUES (%s, 0); UPDATE a SET v = v + 1".replace("%s", str(n)))
                until(partial(_has_landed, engine, log, n), "the change does not land")
                assert running.alive
    changes = [(r["_sis_op"], r["id"], r["_sis_position"], r["v"]) for r in log_of(engine, source, "a")]
    assert len(changes) == len(set(changes))


def _has_landed(engine: Engine, log: Any, number: int) -> bool:
    return number in _ids(engine, log)


def _ids(engine: Engine, log: Any) -> set[int]:
    if not engine.lake.exists(log) or "id" not in engine.lake.schema(log).names:
        return set()
    return set(engine.lake.scan(log, columns=["id"]).read_all().column("id").to_pylist())


def test_transaction_numbers_are_compared_across_their_wrap() -> None:
    sees = Visibility.of(f"{2**32 + 5}:{2**32 + 9}:{2**32 + 6}")
    assert [sees.sees(sees.whole(n)) for n in (2**32 - 1, 4, 5, 6, 7, 9)] == [
        True,
        True,
        True,
        False,
        True,
        False,
    ]
    decoded = Decoded([2**32 + 6])
    decoded.add(7)
    assert not decoded.settle(sees) and decoded.unsettled == (2**32 + 6,)
    assert decoded.settle(Visibility.of(f"{2**32 + 9}:{2**32 + 9}:"))

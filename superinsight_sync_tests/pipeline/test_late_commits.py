"""Increments while transactions of all lengths write: what is committed late is not missed."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from superinsight_sync.databases.postgres_late_commits import _whole_id
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.postgres import PostgresServer, running_postgres

RAW = TableRef("default", "busy", "events", "raw")
PULLS, ROWS = 15, 60


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """Of these tests alone: any transaction on a server holds back what is final."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    found = postgres_server.create_database()
    monkeypatch.setenv("BUSY_DSN", found)
    with psycopg.connect(found) as db:
        db.execute(
            "CREATE TABLE events (id bigserial PRIMARY KEY, version bigint, note text,"
            " updated_at timestamptz NOT NULL DEFAULT now())"
        )
        db.execute("CREATE SEQUENCE versions")
    yield found


def busy(**sync: Any) -> SourceSpec:
    stream = {"name": "events", "table": "public.events", "primary_key": ["id"]}
    return SourceSpec.model_validate(
        {
            "name": "busy",
            "connection": {"kind": "postgres", "dsn": "{{ env.BUSY_DSN }}"},
            "streams": [{**stream, "sync": {"mode": "incremental", **sync}}],
        }
    )


def write_at_random(dsn: str, seed: int, stop: Callable[[], bool]) -> None:
    """Transactions that stay open for longer than a pull takes, some of which begin long before they write."""
    chance = random.Random(seed)
    with psycopg.connect(dsn) as db:
        while not stop():
            db.execute("SELECT now()")
            time.sleep(chance.choice([0, 0, 0.02, 0.2]))
            for _ in range(chance.randint(1, 4)):
                db.execute(
                    "INSERT INTO events (version, note) VALUES (nextval('versions'), %s)", (f"w{seed}",)
                )
            if chance.random() < 0.5:
                db.execute(
                    "UPDATE events SET updated_at = now(), version = nextval('versions'), note = note || '+'"
                    " WHERE id = (SELECT id FROM events WHERE id %% 4 = %s ORDER BY random() LIMIT 1)",
                    (seed,),
                )
            time.sleep(chance.choice([0, 0, 0.05, 0.3]))
            db.rollback() if chance.random() < 0.1 else db.commit()


def pulled_beside_writers(engine: Engine, dsn: str, source: SourceSpec) -> tuple[list[Any], list[Any]]:
    """(rows of the source, rows of the lake) after pulls during the writing and one after it."""
    ended = threading.Event()
    writers = [threading.Thread(target=write_at_random, args=(dsn, n, ended.is_set)) for n in range(4)]
    for writer in writers:
        writer.start()
    try:
        pulls = landed = 0
        while pulls < PULLS or landed < ROWS:
            landed = pull_stream(engine, source, source.streams[0]).table_rows
            pulls += 1
    finally:
        ended.set()
    while any(w.is_alive() for w in writers):
        pull_stream(engine, source, source.streams[0])
    pull_stream(engine, source, source.streams[0])
    with psycopg.connect(dsn) as db:
        rows = db.execute("SELECT id, version, note FROM events ORDER BY id").fetchall()
    found = engine.lake.scan(RAW, columns=["id", "version", "note"]).read_all().sort_by("id").to_pylist()
    return rows, [tuple(r.values()) for r in found]


@pytest.mark.parametrize("sync", [{"cursor": "updated_at"}, {"by": "version", "cursor": "version"}])
def test_after_the_last_pull_source_and_lake_are_equal(
    engine: Engine, dsn: str, sync: dict[str, str]
) -> None:
    rows, landed = pulled_beside_writers(engine, dsn, busy(**sync))
    assert landed == rows


@pytest.mark.parametrize("sync", [{"cursor": "updated_at"}, {"by": "version", "cursor": "version"}])
def test_without_the_bound_rows_are_missed(
    engine: Engine, dsn: str, sync: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above can fail."""
    monkeypatch.setattr(
        "superinsight_sync.databases.postgres_late_commits.Lateness.finish", lambda self: None
    )
    rows, landed = pulled_beside_writers(engine, dsn, busy(**sync))
    assert landed != rows


def test_an_idle_database_is_read_again_from_the_newest_row_only(engine: Engine, dsn: str) -> None:
    source = busy(cursor="updated_at")
    with psycopg.connect(dsn) as db:
        for n in range(10):
            db.execute(
                "INSERT INTO events (note, updated_at) VALUES ('x', now() - %s * interval '1 s')", (n,)
            )
    pull_stream(engine, source, source.streams[0])
    assert pull_stream(engine, source, source.streams[0]).stats.rows == 1


def test_a_transaction_that_is_still_open_holds_the_next_read_back(engine: Engine, dsn: str) -> None:
    source = busy(by="version", cursor="version")
    with psycopg.connect(dsn) as slow, psycopg.connect(dsn, autocommit=True) as quick:
        slow.execute("INSERT INTO events (version, note) VALUES (nextval('versions'), 'slow')")
        quick.execute("INSERT INTO events (version, note) VALUES (nextval('versions'), 'quick')")
        for _ in range(3):
            pull_stream(engine, source, source.streams[0])
        slow.commit()
    result = pull_stream(engine, source, source.streams[0])
    assert result.table_rows == 2
    pull_stream(engine, source, source.streams[0])
    assert pull_stream(engine, source, source.streams[0]).stats.rows == 1


INSERT = "INSERT INTO events (version, note) VALUES (nextval('versions'), 'x')"


def test_a_transaction_with_a_later_id_and_an_earlier_version_is_not_missed(engine: Engine, dsn: str) -> None:
    source = busy(by="version", cursor="version")
    with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second:
        first.execute("SELECT pg_current_xact_id()")
        second.execute(INSERT)
        first.execute(INSERT)
        first.commit()
        for _ in range(3):
            pull_stream(engine, source, source.streams[0])
        second.commit()
    assert pull_stream(engine, source, source.streams[0]).table_rows == 2


@pytest.mark.parametrize("prepared", [False, True])
def test_a_version_taken_before_its_transaction_has_an_id_is_not_missed(
    engine: Engine, dsn: str, prepared: bool
) -> None:
    source = busy(by="version", cursor="version")
    with psycopg.connect(dsn, autocommit=True) as quick, psycopg.connect(dsn) as slow:
        quick.execute(INSERT)
        taken = slow.execute("SELECT nextval('versions'), pg_current_xact_id_if_assigned()").fetchone()
        assert taken is not None and taken[1] is None
        quick.execute(INSERT)
        for _ in range(2):
            pull_stream(engine, source, source.streams[0])
        slow.execute("INSERT INTO events (version, note) VALUES (%s, 'late')", taken[:1])
        if prepared:
            slow.execute("PREPARE TRANSACTION 'late'")
            slow.rollback()
        for _ in range(2):
            pull_stream(engine, source, source.streams[0])
        slow.commit()
        if prepared:
            quick.execute("COMMIT PREPARED 'late'")
        assert pull_stream(engine, source, source.streams[0]).table_rows == 3
        pull_stream(engine, source, source.streams[0])
        assert pull_stream(engine, source, source.streams[0]).stats.rows == 1


@pytest.mark.parametrize(
    ("low", "near", "whole"), [(5, 2**32 - 3, 2**32 + 5), (2**32 - 2, 2**32 + 1, 2**32 - 2)]
)
def test_ids_are_whole_across_a_wrap(low: int, near: int, whole: int) -> None:
    assert _whole_id(low, near) == whole


def test_an_account_that_may_not_see_others_transactions_gets_a_lag_and_is_told(
    engine: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superinsight_sync.sources.opening import open_source

    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS short_sighted")
        db.execute("CREATE ROLE short_sighted LOGIN")
        db.execute("GRANT SELECT ON events TO short_sighted")
        db.execute(
            "INSERT INTO events (note, updated_at) SELECT 'x', now() - i * interval '1 min'"
            " FROM generate_series(0, 19) i"
        )
        monkeypatch.setenv("BUSY_DSN", dsn.replace("postgres@", "short_sighted@"))
        source = busy(cursor="updated_at")
        with psycopg.connect(dsn) as other:
            other.execute("SELECT 1")
            pull_stream(engine, source, source.streams[0])
            again = pull_stream(engine, source, source.streams[0])
            probe = open_source(source.connection, engine.settings).probe()
    assert again.stats.rows in (10, 11)
    assert "pg_read_all_stats" in " ".join(probe.warnings)

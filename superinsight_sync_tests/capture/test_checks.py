"""`sis capture check`: what a server lacks, and the statement that mends it, run here to see that it does."""

import re
from typing import Any

import psycopg
import pytest

from superinsight_sync.capture.protocol import Finding, Lag, open_feed
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.pipeline import capture
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync_tests.capture.bank import captured, capturing, caught_up
from superinsight_sync_tests.servers.postgres import PostgresServer, running_postgres
from superinsight_sync_tests.servers.process import new_name
from superinsight_sync_tests.waiting import until


def lacks(settings: Settings, dsn: str, **stream: Any) -> list[Finding]:
    source = captured(dsn, {"table": "public.a", **stream})
    return [f for f in open_feed(source, settings).check() if f.level == "missing"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("CREATE TABLE a (id int)", "may be NULL"),
        ("CREATE TABLE a (id int NOT NULL)", "no key in its log"),
        ("CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a REPLICA IDENTITY NOTHING", "no key in its log"),
        ("CREATE TABLE a (id int NOT NULL, other int PRIMARY KEY)", r"has the key \(other\)"),
        ("CREATE TABLE a (id int, n int, PRIMARY KEY (id, n))", r"no index keeps \(id\) unique"),
        ("CREATE TABLE a (id int NOT NULL); ALTER TABLE a REPLICA IDENTITY FULL", "no index keeps"),
        ("CREATE TABLE a (id int PRIMARY KEY DEFERRABLE)", "DEFERRABLE does not"),
        (
            "CREATE TABLE a (id int PRIMARY KEY DEFERRABLE); ALTER TABLE a REPLICA IDENTITY FULL",
            "DEFERRABLE does not",
        ),
        ("CREATE UNLOGGED TABLE a (id int PRIMARY KEY)", "unlogged"),
        (
            "CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION sis_acme_bank FOR TABLE a WITH (publish = 'insert')",
            "leaves out some kinds",
        ),
        (
            "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE PUBLICATION sis_acme_bank FOR TABLE a (id)",
            "leaves out rows or columns",
        ),
        (
            "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE PUBLICATION sis_acme_bank FOR TABLE a",
            "tells of partitions",
        ),
    ],
)
def test_a_table_that_cannot_be_captured_is_told_and_mended(
    settings: Settings, bank: str, make: str, said: str
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute(make.encode())
        found = lacks(settings, bank)
        assert any(re.search(said, f.what) for f in found), found
        for finding in found:
            db.execute(finding.statement.encode())
    left = lacks(settings, bank)
    assert not left, left


def test_a_view_and_a_table_that_is_not_there_are_told(settings: Settings, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        assert "there is no table" in lacks(settings, bank)[0].what
        db.execute("CREATE VIEW a AS SELECT 1 AS id")
    assert "is no table" in lacks(settings, bank)[0].what


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b () INHERITS (a)", "inherit from it"),
        ('CREATE TABLE a (id int PRIMARY KEY, v int, "V" int)', "cannot tell the columns 'v' and 'V' apart"),
        ("CREATE TABLE a (id int[] PRIMARY KEY)", "is an array"),
    ],
)
def test_a_table_that_no_statement_mends_is_refused(
    settings: Settings, bank: str, make: str, said: str
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute(make.encode())
    assert [said in f.what for f in lacks(settings, bank)] == [True]


def test_two_streams_of_one_table_are_refused(settings: Settings, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY)")
    source = captured(bank, {"table": "a"}, {"table": "public.a", "name": "again"})
    missing = [f.what for f in open_feed(source, settings).check() if f.level == "missing"]
    assert missing == ["'a' and 'again' are streams of one table: keep one"]


def test_an_account_with_few_rights_is_told_all_it_lacks(
    settings: Settings, bank: str, log_server: PostgresServer
) -> None:
    role = new_name("role")
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN; CREATE TABLE a (id int PRIMARY KEY)")
        theirs = log_server.dsn(bank.rpartition("/")[2], role)
        found = lacks(settings, theirs)
        assert len(found) == 3, found
        for finding in found:
            db.execute(finding.statement.encode())
        assert not lacks(settings, theirs)


def test_a_capture_of_such_a_table_is_refused_before_anything_is_made(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int NOT NULL)")
        source = captured(bank, {"table": "a"})
        with pytest.raises(ConfigError, match="no key in its log"), capturing(engine, source) as running:
            until(lambda: not running.alive, "it is not refused")
        made = "SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())"
        assert db.execute(made).fetchone() == (0, 0)


def test_a_server_without_logical_log_and_one_that_throws_its_log_away(
    engine: Engine, settings: Settings
) -> None:
    with running_postgres() as server:
        dsn = server.create_database()
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("CREATE TABLE a (id int PRIMARY KEY, v text)")
            db.execute("CHECKPOINT")
            db.execute("ALTER SYSTEM SET wal_level = replica")
        server.restart()
        assert [f.what.partition(":")[0] for f in lacks(settings, dsn)] == ["wal_level is replica"]
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("ALTER SYSTEM SET wal_level = logical")
            db.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        server.restart()
        source = captured(dsn, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, dsn, running)
        with psycopg.connect(dsn, autocommit=True) as db:
            for _ in range(3):
                db.execute("INSERT INTO a SELECT n, repeat('x', 1000) FROM generate_series(1, 5000) n")
                db.execute("DELETE FROM a; SELECT pg_switch_wal()")
                db.execute("CHECKPOINT")
            until(
                lambda: db.execute("SELECT wal_status FROM pg_replication_slots").fetchone() == ("lost",),
                "the log is not lost",
            )
        with pytest.raises(ConfigError, match="thrown away"), capturing(engine, source) as running:
            until(lambda: not running.alive, "it does not stop")
        engine.state.workers.want_anew("capture", "acme", "bank/a")
        with capturing(engine, source) as running:
            caught_up(engine, source, dsn, running)


def test_a_log_that_is_soon_thrown_away_is_told_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(capture, "alert_log_kept", lambda *what: told.append(what[2:]))
    watching = capture.Capture(engine, captured("postgresql://nowhere", {"table": "a"}))
    for kept in (10, 80, 90, 60, 80):
        watching._watch(Lag(kept, kept, 100))
        watching._watch(Lag(kept, kept, None)) if kept == 60 else None
    assert told == [(80, 100), (80, 100)]

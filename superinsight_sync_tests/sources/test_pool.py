"""Connections that are kept: few, checked before use, clean, and nobody else's."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pymysql
import pytest

from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.databases import pool as pools
from superinsight_sync.databases.mysql_session import access_of
from superinsight_sync.databases.pool import Pool
from superinsight_sync.databases.postgres_session import driver
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Owner, Pooling, Source
from superinsight_sync_tests.servers.mariadb import MariadbServer
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.sources.reading import read, stream
from superinsight_sync_tests.waiting import until

TABLE = stream(table="public.things")
OWN = "datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def dsn(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of its own with a table of 1,000 rows."""
    made = postgres_server.create_database()
    with psycopg.connect(made) as db:
        db.execute(
            "CREATE TABLE things AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 1000) i"
        )
    monkeypatch.setenv("POOL_DSN", made)
    return made


def opened(project: Settings, owner: Owner | None = None, **keys: Any) -> Source:
    source = open_source({"kind": "postgres", "dsn": "{{ env.POOL_DSN }}", **keys}, project)
    assert isinstance(source, Pooling)
    if owner:
        source.pool_for(owner)
    return source


def sessions(dsn: str, which: str = "true") -> set[int]:
    """The backends that others have open in the database."""
    with psycopg.connect(dsn) as db:
        return {
            pid for (pid,) in db.execute(f"SELECT pid FROM pg_stat_activity WHERE {OWN} AND {which}".encode())
        }


def test_who_opens_the_source_anew_gets_the_connection_that_is_there(dsn: str, project: Settings) -> None:
    seen = set()
    for _ in range(3):
        source = opened(project)
        source.describe(TABLE)
        assert read(source, ReadRequest(TABLE)).num_rows == 1000
        assert source.count(ReadRequest(TABLE)) == 1000
        seen |= sessions(dsn)
    assert len(seen) == 1
    assert not sessions(dsn, "state <> 'idle'")


def test_twenty_at_once_share_as_many_as_the_limit_says(dsn: str, project: Settings) -> None:
    seen: set[int] = set()

    def look(_: int) -> int:
        source = opened(project, Owner("acme", "crm", 3))
        source.describe(TABLE)
        rows: int = read(source, ReadRequest(TABLE)).num_rows
        seen.update(sessions(dsn, "application_name = 'superinsight-sync'"))
        return rows

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(look, range(20))) == {1000}
    assert 1 <= len(seen) <= 3


def test_a_connection_that_the_server_closed_is_replaced_unseen(dsn: str, project: Settings) -> None:
    source = opened(project)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: source.describe(TABLE), range(8)))
    before = sessions(dsn)
    with psycopg.connect(dsn) as db:
        db.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OWN}".encode())
    until(lambda: not sessions(dsn), "sessions end")
    for _ in range(4):
        assert read(source, ReadRequest(TABLE)).num_rows == 1000
    assert before.isdisjoint(sessions(dsn))


def test_a_read_that_broke_or_was_left_early_costs_its_connection_only(dsn: str, project: Settings) -> None:
    source = opened(project)
    source.describe(TABLE)
    (before,) = sessions(dsn)
    with source.read(ReadRequest(TABLE, batch_rows=10)) as batches:
        batches.read_next_batch()
    until(lambda: before not in sessions(dsn), "sessions end")
    broken = stream(query="SELECT 1 / (id - 1000) AS x FROM things")
    with pytest.raises(SisError, match="division"):
        read(source, ReadRequest(broken))
    with pytest.raises(RuntimeError), source.read(ReadRequest(TABLE)):
        raise RuntimeError("the user's own")
    assert read(source, ReadRequest(TABLE)).num_rows == 1000
    assert len(sessions(dsn)) == 1
    assert not sessions(dsn, "state <> 'idle'")


def test_what_a_user_did_to_a_session_is_gone_for_the_next(dsn: str) -> None:
    pool = Pool(
        driver(f"{dsn}?options=-c%20default_transaction_read_only%3Don%20-c%20statement_timeout%3D5s"), 1, 1
    )
    ask = (
        "SELECT pg_backend_pid(), current_setting('transaction_read_only'), current_setting('statement_timeout'),"
        " current_setting('default_transaction_read_only'), current_setting('TimeZone'),"
        " current_setting('transaction_isolation'),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
    )
    with closing(pool):
        with pool.connection() as db:
            before = db.execute(ask).fetchone()
            db.rollback()
            db.read_only, db.isolation_level = False, psycopg.IsolationLevel.SERIALIZABLE
            db.autocommit = True
            db.execute("SET default_transaction_read_only = off")
            db.execute("SET statement_timeout = 0")
            db.execute("SET TimeZone = 'Asia/Tokyo'")
            db.execute("SELECT pg_advisory_lock(1)")
            db.execute("CREATE TABLE written (a int)")
            db.autocommit = False
            db.execute("SELECT 1 FROM written")
        with pool.connection() as db:
            assert db.execute(ask).fetchone() == before
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                db.execute("INSERT INTO written VALUES (1)")
            db.rollback()
    assert before is not None
    assert before[1:4] == ("on", "5s", "on")


@pytest.mark.parametrize("other", [Owner("other", "crm"), Owner("acme", "other")])
def test_nobody_gets_the_connection_of_another_tenant_or_source(
    dsn: str, project: Settings, other: Owner
) -> None:
    opened(project, Owner("acme", "crm")).describe(TABLE)
    (first,) = sessions(dsn)
    opened(project, other).describe(TABLE)
    assert len(sessions(dsn)) == 2
    assert first in sessions(dsn)


def test_other_credentials_and_options_get_their_own(
    dsn: str, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS pool_reader")
        db.execute("CREATE ROLE pool_reader LOGIN")
        db.execute("GRANT SELECT ON things TO pool_reader")
    source = opened(project)
    source.describe(TABLE)
    opened(project, statement_timeout="1m").describe(TABLE)
    monkeypatch.setenv("POOL_DSN", dsn.replace("postgres@", "pool_reader@"))
    source.describe(TABLE)
    assert len(sessions(dsn)) == 3
    assert len(sessions(dsn, "usename = 'pool_reader'")) == 1


def test_idle_connections_are_closed_after_a_while(
    dsn: str, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_S", 0.3)
    source = opened(project)
    for _ in range(2):
        source.describe(TABLE)
        assert len(sessions(dsn)) == 1
        until(lambda: not sessions(dsn), "sessions end")


def test_who_waits_too_long_for_a_connection_is_told(dsn: str) -> None:
    with (
        closing(Pool(driver(dsn), 1, 0.1)) as pool,
        pool.connection(),
        pytest.raises(TransientError, match="max_concurrency"),
        pool.connection(),
    ):
        pass


def test_a_child_process_leaves_its_parent_s_connections_alone(dsn: str, project: Settings) -> None:
    source = opened(project)
    source.describe(TABLE)
    (mine,) = sessions(dsn)
    child = os.fork()
    if child == 0:
        source.describe(TABLE)
        os._exit(0 if len(sessions(dsn)) == 2 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    until(lambda: sessions(dsn) == {mine}, "sessions end")
    assert read(source, ReadRequest(TABLE)).num_rows == 1000
    assert sessions(dsn) == {mine}


@pytest.fixture
def mariadb(mariadb_server: MariadbServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Asks the server, whose database has the table `things`, for one row."""
    dsn = mariadb_server.create_database()
    monkeypatch.setenv("POOL_DSN", dsn)
    with mariadb_server.connect(dsn.rsplit("/", 1)[1]) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE things AS SELECT seq AS id FROM seq_1_to_1000")

        def ask(sql: str) -> Any:
            cursor.execute(sql)
            return cursor.fetchone()

        yield ask


MY_TABLE = stream(table="things")


def test_mariadb_twenty_at_once_share_as_many_as_the_limit_says(
    mariadb: Callable[[str], Any], project: Settings
) -> None:
    def look(_: int) -> int:
        source = open_source({"kind": "mysql", "dsn": "{{ env.POOL_DSN }}"}, project)
        source.describe(MY_TABLE)
        return source.count(ReadRequest(MY_TABLE))

    before = int(mariadb("SHOW GLOBAL STATUS LIKE 'Connections'")[1])
    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(look, range(20))) == {1000}
    assert 1 <= int(mariadb("SHOW GLOBAL STATUS LIKE 'Connections'")[1]) - before <= 4


def test_mariadb_a_session_is_clean_for_the_next_and_replaced_when_it_was_killed(
    mariadb: Callable[[str], Any],
) -> None:
    access = access_of(os.environ["POOL_DSN"], 5, 7)
    ask = (
        "SELECT CONNECTION_ID(), @@session.tx_read_only, @@session.max_statement_time, @@session.time_zone,"
        " @@session.sql_mode, @@session.autocommit, @@session.character_set_client, @mine, @@session.collation_connection"
    )
    with closing(Pool(access.driver(), 1, 1)) as pool:
        with pool.connection() as db, db.cursor() as cursor:
            cursor.execute(ask)
            before = cursor.fetchone()
            for statement in (
                "SET SESSION TRANSACTION READ WRITE",
                "SET max_statement_time = 0, time_zone = '+09:00', sql_mode = 'ANSI', autocommit = 0, @mine = 1",
                "SET NAMES latin1",
                "DO GET_LOCK('held', 0)",
                "INSERT INTO things VALUES (-1)",
            ):
                cursor.execute(statement)
        assert mariadb("SELECT IS_FREE_LOCK('held')") == (1,)
        assert mariadb("SELECT COUNT(*) FROM things") == (1000,)
        with pool.connection() as db, db.cursor() as cursor:
            cursor.execute(ask)
            assert cursor.fetchone() == before
            with pytest.raises(pymysql.Error, match="READ ONLY"):
                cursor.execute("INSERT INTO things VALUES (-1)")
            cursor.execute("SELECT 1")
        assert before is not None
        assert before[1:4] == (1, 7, "+00:00")
        mariadb(f"KILL CONNECTION {before[0]}")
        with pool.connection() as db, db.cursor() as cursor:
            cursor.execute(ask)
            after = cursor.fetchone()
        assert after is not None
        assert after[1:] == before[1:]
        assert after[0] != before[0]


def test_no_more_than_the_limit_are_in_use_however_many_ask(dsn: str) -> None:
    lock, three, most, used = threading.Lock(), threading.Barrier(3), 0, 0

    def use(_: int) -> None:
        nonlocal most, used
        with pool.connection() as db:
            with lock:
                used += 1
                most = max(most, used)
            db.execute("SELECT 1")
            three.wait(300)
            with lock:
                used -= 1

    with closing(Pool(driver(dsn), 3, 10)) as pool, ThreadPoolExecutor(12) as threads:
        list(threads.map(use, range(60)))
        assert most == 3
        assert len(sessions(dsn)) == 3

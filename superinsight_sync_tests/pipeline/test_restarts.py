"""A server that goes away in the middle of a read: the pull begins it anew, and every row lands once."""

from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pytest

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.mariadb import MariadbServer, running_mariadb
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.postgres import PostgresServer, running_postgres

ROWS = 400_000
RAW = TableRef("default", "away", "big", "raw")


def fill_postgres(server: PostgresServer, name: str = "away") -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(server.dsn(name), autocommit=True) as db:
        db.execute(
            "CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 8) AS note"
            f" FROM generate_series(1, {ROWS}) i"
        )
        db.execute("CHECKPOINT")  # these servers do not wait for their disk


def fill_mariadb(server: MariadbServer) -> str:
    dsn = server.create_database()
    with server.connect(dsn.rsplit("/", 1)[1]) as db, db.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        cursor.execute(
            f"CREATE TABLE big AS SELECT seq AS id, repeat(md5(seq), 8) AS note FROM seq_1_to_{ROWS}"
        )
    return dsn


def declared(kind: str, table: str) -> SourceSpec:
    return SourceSpec.model_validate(
        {
            "name": "away",
            "connection": {"kind": kind, "dsn": "{{ env.AWAY_DSN }}"},
            "streams": [{"name": "big", "table": table}],
        }
    )


def pull_through(settings: Settings, source: SourceSpec, strike: Callable[[], None]) -> int:
    """Retries of a pull during whose first batch `strike` happens. Every row is there once after it."""
    struck = False

    def progress(_stream: str, _rows: int) -> None:
        nonlocal struck
        if not struck:
            struck = True
            strike()

    engine = Engine(settings, "run-1", progress)
    result = pull_stream(engine, source, source.streams[0])
    assert result.stats.rows == ROWS
    found = engine.lake.scan(RAW, columns=["id"]).read_all().column("id").to_pylist()
    assert sorted(found) == list(range(1, ROWS + 1))
    return result.retries


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.2)


def test_postgres_restarts_in_the_middle(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_postgres() as server:
        fill_postgres(server)
        monkeypatch.setenv("AWAY_DSN", server.dsn("away"))
        assert pull_through(settings, declared("postgres", "public.big"), server.restart) == 1


def test_mariadb_restarts_in_the_middle(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_mariadb() as server:
        monkeypatch.setenv("AWAY_DSN", fill_mariadb(server))
        assert pull_through(settings, declared("mysql", "big"), server.restart) == 1


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_restart_between_two_pulls_goes_unnoticed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    engine = open_engine("run-1", settings)
    with ExitStack() as stack:
        server: PostgresServer | MariadbServer
        if kind == "postgres":
            server = postgres = stack.enter_context(running_postgres())
            fill_postgres(postgres)
            monkeypatch.setenv("AWAY_DSN", postgres.dsn("away"))
        else:
            server = mariadb = stack.enter_context(running_mariadb())
            monkeypatch.setenv("AWAY_DSN", fill_mariadb(mariadb))
        source = declared(kind, "public.big" if kind == "postgres" else "big")
        assert pull_stream(engine, source, source.streams[0]).stats.rows == ROWS
        server.restart()
        again = pull_stream(engine, source, source.streams[0])
    assert (again.stats.rows, again.retries) == (ROWS, 0)


def test_a_second_postgres_takes_over_when_the_first_dies(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(running_postgres()) for _ in range(2))
        for server in (first, second):
            fill_postgres(server)
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        monkeypatch.setenv("AWAY_DSN", f"postgresql://postgres@{hosts}/away")
        stack.callback(first.start)
        assert pull_through(settings, declared("postgres", "public.big"), first.stop) == 1


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_dead_host_before_a_live_one_is_passed_over(
    engine: Engine,
    postgres_server: PostgresServer,
    mariadb_server: MariadbServer,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    if kind == "postgres":
        dsn = postgres_server.create_database()
        with psycopg.connect(dsn) as db:
            db.execute("CREATE TABLE big AS SELECT 1 AS id")
    else:
        dsn = mariadb_server.create_database()
        with mariadb_server.connect(dsn.rsplit("/", 1)[1]) as my, my.cursor() as cursor:
            cursor.execute("CREATE TABLE big AS SELECT 1 AS id")
    monkeypatch.setenv("AWAY_DSN", dsn.replace("@", f"@127.0.0.1:{free_port()},"))
    source = declared(kind, "public.big" if kind == "postgres" else "big")
    assert pull_stream(engine, source, source.streams[0]).stats.rows == 1

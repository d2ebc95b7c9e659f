"""A server that goes away in the middle of a read: the pull begins it anew, and every row lands once."""

from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pymysql
import pytest

from superinsight_sync.core.errors import AccessError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.deaf import greeting_port, mute_port
from superinsight_sync_tests.servers.mariadb import PASSWORD, MariadbServer, running_mariadb
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


def fill_mariadb(server: MariadbServer, name: str = "") -> str:
    dsn = server.create_database(name)
    with server.connect(dsn.rsplit("/", 1)[1]) as db, db.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        cursor.execute(
            f"CREATE TABLE big AS SELECT seq AS id, repeat(md5(seq), 8) AS note FROM seq_1_to_{ROWS}"
        )
    return dsn


def one_row(server: MariadbServer) -> str:
    """The DSN of a database whose table `big` has a row."""
    dsn = server.create_database()
    with server.connect(dsn.rsplit("/", 1)[1]) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE big AS SELECT 1 AS id")
    return dsn


def declared(kind: str, table: str, **keys: str) -> SourceSpec:
    return SourceSpec.model_validate(
        {
            "name": "away",
            "connection": {"kind": kind, "dsn": "{{ env.AWAY_DSN }}", **keys},
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


def test_a_second_mariadb_takes_over_when_the_first_dies(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(running_mariadb()) for _ in range(2))
        for server in (first, second):
            fill_mariadb(server, "away")
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        monkeypatch.setenv("AWAY_DSN", f"mysql://root:{PASSWORD}@{hosts}/away")
        assert pull_through(settings, declared("mysql", "big"), first.stop) == 1


def test_a_mariadb_with_too_many_connections_is_passed_over(
    engine: Engine, mariadb_server: MariadbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = one_row(mariadb_server)
    with running_mariadb() as full:
        held = [full.connect()]
        with held[0].cursor() as cursor:
            cursor.execute("SET GLOBAL max_connections = 10")
        with pytest.raises(pymysql.Error, match="Too many connections"):
            while len(held) < 100:
                held.append(full.connect())
        monkeypatch.setenv("AWAY_DSN", live.replace("@", f"@127.0.0.1:{full.port},"))
        source = declared("mysql", "big")
        result = pull_stream(engine, source, source.streams[0])
        for connection in held:
            connection.close()
    assert (result.stats.rows, result.retries) == (1, 0)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"\x05\0\0\0\nabcd", b"", None]
)
def test_a_host_that_is_no_mysql_server_is_passed_over(
    engine: Engine, mariadb_server: MariadbServer, monkeypatch: pytest.MonkeyPatch, greeting: bytes | None
) -> None:
    with mute_port() if greeting is None else greeting_port(greeting) as port:
        monkeypatch.setenv("AWAY_DSN", one_row(mariadb_server).replace("@", f"@127.0.0.1:{port},"))
        source = declared("mysql", "big", connect_timeout="1s")
        result = pull_stream(engine, source, source.streams[0])
    assert (result.stats.rows, result.retries) == (1, 0)


def test_a_wrong_password_is_not_tried_on_the_next_host(
    engine: Engine, mariadb_server: MariadbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = one_row(mariadb_server).replace(PASSWORD, "another")
    monkeypatch.setenv("AWAY_DSN", f"{dsn.rpartition('/')[0]},127.0.0.1:{free_port()}/mysql")
    source = declared("mysql", "big")
    with pytest.raises(AccessError):
        pull_stream(engine, source, source.streams[0])


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
        dsn = one_row(mariadb_server)
    monkeypatch.setenv("AWAY_DSN", dsn.replace("@", f"@127.0.0.1:{free_port()},"))
    source = declared(kind, "public.big" if kind == "postgres" else "big")
    assert pull_stream(engine, source, source.streams[0]).stats.rows == 1

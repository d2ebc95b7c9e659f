"""A pull that waits for its source ends as soon as it is told to, and leaves nothing behind."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from superinsight_sync.core.errors import SisError, StopRequested
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.deaf import mute_port
from superinsight_sync_tests.servers.mariadb import MariadbServer
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.waiting import until

DEAF: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rest": ({"base_url": "http://127.0.0.1:{port}", "allow_private": True}, {"endpoint": "x"}),
    "graphql": (
        {"base_url": "http://127.0.0.1:{port}", "allow_private": True},
        {"query": "{ things { id } }"},
    ),
    "soap": ({"wsdl": "http://127.0.0.1:{port}/?wsdl", "allow_private": True}, {"operation": "ListThings"}),
    "files": ({"path": "http://127.0.0.1:{port}/", "allow_private": True}, {"path": "a.csv"}),
    "files ftp": ({"path": "ftp://127.0.0.1:{port}/", "allow_private": True}, {"path": "a.csv"}),
    "files sftp": (
        {"path": "sftp://127.0.0.1:{port}/", "allow_private": True, "user": "u", "password": "{{ env.PW }}"},
        {"path": "a.csv"},
    ),
    "files s3": (
        {
            "path": "s3://bucket/in",
            "endpoint": "http://127.0.0.1:{port}",
            "region": "x",
            "anonymous": True,
            "allow_private": True,
        },
        {"path": "a.csv"},
    ),
    "postgres": ({"dsn": "postgresql://u@127.0.0.1:{port}/d"}, {"table": "t"}),
    "mysql": ({"dsn": "mysql://u@127.0.0.1:{port}/d"}, {"table": "t"}),
    "mongodb": ({"dsn": "mongodb://127.0.0.1:{port}/d?directConnection=true"}, {"collection": "c"}),
    "redis": ({"dsn": "redis://127.0.0.1:{port}/0"}, {"topic": "t", "sync": {"mode": "incremental", "by": "position"}}),
    "kafka": (
        {"servers": "127.0.0.1:{port}"},
        {"topic": "t", "sync": {"mode": "incremental", "by": "position"}},
    ),
}  # fmt: skip


def declared(kind: str, connection: dict[str, Any], stream: dict[str, Any], port: int = 0) -> SourceSpec:
    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(v) for v in value]
        return value.replace("{port}", str(port)) if isinstance(value, str) else value

    return SourceSpec.model_validate(
        {
            "name": "slow",
            "connection": {"kind": kind.split()[0], **{k: filled(v) for k, v in connection.items()}},
            "streams": [{"name": "things", **stream}],
        }
    )


class Pulling:
    """A pull in a thread of its own."""

    def __init__(self, engine: Engine, source: SourceSpec) -> None:
        self.engine, self.source = engine, source
        self.error: SisError | None = None
        self._thread = threading.Thread(target=self._pull, daemon=True)
        self._thread.start()

    def _pull(self) -> None:
        try:
            pull_stream(self.engine, self.source, self.source.streams[0])
        except SisError as error:
            self.error = error

    def at_work(self) -> bool:
        """Whether it has begun and goes on."""
        assert self.error is None, self.error
        return self.engine.state.leases.holder("pull default/slow/things") is not None

    def stopped(self) -> None:
        """It ends at once, as stopped, and leaves nothing."""
        self.engine.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "it does not stop"
        assert isinstance(self.error, StopRequested), self.error
        (row,) = self.engine.state.executions.recent()
        assert (row.status, row.rows, row.load_id) == ("stopped", 0, None)
        assert self.engine.state.leases.holder("pull default/slow/things") is None
        assert not self.engine.lake.exists(table_of(self.source, self.source.streams[0], "raw"))
        assert self.engine.state.dead_letters.list() == ()


@pytest.fixture
def deaf() -> Iterator[int]:
    with mute_port() as port:
        yield port


@pytest.mark.parametrize("kind", DEAF)
def test_a_pull_from_a_server_that_says_nothing_stops(
    engine: Engine, kind: str, deaf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "secret")
    connection, stream = DEAF[kind]
    pulling = Pulling(engine, declared(kind, connection, stream, deaf))
    until(pulling.at_work, "it is at work")
    pulling.stopped()


def test_the_query_is_cancelled_at_postgres(engine: Engine, postgres_server: PostgresServer) -> None:
    dsn = postgres_server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS a")
    query = "SELECT count(*) AS c FROM t AS x, t AS y, t AS z WHERE x.a + y.a <> z.a"
    pulling = Pulling(engine, declared("postgres", {"dsn": dsn}, {"query": query}))
    with psycopg.connect(dsn, autocommit=True) as db:

        def active() -> list[Any]:
            mine = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
            return db.execute(f"{mine} AND query LIKE 'COPY%'").fetchall()

        until(lambda: pulling.at_work() and active(), "the query runs")
        pulling.stopped()
        until(lambda: not active(), "the query is cancelled")


@pytest.mark.parametrize("selected", ["x.a", "sum(x.a)"], ids=["rows flow", "before the first row"])
def test_the_query_is_ended_at_mysql(
    engine: Engine, mariadb_server: MariadbServer, monkeypatch: pytest.MonkeyPatch, selected: str
) -> None:
    dsn = mariadb_server.create_database()
    monkeypatch.setenv("SLOW", dsn)
    with mariadb_server.connect(dsn.rpartition("/")[2]) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT seq AS a FROM seq_1_to_10000")
        db.commit()
    query = f"SELECT {selected} AS a FROM t AS x, t AS y, t AS z WHERE x.a + y.a <> z.a"
    pulling = Pulling(engine, declared("mysql", {"dsn": "{{ env.SLOW }}"}, {"query": query}))
    with mariadb_server.connect() as db, db.cursor() as cursor:

        def active() -> int:
            return cursor.execute(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%sis-%' AND INFO LIKE '%x.a%'"
                " AND ID <> CONNECTION_ID()"
            )

        until(lambda: pulling.at_work() and active(), "the query runs")
        pulling.stopped()
        until(lambda: not active(), "the query is ended")


def endless_sqlite(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its driver cannot be interrupted: the read is left alone, and may land nothing."""
    with closing(sqlite3.connect(folder / "x.db")) as lite:
        lite.execute("CREATE TABLE t (a INTEGER)")
    numbers = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n LIMIT 50000000) SELECT count(*) AS c FROM n"
    return {"path": str(folder / "x.db")}, {"query": numbers}


def endless_duckdb(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import duckdb

    with duckdb.connect(str(folder / "x.duckdb")) as db:
        db.execute("CREATE TABLE t AS SELECT range AS a FROM range(1000000)")
    return {"path": str(folder / "x.duckdb")}, {"query": "SELECT sum(x.a * y.a % 7) AS c FROM t AS x, t AS y"}


@pytest.mark.parametrize(("kind", "endless"), [("sqlite", endless_sqlite), ("duckdb", endless_duckdb)])
def test_a_query_that_never_ends_is_interrupted(
    engine: Engine,
    tmp_path: Path,
    kind: str,
    endless: Callable[[Path], tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    (tmp_path / "data").mkdir()
    pulling = Pulling(engine, declared(kind, *endless(tmp_path / "data")))
    until(pulling.at_work, "it is at work")
    pulling.stopped()

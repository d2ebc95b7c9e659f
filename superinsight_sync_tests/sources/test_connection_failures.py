"""What a person reads when a connection fails: the class decides what happens, the text says what to do."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.deaf import garbage_port, mute_port
from superinsight_sync_tests.servers.mariadb import PASSWORD, MariadbServer
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.servers.process import new_name
from superinsight_sync_tests.sources.reading import stream

SECRET = "not-the-pa55word"


@dataclass(frozen=True)
class Servers:
    postgres: PostgresServer
    mariadb: MariadbServer
    folder: Path
    nobody: str
    """An account of both without rights on the tables `forbidden`."""
    database: str
    """The database of that table in PostgreSQL; `closed` is the one in MariaDB."""
    closed: str


@pytest.fixture(scope="module")
def servers(
    postgres_server: PostgresServer, mariadb_server: MariadbServer, tmp_path_factory: pytest.TempPathFactory
) -> Servers:
    nobody = new_name("nobody")
    database = postgres_server.create_database()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(f"CREATE ROLE {nobody} LOGIN PASSWORD '{SECRET}'".encode())
        db.execute("CREATE TABLE forbidden AS SELECT 1 AS a")
    closed = mariadb_server.create_database().rsplit("/", 1)[1]
    with mariadb_server.connect() as my, my.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {closed}.forbidden (a int)")
        cursor.execute(f"CREATE USER {nobody}@'127.0.0.1' IDENTIFIED BY '{SECRET}'")
    folder = tmp_path_factory.mktemp("lite")
    with closing(sqlite3.connect(folder / "x.db")) as lite:
        lite.execute("CREATE TABLE t (a)")
    (folder / "no.db").write_text("this is a letter, not a database, and it goes on for a while " * 40)
    return Servers(postgres_server, mariadb_server, folder, nobody, database.rsplit("/", 1)[1], closed)


Address = Callable[[Servers, int], str]


@dataclass(frozen=True)
class Failure:
    """How it is provoked, and what must be said. `listener` is what listens at the port given to `dsn`."""

    name: str
    kind: str
    dsn: Address
    cls: type[SisError]
    says: str
    table: str = ""
    listener: str = ""
    keys: tuple[tuple[str, str], ...] = ()


def pg(user: str = "postgres", database: str = "postgres", options: str = "") -> Address:
    def dsn(servers: Servers, _: int) -> str:
        port = re.search(r":(\d+)/", servers.postgres.dsn())
        assert port
        where = servers.database if user == "nobody" else database
        name = servers.nobody if user == "nobody" else user
        return f"postgresql://{name}:{SECRET}@127.0.0.1:{port.group(1)}/{where}{options}"

    return dsn


def my(user: str = "root", password: str = PASSWORD, database: str = "mysql") -> Address:
    return lambda servers, _: servers.mariadb.dsn(
        database, servers.nobody if user == "nobody" else user, password
    )


def at(scheme: str, host: str) -> Address:
    return lambda _, port: f"{scheme}://u:{SECRET}@{host}:{port}/d"


def lite(name: str) -> Address:
    return lambda servers, _: str(servers.folder / name)


REACH = "server runs and can be reached"
FAILURES = [
    *[
        case
        for kind, scheme in (("postgres", "postgresql"), ("mysql", "mysql"))
        for case in (
            Failure("wrong-port", kind, at(scheme, "127.0.0.1"), TransientError, REACH),
            Failure("unknown-host", kind, at(scheme, "no-such-host.invalid"), TransientError, "name of the host"),
            Failure("mute", kind, at(scheme, "127.0.0.1"), TransientError, REACH, listener="mute"),
            Failure("no-database-server", kind, at(scheme, "127.0.0.1"), TransientError, REACH, listener="garbage"),
        )
    ],
    Failure("wrong-password", "postgres", pg("stranger"), AccessError, "user, password and rights"),
    Failure("unknown-database", "postgres", pg(database="nowhere"), ConfigError, "name of the database"),
    Failure("no-rights", "postgres", pg("nobody"), AccessError, "GRANT SELECT", table="forbidden"),
    Failure("unknown-table", "postgres", pg(), ConfigError, "There are:", table="public.forbiden"),
    Failure("tls-refused", "postgres", pg(options="?sslmode=require"), ConfigError, "TLS"),
    Failure("timeout", "postgres", pg(), TransientError, "statement_timeout", table="pg_sleeping",
            keys=(("statement_timeout", "1s"),)),
    Failure("wrong-password", "mysql", my(password=SECRET), AccessError, "user, password and rights"),
    Failure("unknown-database", "mysql", my(database="nowhere"), ConfigError, "name of the database"),
    Failure("no-rights", "mysql", my("nobody", SECRET, ""), SisError, "forbidden", table="closed.forbidden"),
    Failure("unknown-table", "mysql", my(), ConfigError, "There are:", table="closed.forbiden"),
    Failure("unknown-file", "sqlite", lite("absent.db"), ConfigError, "absent.db"),
    Failure("no-database", "sqlite", lite("no.db"), ConfigError, "not a database"),
    Failure("unknown-table", "sqlite", lite("x.db"), ConfigError, "There are: t", table="tt"),
]  # fmt: skip


@contextmanager
def port_of(listener: str) -> Iterator[int]:
    if listener == "mute":
        with mute_port() as port:
            yield port
    elif listener == "garbage":
        with garbage_port() as port:
            yield port
    else:
        yield free_port()


def opened(failure: Failure, servers: Servers, port: int, project: Settings) -> Source:
    where = failure.dsn(servers, port)
    connection: dict[str, Any] = {"kind": failure.kind}
    if failure.kind == "sqlite":
        connection["path"] = where
    else:
        os.environ["TEST_FAILING"] = where
        connection |= {"dsn": "{{ env.TEST_FAILING }}", "connect_timeout": "2s", **dict(failure.keys)}
    return open_source(connection, project)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: f"{f.kind}-{f.name}")
def test_a_failure_is_classified_and_worded(failure: Failure, servers: Servers, project: Settings) -> None:
    with port_of(failure.listener) as port:
        source = opened(failure, servers, port, project)
        with pytest.raises(SisError) as caught:
            if failure.name == "timeout":
                slow = "SELECT count(*) AS a FROM pg_class a, pg_class b, pg_class c, pg_class d"
                source.count(ReadRequest(stream(query=slow)))
            elif failure.table:
                read_one(source, failure.table.replace("closed", servers.closed))
            else:
                source.probe()
    assert isinstance(caught.value, failure.cls), repr(caught.value)
    assert failure.says in str(caught.value), str(caught.value)
    assert SECRET not in str(caught.value)


def read_one(source: Source, table: str) -> None:
    with source.read(ReadRequest(stream(table=table), limit=1)) as batches:
        batches.read_all()

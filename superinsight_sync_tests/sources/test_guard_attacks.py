"""No statement that writes gets through, in any dialect, however it is written; and what gets through changes
nothing on the servers there are."""

import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases import guard
from superinsight_sync.databases.guard import check_select
from superinsight_sync_tests.servers.mariadb import MariadbServer
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.sources.attacks import MORE, PUBLIC, attacks
from superinsight_sync_tests.sources.test_guard import assert_only_reads

DIALECTS = sorted(guard._NAMED)
SHAPES = ("{}", "({})", "SELECT * FROM ({}) AS q", "WITH q AS ({}) SELECT * FROM q", "SELECT 1; {}",
          "SELECT 1 UNION ALL {}", "SELECT ({})", "{};", "SELECT 1 WHERE EXISTS ({})", "{} -- x", "{} /* x */",
          "SELECT * FROM (SELECT * FROM ({}) AS a) AS b", "SELECT a FROM t WHERE a IN ({})", "/*!50000 {} */",
          "SELECT CASE WHEN 1 = 1 THEN ({}) END", "SELECT 1 {}", "SELECT 1\n{}")  # fmt: skip
SPACES = (
    " ",
    "\n",
    "\t",
    "\r\n",
    "\x0b",
    "\x0c",
    "\u00a0",
    "\u2003",
    "/**/",
    " -- x\n",
    "/* ; */",
    "/*!*/",
    "+",
)
HOMOGLYPHS = str.maketrans({"E": "Е", "a": "а", ";": ";", "'": "＇", "S": "Ｓ", "-": "－"})


@pytest.mark.parametrize(("dialect", "sql"), [(d, a) for d in MORE for a in attacks(d)])
def test_an_attack_is_refused_or_only_reads(dialect: str, sql: str) -> None:
    try:
        written = check_select(sql, dialect)
    except ConfigError:
        return
    assert sql in PUBLIC or sql == "SELECT 1 DELETE t" or sql.startswith("SELECT 1 "), written
    assert_only_reads(written, dialect)


@st.composite
def mutated(draw: st.DrawFn, dialect: str) -> str:
    """An attack written another way: case, spaces and comments between words, look-alike letters, nested, joined."""
    attack = draw(st.sampled_from([a for a in attacks(dialect) if len(a) > 8 and "\x00" not in a]))
    pieces = re.split(r"('[^']*'|\"[^\"]*\"|--.*|/\*.*?\*/)", attack)
    cases = st.sampled_from([str.upper, str.lower, str.swapcase, str.title])
    changed = "".join(p if n % 2 else draw(cases)(p) for n, p in enumerate(pieces))
    if "--" not in changed and "'" not in changed and '"' not in changed:
        changed = re.sub(" ", lambda _: draw(st.sampled_from(SPACES)), changed)
    if draw(st.integers(0, 9)) == 0:
        changed = changed.translate(HOMOGLYPHS)
    if draw(st.integers(0, 9)) == 0:
        changed = unicodedata.normalize("NFKC", changed)
    for _ in range(draw(st.integers(1, 2))):
        changed = draw(st.sampled_from(SHAPES)).format(changed)
    return changed


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_statement_that_writes_gets_through(dialect: str) -> None:
    @settings(max_examples=150)
    @given(mutated(dialect))
    def holds(sql: str) -> None:
        try:
            written = check_select(sql, dialect)
        except ConfigError:
            return
        assert_only_reads(written, dialect)
        assert check_select(written, dialect) == written

    holds()


TABLES = ("t", "u")


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(postgres_server.create_database(), autocommit=True) as db:
        for name in TABLES:
            db.execute(f"CREATE TABLE {name} AS SELECT 1 AS a, 1 AS id")
        db.execute("CREATE SEQUENCE s")
        yield db


@settings(max_examples=100, deadline=None)
@given(sql=mutated("postgres"))
def test_what_gets_through_changes_nothing_on_postgresql(
    postgres: "psycopg.Connection[Any]", sql: str
) -> None:
    try:
        written = check_select(sql, "postgres")
    except ConfigError:
        return
    with psycopg.connect(postgres.info.dsn) as reading:
        reading.read_only = True
        reading.execute("SET statement_timeout = 2000")
        try:
            reading.execute(written)
        except psycopg.Error as error:
            assert not isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
    found = postgres.execute(
        "SELECT t.a, u.a, (SELECT last_value FROM s), (SELECT is_called FROM s) FROM t, u"
    ).fetchall()
    assert found == [(1, 1, 1, False)]
    tables = postgres.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert tables.fetchone() == (3,)


@pytest.fixture(scope="module")
def mariadb(mariadb_server: MariadbServer) -> Iterator["pymysql.Connection[pymysql.cursors.Cursor]"]:
    name = mariadb_server.create_database().rsplit("/", 1)[1]
    with mariadb_server.connect(name) as db, db.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table} AS SELECT 1 AS a, 1 AS id")
        yield db


@settings(max_examples=100, deadline=None)
@given(sql=mutated("mysql"))
def test_what_gets_through_changes_nothing_on_mariadb(
    mariadb: "pymysql.Connection[pymysql.cursors.Cursor]", sql: str
) -> None:
    try:
        written = check_select(sql, "mysql")
    except ConfigError:
        return
    with mariadb.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")
        cursor.execute("SET max_statement_time = 2")
        try:
            cursor.execute(written)
        except pymysql.Error as error:
            assert error.args[0] != 1792, "only the session kept it from writing"
        cursor.execute("SET SESSION TRANSACTION READ WRITE")
        cursor.execute("SELECT t.a, u.a FROM t, u")
        assert list(cursor.fetchall()) == [(1, 1)]
        cursor.execute("SHOW TABLES")
        assert len(cursor.fetchall()) == len(TABLES)


@settings(max_examples=100, deadline=None)
@given(sql=mutated("sqlite"))
def test_what_gets_through_changes_nothing_in_sqlite(
    tmp_path_factory: pytest.TempPathFactory, sql: str
) -> None:
    try:
        written = check_select(sql, "sqlite")
    except ConfigError:
        return
    path: Path = tmp_path_factory.mktemp("lite") / "x.db"
    with closing(sqlite3.connect(path)) as db:
        for name in TABLES:
            db.execute(f"CREATE TABLE {name} AS SELECT 1 AS a, 1 AS id")
        db.commit()
    before = path.read_bytes()
    with closing(sqlite3.connect(path)) as db:  # writable: the gate alone must hold
        with suppress(sqlite3.Error, sqlite3.Warning):
            db.execute(written).fetchmany(100)
        db.commit()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.db"]

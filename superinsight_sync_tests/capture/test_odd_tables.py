"""Keys, names, transactions and columns that seldom occur: afterwards the lake holds what a pull reads."""

from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from superinsight_sync.capture.postgres.making import names_of
from superinsight_sync.capture.protocol import Pace
from superinsight_sync.core.arrow_values import rows_of
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.capture.bank import QUICK, Running, captured, capturing, caught_up, seen
from superinsight_sync_tests.waiting import until

LONG = "repeat(md5(random()::text), 500)"


def is_equal(engine: Engine, settings: Settings, source: SourceSpec, stream: StreamSpec) -> bool:
    """Whether the raw table has what a pull reads, cell by cell."""
    with open_source(source.connection, settings).read(
        ReadRequest(StreamSpec(name="x", table=stream.table))
    ) as reader:
        pulled = reader.read_all().sort_by([(k, "ascending") for k in stream.primary_key])
    found = seen(engine, source, stream)
    if not set(pulled.column_names) <= set(found.column_names):
        return False
    return repr(rows_of(found.select(pulled.column_names))) == repr(rows_of(pulled))


class Case:
    """A table, and what happens to it while it is captured."""

    def __init__(self, engine: Engine, settings: Settings, bank: str) -> None:
        self._engine, self._settings, self._bank = engine, settings, bank

    def follow(
        self, setup: str, *steps: str, streams: Any = ({"table": "a"},), pace: Pace = QUICK
    ) -> Running:
        with psycopg.connect(self._bank, autocommit=True) as db:
            db.execute(setup.encode())
            source = captured(self._bank, *streams)
            with capturing(self._engine, source, pace=pace) as running:
                caught_up(self._engine, source, self._bank, running)
                for step in steps:
                    db.execute(step.encode())
                    caught_up(self._engine, source, self._bank, running)
                for stream in source.streams:
                    equal = partial(is_equal, self._engine, self._settings, source, stream)
                    until(partial(_ended_or, running, equal), "the raw table differs from a pull")
        return running


def _ended_or(running: Running, seen: Callable[[], bool]) -> bool:
    return not running.alive or seen()


@pytest.fixture
def case(engine: Engine, settings: Settings, bank: str) -> Case:
    return Case(engine, settings, bank)


def test_a_key_that_the_server_keeps_beside_the_row(case: Case) -> None:
    key = "repeat(chr(64 + i), 2500)"
    case.follow(
        "CREATE TABLE a (id int, k text, v int, body text, PRIMARY KEY (id, k));"
        "ALTER TABLE a ALTER k SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;"
        f"INSERT INTO a SELECT i, {key}, i, repeat(md5(i::text), 500) FROM generate_series(1, 5) i",
        "UPDATE a SET v = v + 10 WHERE v = 1",
        "UPDATE a SET id = 77 WHERE v = 2",
        "DELETE FROM a WHERE v = 3",
        "UPDATE a SET k = repeat('z', 2600) WHERE v = 4",
        streams=({"table": "a", "primary_key": ["id", "k"]},),
    )


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_keys_that_change_places_and_transactions_of_every_kind(case: Case, identity: str) -> None:
    case.follow(
        "CREATE TABLE a (id int PRIMARY KEY, v int, body text); ALTER TABLE a ALTER body SET STORAGE EXTERNAL;"
        f"ALTER TABLE a REPLICA IDENTITY {identity};"
        f"INSERT INTO a SELECT i, i, {LONG} FROM generate_series(1, 9) i",
        "BEGIN; UPDATE a SET id = -1 WHERE id = 1; UPDATE a SET id = 1 WHERE id = 2;"
        "UPDATE a SET id = 2 WHERE id = -1; COMMIT",
        "BEGIN; UPDATE a SET id = 30 WHERE id = 3; UPDATE a SET id = 3 WHERE id = 30; COMMIT",
        "BEGIN; DELETE FROM a WHERE id = 4; UPDATE a SET id = 4 WHERE id = 5;"
        "UPDATE a SET v = 55 WHERE id = 4; COMMIT",
        "BEGIN; TRUNCATE a; INSERT INTO a VALUES (1, 1, 'x'); UPDATE a SET v = 2; TRUNCATE a;"
        "INSERT INTO a VALUES (2, 2, NULL); SAVEPOINT s; INSERT INTO a VALUES (3, 3, 'c'); ROLLBACK TO s;"
        "SAVEPOINT t; INSERT INTO a VALUES (4, 4, 'd'); RELEASE t; COMMIT",
        "BEGIN; INSERT INTO a VALUES (10, 10, repeat(md5('x'), 500)); PREPARE TRANSACTION 'p'",
        "INSERT INTO a VALUES (11, 1, '')",
        "COMMIT PREPARED 'p'",
        "BEGIN; UPDATE a SET v = 100; PREPARE TRANSACTION 'q'",
        "ROLLBACK PREPARED 'q'",
    )


def test_names_that_need_quotes(case: Case) -> None:
    case.follow(
        'CREATE SCHEMA x; CREATE SCHEMA "Y z"; CREATE TABLE x.t (id int PRIMARY KEY, v int);'
        'CREATE TABLE "Y z"."T" ("I.d" int PRIMARY KEY, "qu""ote" int, "größe" text, "a.b" int, s int, "select" text,'
        ' "it\'s" text, "{x}" text); ALTER TABLE "Y z"."T" ALTER "it\'s" SET STORAGE EXTERNAL;'
        "INSERT INTO x.t VALUES (1, 1);"
        "INSERT INTO \"Y z\".\"T\" VALUES (1, 1, 'b', 2, 3, 'c', repeat('d', 9000), 'y')",
        "INSERT INTO x.t VALUES (3, 3)",
        'INSERT INTO "Y z"."T" SELECT 3, 7, \'b\', 2, 3, \'c\', "it\'s", \'y\' FROM "Y z"."T"',
        'UPDATE "Y z"."T" SET "a.b" = 9',
        streams=(
            {"table": "x.t", "name": "xt"},
            {"table": '"Y z"."T"', "name": "yt", "primary_key": ["I.d"]},
        ),
    )


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN c int DEFAULT 5",
        "ADD COLUMN c timestamptz DEFAULT clock_timestamp()",
        "RENAME v TO w",
        "ALTER v TYPE bigint USING v * 10",
        "ALTER v TYPE text USING 'x' || v",
        "DROP v, ADD v int DEFAULT 3",
    ],
)
def test_values_that_a_change_of_columns_gave_to_old_records_are_read_anew(case: Case, change: str) -> None:
    case.follow(
        "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (2, 2)",
        f"ALTER TABLE a {change}",
    )


def test_a_change_of_columns_while_nothing_runs_is_found_at_the_next_start(
    engine: Engine, settings: Settings, bank: str, case: Case
) -> None:
    case.follow("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("ALTER TABLE a ADD c int DEFAULT 5; INSERT INTO a VALUES (2, 6)")
    source = captured(bank, {"table": "a"})
    with capturing(engine, source) as running:
        until(
            lambda: not running.alive or is_equal(engine, settings, source, source.streams[0]),
            "the old records do not get the new value",
        )


def test_a_record_that_moved_before_its_long_column_was_dropped(
    engine: Engine, settings: Settings, bank: str, case: Case
) -> None:
    case.follow(
        "CREATE TABLE a (id int PRIMARY KEY, v int, body text); ALTER TABLE a ALTER body SET STORAGE EXTERNAL;"
        f"INSERT INTO a SELECT i, i, {LONG} FROM generate_series(1, 3) i"
    )
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("UPDATE a SET id = 10 WHERE id = 1; ALTER TABLE a DROP body; INSERT INTO a VALUES (4, 4)")
    source = captured(bank, {"table": "a"})
    with capturing(engine, source) as running:
        caught_up(engine, source, bank, running)
    assert is_equal(engine, settings, source, source.streams[0])


@pytest.mark.parametrize(
    "gone",
    ["DROP TABLE a; CREATE TABLE a (id int PRIMARY KEY)", "ALTER PUBLICATION sis_acme_bank DROP TABLE a"],
)
def test_a_table_that_the_log_tells_no_more_of_stops_the_capture(
    engine: Engine, bank: str, gone: str
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY)")
        source = captured(bank, {"table": "a"})
        with (
            pytest.raises(ConfigError, match="was dropped, or taken out"),
            capturing(engine, source) as running,
        ):
            caught_up(engine, source, bank, running)
            db.execute(gone.encode())
            until(lambda: not running.alive, "it goes on")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("numeric", ("1.0", "2.50", "1e30")),
        ("timestamptz", ("2026-01-01T00:00:00.5Z", "1890-01-01T00:00:00Z", "2026-01-02")),
        ("bytea", (r"\x00", r"\xff", r"\x")),
        ("float8", ("1.5", "-0", "1e300")),
        ("char(4)", ("a", "b", "cc")),
        ("interval", ("1day", "2h", "1mon")),
        ("jsonb", ('{"a":1}', "2", '"x"')),
        ("inet", ("10.0.0.1", "10.0.0.0/8", "::1")),
        ("int4range", ("[1,2)", "[2,3)", "empty")),
    ],
)
def test_keys_of_many_types(case: Case, kind: str, values: tuple[str, str, str]) -> None:
    one, two, three = values
    case.follow(
        f"CREATE TABLE a (id {kind} PRIMARY KEY, v int); INSERT INTO a VALUES ('{one}', 1), ('{two}', 2)",
        f"UPDATE a SET v = v + 10; DELETE FROM a WHERE v = 11; INSERT INTO a VALUES ('{three}', 5);"
        f"UPDATE a SET id = '{one}' WHERE v = 12",
        pace=Pace(window_s=0.02, chunk_rows=1, idle_s=0.05),
    )


def test_no_two_sources_have_the_same_slot() -> None:
    def slot(tenant: str, name: str) -> str:
        return names_of(captured("postgresql://nowhere", {"table": "a"}, tenant=tenant, name=name)).slot

    assert slot("acme", "shop_db") == "sis_acme_shop_db"
    alike = [("a", "b_c"), ("a_b", "c"), ("x" * 40, "y" * 30), ("x" * 40, "y" * 31)]
    names = [slot(*each) for each in alike]
    assert len(set(names)) == len(alike) and max(map(len, names)) <= 63

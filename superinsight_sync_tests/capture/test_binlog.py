"""MariaDB: from a commit at the source to the raw table."""

import pyarrow as pa
import pytest

from superinsight_sync.capture.mariadb import snapshot
from superinsight_sync.capture.protocol import Finding, LogLostError, Pace, open_feed
from superinsight_sync.core.settings import Settings
from superinsight_sync.lake.types import cast_batch, storable_schema
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.capture.bank import captured, capturing, caught_up, landed, log_of, seen
from superinsight_sync_tests.capture.shop import Shop
from superinsight_sync_tests.servers.mariadb import MariadbServer, running_logged_mariadb
from superinsight_sync_tests.servers.process import new_name
from superinsight_sync_tests.sources.test_mysql import TORTURE, as_sql
from superinsight_sync_tests.waiting import until


def test_what_was_there_and_what_changes_is_in_the_raw_table(
    engine: Engine, settings: Settings, shop: Shop
) -> None:
    shop.run("CREATE TABLE a (id int PRIMARY KEY, owner text, balance decimal(12,2))")
    shop.run("INSERT INTO a SELECT seq, concat('o', seq), seq FROM seq_1_to_1200")
    source = captured(shop.dsn, {"table": "a"})
    with capturing(engine, source) as running:
        caught_up(engine, source, shop.dsn, running)
        shop.run("INSERT INTO a VALUES (2000, 'new', 1.5)", "UPDATE a SET balance = 7 WHERE id = 3")
        shop.run("UPDATE a SET id = 3000 WHERE id = 4", "DELETE FROM a WHERE id = 5")
        caught_up(engine, source, shop.dsn, running)
    found = landed(engine, source, "a")
    assert [tuple(r.values()) for r in found.to_pylist()] == shop.run("SELECT * FROM a ORDER BY id")
    ops = [r["_sis_op"] for r in log_of(engine, source, "a")]
    assert ops[0] == "snapshot_begin" and ops.count("snapshot") == 1200
    assert ops[-5:] == ["insert", "update", "delete", "update", "delete"]


VALUES = [(declared, text) for declared, text, *_ in TORTURE if declared not in ("uuid", "inet6")] + [
    ("decimal(5,2)", "-0.05"),
    ("decimal(30,15)", "-123456789012345.000000000000001"),
    ("decimal(65,30)", "-0.5"),
    ("time(3)", "-00:00:00.500"),
    ("time(1)", "12:34:56.7"),
    ("time(6)", "-838:59:59.000001"),
    ("datetime(4)", "0001-01-01 00:00:00.1234"),
    ("timestamp(3) null", "2026-12-01 01:02:03.004"),
    ("year", "1901"),
    ("set('b','a','c')", "a,b"),
    ("set('x')", ""),
    ("enum('ä','ö')", "ö"),
    ("enum('a','b') charset latin1", "b"),
    ("char(4) charset ucs2", "aß"),
    ("varchar(300) charset utf16", "größe 😀"),
    ("text charset latin1", "€ ÿ"),
    ("char(3) charset ascii", ""),
    ("varbinary(9)", ""),
    ("mediumblob", "x'ff'"),
    ("binary(20)", "x'0000'"),
    ("float", "-3.4e38"),
    ("double", "-0.0"),
    ("bit(7)", "b'1010101'"),
]


def test_every_type_is_what_a_pull_gives(
    engine: Engine, settings: Settings, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"c{n}" for n in range(len(VALUES))]
    columns = ", ".join(f"{n} {t}" for n, (t, _) in zip(names, VALUES, strict=True))
    values = ", ".join(as_sql(text) for _, text in VALUES)
    shop.run(f"CREATE TABLE a (id int PRIMARY KEY, {columns})")

    def insert(first: int) -> None:
        shop.run(f"INSERT INTO a VALUES ({first}, {values})", f"INSERT INTO a (id) VALUES ({first + 1})")

    insert(0)
    source = captured(shop.dsn, {"table": "a"})
    with capturing(engine, source) as running:
        caught_up(engine, source, shop.dsn, running)
        insert(100)
        caught_up(engine, source, shop.dsn, running)
    monkeypatch.setenv("TEST_SHOP_DSN", shop.dsn)
    pull = open_source({"kind": "mysql", "dsn": "{{ env.TEST_SHOP_DSN }}"}, settings)
    with pull.read(ReadRequest(StreamSpec(name="a", table="a"))) as reader:
        read = reader.read_all().sort_by("id")
    stored = storable_schema(read.schema)
    pulled = pa.Table.from_batches([cast_batch(b, stored) for b in read.to_batches()], stored)
    found = landed(engine, source, "a")
    assert found.column("id").to_pylist() == [0, 1, 100, 101]
    assert found.schema.names == pulled.schema.names
    different = [
        f"{declared}: {found.column(n)} {pulled.column(n)}"
        for n, (declared, _) in zip(names, VALUES, strict=True)
        if not found.column(n).combine_chunks().equals(pulled.column(n).combine_chunks())
    ]
    assert not different


def test_what_changes_after_a_chunk_was_read_is_newer_than_the_chunk(
    engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is committed while the chunk's transaction is open, and before the log was read up to its place."""
    shop.run("CREATE TABLE a (id int PRIMARY KEY, v int, body text)")
    shop.run("INSERT INTO a SELECT seq, 0, md5(seq) FROM seq_1_to_250")
    read, count = snapshot.Snapshot._read, iter(range(1000))

    def reading(self: snapshot.Snapshot) -> pa.RecordBatch:
        found = read(self)
        first = next(count) * 100
        shop.run(
            f"UPDATE a SET v = 1 WHERE id = {first + 1}",
            f"DELETE FROM a WHERE id IN ({first + 2}, {first + 3}, {first + 120})",
            f"INSERT INTO a VALUES ({first + 3}, 3, 'again'), ({1000 + first}, 9, 'later')",
            f"UPDATE a SET id = -id WHERE id = {first + 5}",
        )
        return found

    monkeypatch.setattr(snapshot.Snapshot, "_read", reading)
    source = captured(shop.dsn, {"table": "a"})
    with capturing(engine, source, pace=Pace(window_s=0.02, chunk_rows=100, idle_s=0.05)) as running:
        caught_up(engine, source, shop.dsn, running)
        caught_up(engine, source, shop.dsn, running)  # the last chunk changed something too
    rows = [tuple(r.values()) for r in landed(engine, source, "a").to_pylist()]
    assert rows == shop.run("SELECT * FROM a ORDER BY id")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint unsigned", ("1", "18446744073709551615", "7")),
        ("decimal(12,3)", ("'-1.5'", "'2.250'", "'9'")),
        ("varchar(40) collate utf8mb4_general_ci", ("'a'", "'ä\\'x'", "'Zz'")),
        ("varchar(40) charset latin1", ("'é'", "'b'", "''")),
        ("varbinary(9)", ("x'00'", "x'ff27'", "x''")),
        ("datetime(6)", ("'2026-01-01 00:00:00.5'", "'1000-01-01'", "'9999-12-31'")),
        ("timestamp(3) default '2000-01-01'", ("'2026-01-01 00:00:00.5'", "'1999-01-01'", "'2030-12-31'")),
        ("date", ("'2026-01-01'", "'1000-01-01'", "'9999-12-31'")),
    ],
)
def test_snapshots_go_by_keys_of_many_types(
    engine: Engine, shop: Shop, kind: str, values: tuple[str, str, str]
) -> None:
    one, two, three = values
    shop.run(f"CREATE TABLE a (id {kind}, n int, v int, PRIMARY KEY (id, n))")
    shop.run(f"INSERT INTO a VALUES ({one}, 1, 1), ({one}, 2, 2), ({two}, 1, 3), ({three}, 1, 4)")
    source = captured(shop.dsn, {"table": "a", "primary_key": ["id", "n"]})
    with capturing(engine, source, pace=Pace(window_s=0.02, chunk_rows=1, idle_s=0.05)) as running:
        caught_up(engine, source, shop.dsn, running)
        shop.run(f"UPDATE a SET v = v + 10 WHERE id = {one}", f"DELETE FROM a WHERE id = {two}")
        caught_up(engine, source, shop.dsn, running)
    assert sorted(landed(engine, source, "a").column("v").to_pylist()) == [4, 11, 12]
    assert [r["_sis_op"] for r in log_of(engine, source, "a")].count("snapshot") == 4


def test_values_that_statements_gave_to_old_records_are_read_anew(engine: Engine, shop: Shop) -> None:
    shop.run("CREATE TABLE a (id int PRIMARY KEY, v int)", "INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)")
    shop.run("CREATE TABLE old LIKE a", "INSERT INTO old VALUES (9, 90)")
    source = captured(shop.dsn, {"table": "a"})

    def has(rows: list[dict[str, object]]) -> bool:
        found: list[dict[str, object]] = seen(engine, source, source.streams[0]).to_pylist()
        return found == rows

    with capturing(engine, source) as running:
        caught_up(engine, source, shop.dsn, running)
        shop.run("ALTER TABLE a ADD COLUMN c int DEFAULT 5")
        until(
            lambda: not running.alive or has([{"id": n, "v": n, "c": 5} for n in (1, 2, 3)]), "no new default"
        )
        shop.run("ALTER TABLE a DROP COLUMN v, ADD COLUMN v int DEFAULT 7 AFTER id")
        until(lambda: not running.alive or has([{"id": n, "v": 7, "c": 5} for n in (1, 2, 3)]), "no new v")
        shop.run("SET SESSION binlog_format = 'STATEMENT'", "UPDATE a SET v = 8 WHERE id = 1")
        shop.run("SET SESSION binlog_format = 'ROW'", "TRUNCATE TABLE old", "TRUNCATE TABLE a")
        until(lambda: not running.alive or has([]), "it is not emptied")
        shop.run("ALTER TABLE old ADD COLUMN c int", "RENAME TABLE a TO gone, old TO a")
        shop.run("INSERT INTO a VALUES (4, 4, 4)")
        until(lambda: not running.alive or has([{"id": 4, "v": 4, "c": 4}]), "no other table")
    assert landed(engine, source, "a").to_pylist() == [{"id": 4, "v": 4, "c": 4}]


def test_a_table_that_was_dropped_stops_the_capture(engine: Engine, shop: Shop) -> None:
    shop.run("CREATE TABLE a (id int PRIMARY KEY)")
    source = captured(shop.dsn, {"table": "a"})
    with pytest.raises(LogLostError, match="dropped"), capturing(engine, source) as running:
        caught_up(engine, source, shop.dsn, running)
        shop.run("DROP TABLE a")
        until(lambda: not running.alive, "it goes on")


def test_transactions_in_two_phases_land_when_they_are_committed(engine: Engine, shop: Shop) -> None:
    shop.run("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    source = captured(shop.dsn, {"table": "a"})
    with capturing(engine, source) as running:
        caught_up(engine, source, shop.dsn, running)
        for name, number in (("one", 2), ("two", 3)):
            shop.run(f"XA START '{name}'", f"INSERT INTO a VALUES ({number})", f"XA END '{name}'")
            shop.run(f"XA PREPARE '{name}'", "XA ROLLBACK 'one'" if name == "one" else "XA COMMIT 'two'")
        caught_up(engine, source, shop.dsn, running)
        until(
            lambda: seen(engine, source, source.streams[0]).column("id").to_pylist() == [1, 3],
            "it is not there",
        )


def test_a_binlog_that_was_purged_stops_the_capture_and_a_resnapshot_mends_it(engine: Engine) -> None:
    with running_logged_mariadb() as server:
        shop = Shop(server)
        shop.run("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1), (2)")
        source = captured(shop.dsn, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, shop.dsn, running)
        shop.run("DELETE FROM a WHERE id = 1", "FLUSH BINARY LOGS", "INSERT INTO a VALUES (3)")
        shop.run("FLUSH BINARY LOGS", "SET @file = ''")
        newest = shop.run("SHOW BINARY LOGS")[-1][0]
        until(lambda: _purged(shop, str(newest)), "the binlog is not purged")
        with pytest.raises(LogLostError, match="was purged"), capturing(engine, source) as running:
            until(lambda: not running.alive, "it goes on")
        assert landed(engine, source, "a").column("id").to_pylist() == [1, 2]
        engine.state.workers.want_anew("capture", "acme", "bank/a")
        with capturing(engine, source) as running:
            caught_up(engine, source, shop.dsn, running)
        assert landed(engine, source, "a").column("id").to_pylist() == [2, 3]


def _purged(shop: Shop, newest: str) -> bool:
    shop.run(f"PURGE BINARY LOGS TO '{newest}'")
    return len(shop.run("SHOW BINARY LOGS")) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("CREATE TABLE a (id int)", "may be NULL"),
        ("CREATE TABLE a (id int NOT NULL)", "no index keeps"),
        ("CREATE TABLE a (id int, n int, PRIMARY KEY (id, n))", "no index keeps"),
        ("CREATE TABLE a (id int PRIMARY KEY) ENGINE = MyISAM", "no consistent snapshots"),
        ("CREATE TABLE a (id int PRIMARY KEY, v text charset koi8r)", "character set koi8r"),
        ("CREATE TABLE a (id int PRIMARY KEY, v enum('ä') charset latin1)", "character set latin1"),
    ],
)
def test_a_table_that_cannot_be_captured_is_told_and_mended(
    settings: Settings, shop: Shop, make: str, said: str
) -> None:
    shop.run(make)
    found = lacks(settings, shop.dsn)
    assert any(said in f.what for f in found), found
    shop.run(*(f.statement for f in found))
    assert not lacks(settings, shop.dsn)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("CREATE VIEW a AS SELECT 1 AS id", "is a view"),
        ("CREATE TABLE a (id int PRIMARY KEY) WITH SYSTEM VERSIONING", "is a system versioned"),
        ("CREATE TABLE a (id enum('x') PRIMARY KEY)", "by which no snapshot can go"),
        ("CREATE TABLE a (id int PRIMARY KEY, u uuid)", "is uuid"),
        ("CREATE TABLE b (id int)", "there is no table"),
    ],
)
def test_a_table_that_no_statement_mends_is_refused(
    settings: Settings, shop: Shop, make: str, said: str
) -> None:
    shop.run(make)
    assert [said in f.what for f in lacks(settings, shop.dsn)] == [True]


def test_a_foreign_key_whose_deletes_are_in_no_log_is_refused(settings: Settings, shop: Shop) -> None:
    shop.run("CREATE TABLE p (id int PRIMARY KEY)")
    shop.run(
        "CREATE TABLE a (id int PRIMARY KEY, p int, CONSTRAINT k FOREIGN KEY (p) REFERENCES p(id) ON DELETE CASCADE)"
    )
    (found,) = lacks(settings, shop.dsn)
    assert "foreign key k cascades is in no log" in found.what
    shop.run(found.statement)
    assert not lacks(settings, shop.dsn)


def test_an_account_with_few_rights_is_told_all_it_lacks(
    settings: Settings, shop: Shop, logged_mariadb: MariadbServer
) -> None:
    user = new_name("u")[:20]
    database = shop.dsn.rpartition("/")[2]
    shop.run("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE other (id int)")
    shop.run(
        f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'x1'",
        f"GRANT SELECT ON {database}.other TO {user}@'127.0.0.1'",
    )
    theirs = logged_mariadb.dsn(database, user, "x1")
    found = lacks(settings, theirs)
    assert len(found) == 2, found
    shop.run(*(f.statement.partition("; --")[0] for f in found))
    assert not lacks(settings, theirs)


def test_a_server_without_a_binlog_is_told_what_it_lacks(
    settings: Settings, mariadb_server: MariadbServer
) -> None:
    shop = Shop(mariadb_server)
    shop.run("CREATE TABLE a (id int PRIMARY KEY)")
    assert [f.what.partition(":")[0] for f in lacks(settings, shop.dsn)] == ["log_bin is OFF"]


def lacks(settings: Settings, dsn: str) -> list[Finding]:
    source = captured(dsn, {"table": "a"})
    return [f for f in open_feed(source, settings).check() if f.level == "missing"]

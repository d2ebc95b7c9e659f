"""What changes at the source, and how: keys, values the log leaves out, whole tables, columns, big transactions."""

import resource
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake import change_merge
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync_tests.capture.bank import (
    QUICK,
    Running,
    captured,
    capturing,
    caught_up,
    landed,
    log_of,
    seen,
)
from superinsight_sync_tests.waiting import until

LONG = "repeat(md5(random()::text), 500)"
"""So long that the server keeps it beside the row, and the log leaves it out if it does not change."""


def rows_of(db: psycopg.Connection[Any], query: str) -> list[dict[str, Any]]:
    with db.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_long_values_that_did_not_change_are_kept(engine: Engine, bank: str, identity: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE notes (id int PRIMARY KEY, n int, body text, other text)")
        db.execute("ALTER TABLE notes ALTER body SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL")
        db.execute(f"ALTER TABLE notes REPLICA IDENTITY {identity}")
        db.execute(f"INSERT INTO notes SELECT i, 0, {LONG}, {LONG} FROM generate_series(1, 6) i")
        source = captured(bank, {"table": "public.notes"})
        with capturing(engine, source, merge_s=3600) as running:
            caught_up(engine, source, bank, running)
            landed(engine, source, "notes")
            db.execute("UPDATE notes SET n = 1 WHERE id = 1")  # its long values are in the table only
            db.execute(f"INSERT INTO notes VALUES (10, 0, {LONG}, {LONG})")
            db.execute("UPDATE notes SET n = 2 WHERE id = 10")  # they are in an earlier change
            db.execute(f"UPDATE notes SET body = {LONG} WHERE id = 2")
            db.execute("UPDATE notes SET n = 3 WHERE id = 2")  # one of them in each
            db.execute("UPDATE notes SET id = 30 WHERE id = 3")  # they are under another key
            db.execute("UPDATE notes SET id = 41, n = 5 WHERE id = 4")
            db.execute("UPDATE notes SET id = 42 WHERE id = 41")
            db.execute("UPDATE notes SET body = NULL WHERE id = 5")
            db.execute("UPDATE notes SET n = 9 WHERE id = 5")
            caught_up(engine, source, bank, running)
        rows = rows_of(db, "SELECT * FROM notes ORDER BY id")
    assert landed(engine, source, "notes").to_pylist() == rows


def test_an_emptied_table_is_empty_and_what_came_later_is_there(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int)")
        db.execute("INSERT INTO a SELECT i, i FROM generate_series(1, 50) i; INSERT INTO b SELECT * FROM a")
        source = captured(bank, {"table": "public.a"}, {"table": "b", "sync": {"deletes": "soft"}})
        with capturing(engine, source, merge_s=3600) as running:
            caught_up(engine, source, bank, running)
            landed(engine, source, "a"), landed(engine, source, "b")
            db.execute("INSERT INTO a VALUES (60, 60); TRUNCATE a, b; INSERT INTO a VALUES (7, 70)")
            db.execute("INSERT INTO b VALUES (8, 80)")
            caught_up(engine, source, bank, running)
        assert landed(engine, source, "a").to_pylist() == [{"id": 7, "v": 70}]
    b = landed(engine, source, "b", system=True).to_pylist()
    assert [r["id"] for r in b if r["_sis_deleted_at"] is None] == [8]
    assert len(b) == 50


@pytest.mark.parametrize(("deletes", "left"), [("hard", [1]), ("soft", [1, 2, 3]), ("ignore", [1, 2, 3])])
def test_deleted_records_are_gone_marked_or_left(
    engine: Engine, bank: str, deletes: str, left: list[int]
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)")
        source = captured(bank, {"table": "a", "sync": {"deletes": deletes}})
        with capturing(engine, source, merge_s=3600) as running:
            caught_up(engine, source, bank, running)
            landed(engine, source, "a")
            db.execute("DELETE FROM a WHERE id > 1; INSERT INTO a VALUES (2, 22)")
            db.execute("DELETE FROM a WHERE id = 2")
            db.execute("INSERT INTO a VALUES (9, 9); DELETE FROM a WHERE id = 9")
            caught_up(engine, source, bank, running)
    found = landed(engine, source, "a", system=True).to_pylist()
    assert [r["id"] for r in found if r["id"] != 9 or deletes != "ignore"] == left
    if deletes == "soft":
        assert [r["_sis_deleted_at"] is None for r in found] == [True, False, False]


def test_columns_come_go_and_change_their_type(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int, w text); INSERT INTO a VALUES (1, 1, 'x')")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute("INSERT INTO a VALUES (2, 2, 'y')")
            db.execute("ALTER TABLE a ADD COLUMN more numeric(5,1)")
            db.execute("INSERT INTO a VALUES (3, 3, 'z', 1.5)")
            db.execute("ALTER TABLE a DROP COLUMN w")
            db.execute("INSERT INTO a VALUES (4, 4, 2.5)")
            db.execute("ALTER TABLE a ALTER v TYPE bigint")
            db.execute("INSERT INTO a VALUES (5, 5000000000, 3.5)")
            until(lambda: _has(engine, source, "w", [None] * 5) or not running.alive, "it is not read anew")
    found = landed(engine, source, "a")
    assert {n: str(t) for n, t in zip(found.schema.names, found.schema.types, strict=True)} == {
        "id": "int32",
        "v": "int64",
        "w": "string",
        "more": "decimal128(5, 1)",
    }
    assert found.column("v").to_pylist() == [1, 2, 3, 4, 5_000_000_000]


def _has(engine: Engine, source: SourceSpec, column: str, values: list[Any]) -> bool:
    found = seen(engine, source, source.streams[0])
    return column in found.column_names and found.column(column).to_pylist() == values


def test_a_frozen_contract_stops_at_a_new_column(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY)")
        source = captured(bank, {"table": "a", "schema_contract": "freeze"})
        with pytest.raises(ConfigError, match="new column v"), capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute("ALTER TABLE a ADD COLUMN v int; INSERT INTO a VALUES (1, 1)")
            caught_up(engine, source, bank, running)


def test_a_big_transaction_lands_whole_and_leaves_memory_flat(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, body text)")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source, merge_s=3600) as running:
            caught_up(engine, source, bank, running)
            db.execute("INSERT INTO a SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 10000) i")
            caught_up(engine, source, bank, running)
            before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            db.execute(
                "INSERT INTO a SELECT i, repeat(md5(i::text), 20) FROM generate_series(10001, 60000) i"
            )
            caught_up(engine, source, bank, running)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    loads = {r["_sis_load_id"] for r in log_of(engine, source, "a") if (r["id"] or 0) > 10_000}
    assert len(loads) == 1
    assert grown < 100_000, f"{grown} kB more for a transaction of 32 MB"


def test_a_rolled_back_transaction_and_other_tables_leave_nothing(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute(
                "BEGIN; INSERT INTO a VALUES (1); SAVEPOINT s; INSERT INTO a VALUES (2); ROLLBACK TO s; COMMIT"
            )
            db.execute("BEGIN; INSERT INTO a VALUES (3); ROLLBACK; INSERT INTO other VALUES (1)")
            caught_up(engine, source, bank, running)
    assert landed(engine, source, "a").column("id").to_pylist() == [1]


def test_a_partitioned_table_and_a_key_of_several_columns(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute(
            'CREATE TABLE "Odd Table" ("Key" text, day date, v int, PRIMARY KEY ("Key", day)) PARTITION BY RANGE (day)'
        )
        for name, first, end in (("p1", "2026-01-01", "2026-02-01"), ("p2", "2026-02-01", "2026-03-01")):
            db.execute(
                f"CREATE TABLE {name} PARTITION OF \"Odd Table\" FOR VALUES FROM ('{first}') TO ('{end}')"
            )
        insert = """INSERT INTO "Odd Table" SELECT 'k' || i % 7, date '2026-01-01' + i % 50, i
                    FROM generate_series({}, {}) i ON CONFLICT DO NOTHING"""
        db.execute(insert.format(1, 300))
        stream = {"name": "odd", "table": '"Odd Table"', "primary_key": ["Key", "day"]}
        source = captured(bank, stream)
        pace = QUICK.__class__(window_s=0.02, chunk_rows=100, idle_s=0.05)
        with capturing(engine, source, pace=pace) as running:
            caught_up(engine, source, bank, running)
            db.execute(
                "UPDATE \"Odd Table\" SET day = '2026-02-10' WHERE day = '2026-01-05' AND \"Key\" = 'k4'"
            )
            db.execute("DELETE FROM \"Odd Table\" WHERE day = '2026-01-07'")
            caught_up(engine, source, bank, running)
        rows = rows_of(db, 'SELECT * FROM "Odd Table" ORDER BY "Key" COLLATE "C", day')
    assert landed(engine, source, "odd").to_pylist() == rows


def test_a_stream_added_later_gets_its_snapshot_and_the_others_go_on(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
        db.execute("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1), (2)")
        first = captured(bank, {"table": "a"})
        with capturing(engine, first) as running:
            caught_up(engine, first, bank, running)
        db.execute("INSERT INTO a VALUES (2); INSERT INTO b VALUES (3)")
        both = captured(bank, {"table": "a"}, {"table": "b"})
        with capturing(engine, both) as running:
            caught_up(engine, both, bank, running)
            db.execute("INSERT INTO b VALUES (4)")
            caught_up(engine, both, bank, running)
    assert landed(engine, both, "a").column("id").to_pylist() == [1, 2]
    assert landed(engine, both, "b").column("id").to_pylist() == [1, 2, 3, 4]
    assert [r["_sis_op"] for r in log_of(engine, both, "a")].count("snapshot") == 1


def _is_anew(engine: Engine) -> bool:
    worker = engine.state.workers.get("capture", "acme", "bank/a")
    return worker is not None and worker.anew == worker.anew_done == 1


def _snapshots(engine: Engine, log: TableRef) -> int:
    """Those that have ended."""
    ops: list[str] = engine.lake.scan(log).read_all().column("_sis_op").to_pylist()
    return ops.count("snapshot_end")


def test_a_resnapshot_finds_what_was_never_told_and_loses_nothing(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
        db.execute("ALTER PUBLICATION sis_acme_bank DROP TABLE a")
        db.execute(
            "DELETE FROM a WHERE id = 1; UPDATE a SET v = 22 WHERE id = 2; INSERT INTO a VALUES (4, 4)"
        )
        with (
            pytest.raises(ConfigError, match="has not told of a for a time"),
            capturing(engine, source) as running,
        ):
            caught_up(engine, source, bank, running)
        assert landed(engine, source, "a").column("v").to_pylist() == [1, 2, 3]
        engine.state.workers.want_anew("capture", "acme", "bank/a")
        with capturing(engine, source) as running:
            until(lambda: _is_anew(engine), "the stream is not read anew")
            caught_up(engine, source, bank, running)
    assert landed(engine, source, "a").to_pylist() == [
        {"id": n, "v": v} for n, v in ((2, 22), (3, 3), (4, 4))
    ]


def test_a_slot_that_was_lost_or_moved_stops_the_capture_and_resnapshots_mend_it(
    engine: Engine, bank: str
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2)")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
        db.execute("SELECT pg_drop_replication_slot('sis_acme_bank')")
        db.execute("DELETE FROM a WHERE id = 1; INSERT INTO a VALUES (3)")
        with (
            pytest.raises(ConfigError, match="slot 'sis_acme_bank' is gone"),
            capturing(engine, source) as running,
        ):
            caught_up(engine, source, bank, running)
        db.execute("SELECT pg_create_logical_replication_slot('sis_acme_bank', 'pgoutput')")
        with pytest.raises(ConfigError, match="made it anew"), capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
        log = table_of(source, source.stream("a"), "changes")
        point = engine.lake.checkpoint(log)
        assert point is not None  # as if the log had been another server's
        far = replace(point, detail={**point.detail, "position": "F" * 16})
        engine.lake.set_checkpoint(log, far)
        engine.state.workers.want_anew("capture", "acme", "bank/a")
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute("INSERT INTO a VALUES (4)")
            caught_up(engine, source, bank, running)
    assert landed(engine, source, "a").column("id").to_pylist() == [2, 3, 4]


def test_one_slot_is_followed_once_and_a_paused_source_stands_still(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY)")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            other = captured(bank, {"table": "a", "sync": {"slot": "sis_acme_bank"}}, name="twin")
            second = Running(engine, other)
            second.start()
            second._thread.join()
            assert "followed by another process" in str(second.error)
            engine.state.workers.want("capture", "acme", "bank", "pause")
            running._thread.join()
        worker = engine.state.workers.get("capture", "acme", "bank")
        assert worker is not None and worker.state == "paused"
        db.execute("INSERT INTO a VALUES (1)")
        engine.state.workers.want("capture", "acme", "bank", "run")
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
    assert landed(engine, source, "a").column("id").to_pylist() == [1]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"table": "a", "primary_key": []}, "needs the primary_key"),
        ({"query": "SELECT 1"}, "a query has no change log"),
        ({"table": "a", "sync": {"cursor": "id"}}, "leave out cursor"),
        ({"table": "a", "sync": {"disposition": "append"}}, "leave out disposition"),
        ({"table": "a", "sync": {"mode": "full", "slot": "x"}}, "belong to mode: capture"),
        ({"table": "a", "sync": {"slot": "Not-One"}}, "pattern"),
        ({"table": "a", "partition": {"by": "day", "start": "2026-01-01"}}, "partitions need"),
        ({"table": "a", "save": {"raw": "memory"}}, "lands in the lake"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(stream: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        captured(
            "postgresql://nowhere", {"name": "a", "table": None, **stream} if "query" in stream else stream
        )


def test_computed_columns_are_left_out(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED)")
        db.execute("INSERT INTO a VALUES (1, 1)")
        source = captured(bank, {"table": "a"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute("UPDATE a SET v = 2; INSERT INTO a VALUES (2, 5)")
            caught_up(engine, source, bank, running)
    assert landed(engine, source, "a").to_pylist() == [{"id": 1, "v": 2}, {"id": 2, "v": 5}]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_changes_merged_a_few_at_a_time_give_the_same_table(
    engine: Engine, bank: str, monkeypatch: pytest.MonkeyPatch, deletes: str
) -> None:
    monkeypatch.setattr(change_merge, "MERGE_ROWS", 7)
    monkeypatch.setattr(change_merge, "_LEAST_ROWS", 1)
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE a (id int PRIMARY KEY, v int, body text)")
        db.execute("ALTER TABLE a ALTER body SET STORAGE EXTERNAL")
        db.execute(f"INSERT INTO a SELECT i, 0, {LONG} FROM generate_series(1, 20) i")
        source = captured(bank, {"table": "a", "sync": {"deletes": deletes}})
        with capturing(engine, source, merge_s=3600) as running:
            caught_up(engine, source, bank, running)
            db.execute("UPDATE a SET v = v + id; UPDATE a SET id = id + 100 WHERE id % 5 = 0")
            db.execute("DELETE FROM a WHERE id % 3 = 0; UPDATE a SET v = 1 WHERE id = 1")
            db.execute(f"INSERT INTO a SELECT i, 5, {LONG} FROM generate_series(200, 212) i; TRUNCATE a")
            db.execute(f"INSERT INTO a SELECT i, 6, {LONG} FROM generate_series(5, 25) i")
            db.execute("UPDATE a SET v = 7 WHERE id % 2 = 0")
            caught_up(engine, source, bank, running)
            engine.state.workers.want_anew("capture", "acme", "bank/a")
            log = table_of(source, source.stream("a"), "changes")
            until(lambda: _snapshots(engine, log) == 2 or not running.alive, "it is not read anew")
            db.execute("DELETE FROM a WHERE id = 6; UPDATE a SET v = 9 WHERE id = 7")
            caught_up(engine, source, bank, running)
        rows = rows_of(db, "SELECT * FROM a ORDER BY id")
    found = landed(engine, source, "a", system=True).to_pylist()
    alive = [r for r in found if r.get("_sis_deleted_at") is None]
    assert [{k: r[k] for k in ("id", "v", "body")} for r in alive] == rows
    assert (len(found) > len(alive)) == (deletes == "soft")

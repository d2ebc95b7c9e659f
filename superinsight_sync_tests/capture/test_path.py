"""From a commit at the source to the raw table: what the lake holds is what the source has."""

import psycopg
import pyarrow as pa
import pytest

from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.pipeline import merging
from superinsight_sync.pipeline.capture import Capture
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.pipeline.reset import reset_stream
from superinsight_sync.pipeline.retain import maintain_lake
from superinsight_sync_tests.capture.bank import QUICK, captured, capturing, caught_up, landed, log_of


def test_what_was_there_and_what_changes_is_in_the_raw_table(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE accounts (id bigint PRIMARY KEY, owner text, balance numeric(12,2))")
        db.execute("INSERT INTO accounts SELECT n, 'o' || n, n FROM generate_series(1, 1200) n")
        source = captured(bank, {"table": "public.accounts"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute("INSERT INTO accounts VALUES (2000, 'new', 1.5)")
            db.execute("UPDATE accounts SET balance = 7 WHERE id = 3")
            db.execute("UPDATE accounts SET id = 3000 WHERE id = 4")
            db.execute("DELETE FROM accounts WHERE id = 5")
            caught_up(engine, source, bank, running)
        rows = db.execute("SELECT id, owner, balance FROM accounts ORDER BY id").fetchall()
    found = landed(engine, source, "accounts")
    assert [tuple(r.values()) for r in found.to_pylist()] == rows
    assert found.schema.field("balance").type == pa.decimal128(12, 2)
    ops = [r["_sis_op"] for r in log_of(engine, source, "accounts")]
    assert ops[0] == "snapshot_begin" and ops.count("snapshot") == 1200
    assert ops[-5:] == ["insert", "update", "delete", "update", "delete"]


def test_an_error_that_nobody_foresaw_in_the_merge_stops_the_capture(
    engine: Engine, bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(merging, "merge_changes", fail)
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE accounts (id bigint PRIMARY KEY)")
    with pytest.raises(RuntimeError, match="broken"):
        Capture(engine, captured(bank, {"table": "accounts"}), pace=QUICK, merge_s=0.01).run(StopSignal())


def test_upkeep_and_a_reset_leave_a_capture_that_goes_on(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE accounts (id bigint PRIMARY KEY); INSERT INTO accounts VALUES (1)")
        source = captured(bank, {"table": "accounts"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            maintain_lake(engine, [source])
            db.execute("INSERT INTO accounts VALUES (2)")
            caught_up(engine, source, bank, running)
        assert landed(engine, source, "accounts").column("id").to_pylist() == [1, 2]
        reset_stream(engine, source, source.streams[0])
        db.execute("INSERT INTO accounts VALUES (3); DELETE FROM accounts WHERE id = 1")
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
        assert landed(engine, source, "accounts").column("id").to_pylist() == [2, 3]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_what_is_refined_follows(engine: Engine, bank: str, deletes: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE accounts (id bigint PRIMARY KEY, v int)")
        db.execute("INSERT INTO accounts VALUES (1, 1), (2, 2), (3, 3)")
        source = captured(bank, {"table": "accounts", "sync": {"deletes": deletes}})
        stream = source.streams[0]
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            landed(engine, source, "accounts")
            refine_stream(engine, source, stream)
            db.execute("DELETE FROM accounts WHERE id = 1; UPDATE accounts SET v = 22 WHERE id = 2")
            caught_up(engine, source, bank, running)
        landed(engine, source, "accounts")
        refine_stream(engine, source, stream)
    rows = engine.lake.scan(table_of(source, stream, "refined")).read_all().sort_by("id").to_pylist()
    alive = [(r["id"], r["v"]) for r in rows if r.get("_sis_deleted_at") is None]
    assert alive == [(2, 22), (3, 3)]
    assert len(rows) == (2 if deletes == "hard" else 3)
    assert refine_stream(engine, source, stream).unchanged

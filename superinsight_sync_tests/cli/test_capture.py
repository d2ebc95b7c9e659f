"""`sis capture` as a user has it: what is checked, shown, asked for and told to Dagster."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.orchestration import capture as orchestrated
from superinsight_sync.orchestration.build import source_definitions
from superinsight_sync.orchestration.capture import Captures
from superinsight_sync.orchestration.checks import capture_check
from superinsight_sync.pipeline import capture
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.waiting import until

DECLARED = """type: superinsight_sync.SyncSource
attributes:
  name: bank
  owners: ["team:data"]
  connection: {kind: postgres, dsn: "{{ env.TEST_BANK_DSN }}"}
  streams:
    - name: accounts
      table: public.accounts
      primary_key: [id]
      sync: {mode: capture}
      refine:
        - {step: rule, name: positive, check: "balance > 0", else: quarantine}
"""


@pytest.fixture
def bank(log_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    dsn = log_server.create_database()
    for name in ("SIS_HOME", "SIS_LAKE_URL", "SIS_DATABASE_URL", "SIS_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / f"bank_{dsn.rpartition('_')[2]}"
    assert sis("init", str(folder)).code == 0
    declared = folder / folder.name / "defs" / "bank"
    declared.mkdir()
    (declared / "defs.yaml").write_text(DECLARED)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    for module, name, seconds in (
        (orchestrated, "_TELL_S", 0),
        (orchestrated, "_MERGE_S", 0.1),
        (capture, "_TELL_S", 0),
    ):
        monkeypatch.setattr(module, name, seconds)
    monkeypatch.setenv("TEST_BANK_DSN", dsn)
    monkeypatch.setenv("SIS_LEASE_TTL_S", "1")
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance numeric(9,2))")
        db.execute("INSERT INTO accounts SELECT i, i FROM generate_series(1, 5) i")
        yield dsn
        db.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE database = current_database() AND active"
        )
        db.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )
    sys.path[:] = [p for p in sys.path if p != str(folder)]


@contextmanager
def supervised(instance: dg.DagsterInstance) -> Iterator[None]:
    """`sis capture run` in a thread."""
    stop = StopSignal()
    thread = threading.Thread(target=Captures(open_engine(), instance).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def shown() -> dict[str, Any]:
    found = sis("capture", "status", "--json").document["captures"]
    return next((c for c in found if c["target"] == "bank"), {})


def health() -> str | None:
    """What the asset check says."""
    source = load_project(load_settings()).source("bank")
    graph = source_definitions(source).resolve_asset_graph()
    assert dg.AssetCheckKey(dg.AssetKey(["bank", "raw_accounts"]), "capture") in graph.asset_check_keys
    found = capture_check(source, source.stream("accounts"))()
    assert isinstance(found, dg.AssetCheckResult) and found.passed == (found.description is None)
    return found.description


def raw_rows() -> list[dict[str, Any]]:
    done = sis("preview", "bank.accounts", "--landed", "raw", "--limit", "100", "--json")
    return [] if done.code else sorted(done.document["rows"], key=lambda r: r["id"])


def test_a_source_is_captured_paused_and_read_anew(bank: str) -> None:
    checked = sis("capture", "check", "bank", "--json")
    assert checked.code == 0 and {f["level"] for f in checked.document["findings"]} == {"ok", "warning"}
    key = dg.AssetKey(["bank", "raw_accounts"])
    with dg.DagsterInstance.ephemeral() as instance, psycopg.connect(bank, autocommit=True) as db:
        with supervised(instance):
            until(lambda: len(raw_rows()) == 5, "the records there were do not land")
            db.execute("UPDATE accounts SET balance = -1 WHERE id = 2; DELETE FROM accounts WHERE id = 3")
            until(lambda: len(raw_rows()) == 4, "the changes do not land")
            told = instance.get_latest_materialization_event(key)
            assert told is not None and told.asset_materialization is not None
            assert told.asset_materialization.metadata["sis/changes"].value
            until(lambda: shown().get("state") == "running", "it does not say how it is")
            assert health() is None
            assert sis("capture", "pause", "bank").code == 0
            until(lambda: shown()["state"] == "paused", "it does not pause")
            assert "it is paused" in (health() or "")
            db.execute("INSERT INTO accounts VALUES (6, 6)")
            assert sis("capture", "resume", "bank").code == 0
            until(lambda: len(raw_rows()) == 5, "it does not go on")
            assert sis("capture", "resnapshot", "bank.accounts").code == 0
            until(lambda: _anew_done() == 1, "it is not read anew")
        assert shown()["state"] == "stopped"
        source, stream = load_project(load_settings()).stream("bank.accounts")
        refined = refine_stream(open_engine(), source, stream)
        assert (refined.rows_written, dict(refined.quarantined)) == (4, {"positive": 1})
        assert sis("capture", "drop", "bank", "--json").document["dropped"] == [
            "replication slot sis_default_bank",
            "publication sis_default_bank",
        ]


def _anew_done() -> int:
    found = open_engine().state.workers.get("capture", "default", "bank/accounts")
    return found.anew_done if found else 0


def test_a_capture_that_cannot_go_on_says_why_and_goes_on_when_it_is_mended(bank: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance, psycopg.connect(bank, autocommit=True) as db:
        db.execute("ALTER TABLE accounts DROP CONSTRAINT accounts_pkey")
        checked = sis("capture", "check", "bank")
        assert checked.code == 1
        assert "has never run" in (health() or "")
        assert 'ALTER TABLE "public"."accounts" ADD PRIMARY KEY ("id");' in checked.out
        with supervised(instance):
            until(lambda: shown().get("state") == "failed", "it does not fail")
            assert "has no key in its log" in shown()["error_text"]
            assert "has no key in its log" in (health() or "")
            db.execute("ALTER TABLE accounts ADD PRIMARY KEY (id)")
            assert sis("capture", "resume", "bank").code == 0
            until(lambda: len(raw_rows()) == 5, "it does not go on")


def test_what_is_not_captured_is_refused(bank: str) -> None:
    assert "no stream of 'shop' is captured" in sis("capture", "check", "shop").err
    assert "is not captured" in sis("capture", "resnapshot", "bank.other").err

"""Dagster on our storage class: a job reaches SUCCESS on SQLite and on PostgreSQL."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from superinsight_sync.state import open_state
from superinsight_sync_tests.orchestration import storage_child
from superinsight_sync_tests.orchestration.storage_child import answer
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.warm import run_warm

ROOT = Path(__file__).parents[2]


def child(env: dict[str, str], *arguments: str) -> dict[str, Any]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SIS_")}
    done = run_warm(storage_child.main, *arguments, env={**clean, **env}, cwd=ROOT)
    assert done.code == 0, done.err
    seen: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return seen


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "dagster_home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    return {"DAGSTER_HOME": str(home), "SIS_HOME": str(tmp_path / "sis")}


def check(env: dict[str, str], storage: str) -> dict[str, Any]:
    seen = child(env, "run")
    assert seen["success"] is True and seen["storage"] == storage
    assert (seen["telemetry"], seen["nux"]) == (False, False)
    assert seen["coordinator"] == "SyncRunCoordinator" and seen["max_runtime_s"] > 0
    assert "RUN" in seen["pools"]
    assert seen["limits"] == {"source_crm": 2}, "the limit holds from a pool's first run on"
    assert child(env, "read", seen["ref"], seen["run_id"]) == {
        "status": "SUCCESS",
        "rows": 42,
        "messages": ["hello 🛬"],
    }
    left = sorted(p.name for p in Path(env["DAGSTER_HOME"]).rglob("*"))
    assert left == ["dagster.yaml"], "nothing is written beside the project's files, telemetry least of all"
    return seen


def test_a_job_succeeds_on_sqlite_and_another_process_reads_its_events(env: dict[str, str]) -> None:
    check(env, "SqliteEvents")
    kept = {p.name for p in (Path(env["SIS_HOME"]) / "dagster").iterdir()}
    assert "history" in kept


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_job_succeeds_on_postgres_beside_our_own_tables(
    env: dict[str, str], postgres_server: PostgresServer, scheme: str
) -> None:
    ours = postgres_server.create_database()
    url = ours.replace("postgresql://", f"{scheme}://").replace("postgres@", "postgres:hunter2@")
    state = open_state(url)
    seen = check({**env, "SIS_DATABASE_URL": url}, "PostgresEvents")
    assert "hunter2" not in seen["ref"], "a reference travels on command lines"
    assert open_state(url).executions.recent() == state.executions.recent() == ()
    assert not (Path(env["SIS_HOME"]) / "dagster" / "history").exists()


def all_at_once(env: dict[str, str], folder: Path) -> None:
    """Four processes that are ready before the first of them begins."""
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(lambda n: child(env, "run_together", str(folder), str(n), "4"), range(4)))
    assert all(s["success"] for s in seen) and len({s["run_id"] for s in seen}) == 4


def test_processes_that_are_a_new_projects_first_all_run(env: dict[str, str], tmp_path: Path) -> None:
    all_at_once(env, tmp_path)


def test_processes_that_are_the_first_on_a_postgres_all_run(
    env: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    all_at_once({**env, "SIS_DATABASE_URL": postgres_server.create_database()}, tmp_path)


def test_a_process_that_comes_second_in_making_a_pool_known_changes_nothing(
    env: dict[str, str], postgres_server: PostgresServer
) -> None:
    on_postgres = {**env, "SIS_DATABASE_URL": postgres_server.create_database()}
    assert child(on_postgres, "pools_made_known_again") == {"source_crm": 2, "source_erp": 5}


def test_the_workspace_and_the_project_agree_on_the_locations_name() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    (entry,) = workspace["load_from"]
    assert entry["python_module"]["module_name"] == "superinsight_sync.definitions"
    assert entry["python_module"]["location_name"] == "superinsight_sync"
    assert 'code_location_name = "superinsight_sync"' in (ROOT / "pyproject.toml").read_text()


def test_a_new_projects_dagster_yaml_is_this_ones() -> None:
    template = ROOT / "superinsight_sync" / "cli" / "template" / "dagster.yaml.tmpl"
    assert template.read_text() == (ROOT / "dagster.yaml").read_text()


def test_events_keep_their_files_open_but_never_many(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index and the last few runs: each event of one found its file open."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def opened() -> set[str]:
        files = (p.resolve() for p in Path("/proc/self/fd").iterdir() if p.exists())
        return {p.name for p in files if p.is_relative_to(env["SIS_HOME"]) and p.suffix == ".db"}

    with dg.DagsterInstance.get() as instance:
        assert list(instance.all_instigator_state()) == []
        runs = [dg.materialize([answer], instance=instance).run_id for _ in range(6)]
        assert opened() >= {"index.db", "runs.db", *(f"{run}.db" for run in runs[-4:])}
        assert not opened() & {f"{run}.db" for run in runs[:2]}
        assert len(instance.fetch_materializations(dg.AssetKey("answer"), limit=10).records) == 6
        logged = [len(instance.all_logs(run)) for run in runs]
        events = Path(env["SIS_HOME"]) / "dagster" / "history" / "runs"
        plain = SqliteEventLogStorage(str(events))
        plain.register_instance(instance)
        assert [len(plain.get_logs_for_run(run)) for run in runs] == logged
        instance.event_log_storage.wipe()
        assert dg.materialize([answer], instance=instance).success
    assert opened() <= {"schedules.db"}

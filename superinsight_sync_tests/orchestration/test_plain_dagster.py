"""Dagster's and dg's own commands from a project's root."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.cli.conftest import VISITS, make_web
from superinsight_sync_tests.warm import command as as_in_a_shell
from superinsight_sync_tests.warm import run_warm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("plain") / "plainshop"
    assert sis("init", str(folder)).code == 0
    make_web(folder / "data" / "web.db")
    (folder / "plainshop" / "defs" / "web").mkdir()
    (folder / "plainshop" / "defs" / "web" / "defs.yaml").write_text(VISITS)
    yield folder


def call(folder: Path, *command: str, fails: bool | None = False, **env: str) -> str:
    """What the command says. `fails`: whether it must; None if either will do."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SIS_")}
    path = os.pathsep.join([str(ROOT), str(folder)])
    own = {"DAGSTER_HOME": str(folder), "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    clean["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", "")])
    done = run_warm(as_in_a_shell, *command, env={**clean, **own, **env}, cwd=folder)
    assert fails is None or bool(done.code) == fails, done.out + done.err
    return done.out + done.err


def test_a_range_of_partitions_is_one_run(shop: Path) -> None:
    select = ["--select", "web/raw_visits,web/visits"]
    module = ["-m", "plainshop.definitions"]
    call(shop, "dagster", "asset", "materialize", *module, *select, "--partition", "2026-03-01")
    call(
        shop,
        "dagster",
        "asset",
        "materialize",
        *module,
        *select,
        "--partition-range",
        "2026-01-01...2026-02-01",
    )
    assert call(shop, "dagster", "run", "list").count("Run: ") == 2


def test_dg_accepts_the_project_and_what_it_scaffolds(shop: Path) -> None:
    call(shop, "dg", "scaffold", "defs", "superinsight_sync.SyncSource", "crm")
    call(shop, "dg", "scaffold", "defs", "superinsight_sync.Dataset", "sample")
    call(shop, "dg", "check", "defs", SIS_STRICT="1")
    listed = call(shop, "dg", "list", "defs", "--json")
    assert "crm/raw_orders" in listed
    assert "datasets/sample" in listed
    assert "web/visits_dictionary" in call(shop, "dagster", "asset", "list", "-m", "plainshop.definitions")
    assert "Schedule: web_" in call(shop, "dagster", "schedule", "list")


@pytest.mark.slow
def test_dg_of_a_new_project_knows_the_vocabulary_and_what_its_yaml_check_misses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Of several files of one type `dg check yaml` looks at one alone; `sis check` at all."""
    folder = tmp_path_factory.mktemp("new") / "newshop"
    assert sis("init", str(folder)).code == 0
    listed = call(folder, "dg", "list", "components", "--json")
    for name in ("SyncSource", "PushSource", "Dataset"):
        assert f"superinsight_sync.{name}" in listed
    call(folder, "dg", "scaffold", "defs", "superinsight_sync.SyncSource", "zoo")
    call(folder, "dg", "scaffold", "defs", "superinsight_sync.PushSource", "till")
    call(folder, "dg", "check", "yaml")
    wrong = {"shop": "conection:", "zoo": "strems:"}
    for name, key in wrong.items():
        file = folder / "newshop" / "defs" / name / "defs.yaml"
        file.write_text(file.read_text().replace({"shop": "connection:", "zoo": "streams:"}[name], key))
    told = {how: call(folder, *how.split(), fails=True) for how in ("sis check --offline", "dg check yaml")}
    found = {how: {key for key in wrong.values() if key[:-1] in text} for how, text in told.items()}
    assert found["sis check --offline"] == set(wrong.values())
    assert len(found["dg check yaml"]) == 1, "it looks at all files now: mend what the guide says"
    for name, key in wrong.items():
        assert key[:-1] in call(folder, "dg", "check", "yaml", f"newshop/defs/{name}", fails=True)
    assert any(
        key[:-1] in call(folder, "dg", "check", "defs", fails=True, SIS_STRICT="1") for key in wrong.values()
    )

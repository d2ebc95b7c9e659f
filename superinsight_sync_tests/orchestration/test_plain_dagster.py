"""Dagster's and dg's own commands from a project's root."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.cli.conftest import VISITS, make_web

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("plain") / "plainshop"
    assert sis("init", str(folder)).code == 0
    make_web(folder / "data" / "web.db")
    (folder / "plainshop" / "defs" / "web").mkdir()
    (folder / "plainshop" / "defs" / "web" / "defs.yaml").write_text(VISITS)
    yield folder


def call(folder: Path, *command: str, **env: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SIS_")}
    path = os.pathsep.join([str(ROOT), str(folder)])
    own = {"DAGSTER_HOME": str(folder), "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env={**clean, **own, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


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

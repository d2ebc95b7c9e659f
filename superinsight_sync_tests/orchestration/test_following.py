"""What the sensor `follow_upstream` asks for when something upstream has new data."""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from superinsight_sync_tests.cli.conftest import make_web
from superinsight_sync_tests.orchestration.test_loading import project

VISITS = {
    "table": "visits",
    "primary_key": ["visit_id"],
    "sync": {"mode": "incremental", "cursor": "seen_at"},
    "partition": {"by": "month", "start": "2026-01-01", "end": "2026-04-01"},
}
IMPOSSIBLE = {"type": "row_count", "min": 1_000_000, "severity": "critical"}
WEB = {
    "type": "superinsight_sync.SyncSource",
    "attributes": {
        "name": "web",
        "connection": {"kind": "sqlite", "path": "web.db"},
        "streams": [
            {"name": "visits", **VISITS},
            {"name": "barred", **VISITS, "expect": [IMPOSSIBLE]},
            {"name": "pages", "table": "pages"},
        ],
    },
}


def dataset(name: str, *streams: str) -> dict[str, object]:
    inputs = {stream: f"web/{stream}" for stream in streams}
    attributes = {"name": name, "inputs": inputs, "select": f"SELECT page FROM {streams[0]}"}
    return {"type": "superinsight_sync.Dataset", "attributes": attributes}


class Automation:
    """An instance of Dagster, and its automation tick by tick."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance = defs, instance
        self.cursor: Any = None
        self.asked()

    def make(self, *assets: str, partition: str | None = None) -> None:
        self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(a.split("/")) for a in assets],
            partition_key=partition,
            raise_on_error=False,
        )

    def asked(self) -> dict[str, set[str | None]]:
        """What the next tick asks for: asset → partitions."""
        done = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.cursor)
        self.cursor = done.cursor
        assets = self.defs.resolve_asset_graph().materializable_asset_keys
        return {
            key.to_user_string(): set(done.get_requested_partitions(key))
            for key in assets
            if done.get_num_requested(key)
        }


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    declared = {
        "web": WEB,
        "one": dataset("one", "visits"),
        "both": dataset("both", "visits", "pages"),
        "stopped": dataset("stopped", "barred"),
    }
    folder = project(tmp_path_factory.mktemp("following"), declared, name="followproj")
    make_web(folder / "web.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("followproj.definitions").defs()
    for name in [m for m in sys.modules if m.split(".")[0] == "followproj"]:
        del sys.modules[name]


@pytest.fixture
def automation(defs: dg.Definitions) -> Iterator[Automation]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Automation(defs, instance)


def test_rows_that_come_late_to_an_older_partition_are_followed(automation: Automation) -> None:
    automation.make("web/raw_visits", partition="2026-01-01")
    assert automation.asked() == {"web/visits": {"2026-01-01"}}
    assert automation.asked() == {}


def test_a_dataset_follows_while_other_partitions_are_still_missing(automation: Automation) -> None:
    automation.make("web/raw_visits", "web/visits", partition="2026-03-01")
    assert automation.asked() == {"web/visits_dictionary": {None}, "datasets/one": {None}}


def test_a_dataset_waits_for_an_input_that_has_nothing(automation: Automation) -> None:
    automation.make("web/raw_visits", "web/visits", partition="2026-03-01")
    assert "datasets/both" not in automation.asked()
    automation.make("web/raw_pages", "web/pages")
    assert "datasets/both" in automation.asked()


def test_nothing_follows_a_failed_blocking_check(automation: Automation) -> None:
    for month in ("2026-01-01", "2026-02-01", "2026-03-01"):
        automation.make("web/raw_barred", "web/barred", partition=month)
    assert automation.asked() == {}

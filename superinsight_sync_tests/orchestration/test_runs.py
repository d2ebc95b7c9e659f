"""What a run of several streams does when one of them, a check or a threshold stops it; schedules; metadata."""

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.orchestration.build import source_definitions
from superinsight_sync.orchestration.own_assets import specs_of
from superinsight_sync.orchestration.running import RunOutcome, plan_runs, run_all, select
from superinsight_sync.orchestration.schedules import run_requests, source_schedules
from superinsight_sync_tests.cli.conftest import make_web
from superinsight_sync_tests.orchestration.test_loading import project
from superinsight_sync_tests.shop import change

MONTHS = {"by": "month", "start": "2026-01-01", "end": "2026-04-01"}
STREAMS = [
    {
        "name": "visits",
        "table": "visits",
        "primary_key": ["visit_id"],
        "sync": {"mode": "incremental", "cursor": "seen_at"},
        "partition": MONTHS,
        "priority": 7,
    },
    {"name": "pages", "table": "pages", "refine": [{"step": "map", "rename": {"title": "heading"}}]},
    {"name": "gone", "table": "gone"},
    {"name": "none", "table": "none"},
    {
        "name": "blocked",
        "table": "pages",
        "expect": [{"type": "set", "column": "page", "values": ["p0"], "severity": "critical"}],
    },
    {
        "name": "unasked",
        "table": "pages",
        "expect": [{"type": "not_null", "column": "no_such_column", "severity": "critical"}],
    },
    {
        "name": "unasked_and_bad",
        "table": "pages",
        "expect": [
            {"type": "not_null", "column": "no_such_column", "severity": "critical"},
            {"type": "set", "column": "page", "values": ["p0"], "severity": "critical"},
        ],
    },
    {
        "name": "barred",
        "table": "visits",
        "sync": {"mode": "incremental", "cursor": "seen_at"},
        "partition": MONTHS,
        "expect": [{"type": "set", "column": "page", "values": ["p0"], "severity": "critical"}],
    },
    {
        "name": "warned",
        "table": "pages",
        "expect": [{"type": "set", "column": "page", "values": ["p0"]}],
    },
    {
        "name": "over",
        "table": "pages",
        "max_row_errors": 2,
        "refine": [{"step": "rule", "name": "first", "check": "page = 'p0'", "else": "quarantine"}],
    },
]
WEB: dict[str, Any] = {
    "type": "superinsight_sync.SyncSource",
    "attributes": {
        "name": "web",
        "tenant": "acme",
        "owners": ["team:data"],
        "connection": {"kind": "sqlite", "path": "web.db"},
        "streams": STREAMS,
    },
}


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    of_none = {"name": "of_none", "tenant": "acme", "owners": ["ml@x.org"], "inputs": {"n": "web/none"}}
    mart = {"type": "superinsight_sync.Dataset", "attributes": {**of_none, "select": "SELECT * FROM n"}}
    select = "SELECT heading, page AS name, heading || page AS both FROM p"
    of_pages = {"name": "of_pages", "tenant": "acme", "inputs": {"p": "web/pages"}, "select": select}
    shelf = {"type": "superinsight_sync.Dataset", "attributes": of_pages}
    declared = {"web": WEB, "mart": mart, "shelf": shelf}
    folder = project(tmp_path_factory.mktemp("runs"), declared, name="runsproj")
    make_web(folder / "web.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.syspath_prepend(str(folder))
        for name in ("SIS_HOME", "SIS_LAKE_URL", "SIS_DATABASE_URL", "SIS_PROJECT_DIR"):
            patch.delenv(name, raising=False)
        yield importlib.import_module("runsproj.definitions").defs()
    for name in [m for m in sys.modules if m.split(".")[0] == "runsproj"]:
        del sys.modules[name]


def run(defs: dg.Definitions, *selection: str, **bounds: str) -> RunOutcome:
    assets = set().union(*(select(defs, s) for s in selection))
    return run_all(defs, plan_runs(defs, assets, **bounds))


def test_a_stream_that_fails_lets_the_others_land_and_is_named(defs: dg.Definitions) -> None:
    done = run(defs, "web.pages", "web.gone", "web/raw_warned")
    assert done.exit_code == 2
    assert done.assets["web/pages"].materialized and done.assets["web/pages_dictionary"].materialized
    assert not done.assets["web/gone"].materialized
    assert done.assets["web/raw_pages"].rows == done.assets["web/raw_warned"].rows == 5
    assert not done.assets["web/raw_gone"].materialized
    assert any("gone" in e and "1 stream(s) failed; the others have landed" in e for e in done.errors)


def test_rows_that_are_the_same_have_the_same_data_version(defs: dg.Definitions) -> None:
    from dagster._core.definitions.data_version import extract_data_version_from_entry

    assets = ("web/raw_pages", "web/pages", "web/pages_dictionary", "datasets/of_pages")

    def versions() -> list[str]:
        with dg.DagsterInstance.get() as instance:
            keys = [dg.AssetKey(a.split("/")) for a in assets]
            entries = [instance.get_latest_data_version_record(key) for key in keys]
        found = [extract_data_version_from_entry(e.event_log_entry) for e in entries if e]
        return [v.value for v in found if v]

    run(defs, *assets)
    before = versions()
    change(Path("web.db"), "CREATE TABLE beside (a)")
    again = run(defs, *assets)
    assert [again.assets[a].metadata["sis/unchanged"] for a in assets] == [True] * 4
    assert again.assets["web/raw_pages"].metadata["sis/rows_read"] == 5
    assert versions() == before and len(before) == 4


def test_a_defect_in_one_stream_s_pull_lets_the_others_land(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superinsight_sync.pipeline import pull

    whole = pull.pull_stream

    def broken(engine: Any, source: SourceSpec, stream: Any, **how: Any) -> Any:
        if stream.name == "warned":
            raise KeyError("a defect of ours")
        return whole(engine, source, stream, **how)

    monkeypatch.setattr(pull, "pull_stream", broken)
    done = run(defs, "web/raw_pages", "web/raw_warned", "web/raw_blocked")
    assert [done.assets[f"web/raw_{n}"].materialized for n in ("pages", "blocked", "warned")] == [
        True,
        True,
        False,
    ]
    assert any("warned: it failed unexpectedly (KeyError)" in e for e in done.errors)


def test_a_critical_check_stops_what_is_downstream(defs: dg.Definitions) -> None:
    done = run(defs, "web.blocked")
    assert done.exit_code == 3
    assert done.assets["web/blocked"].checks_failed == 1
    assert not done.assets["web/blocked_dictionary"].materialized


def test_a_blocking_check_that_could_not_run_is_no_verdict_on_the_data(defs: dg.Definitions) -> None:
    done = run(defs, "web.unasked")
    assert done.exit_code == 1
    assert (done.assets["web/unasked"].checks_failed, done.assets["web/unasked"].checks_broken) == (1, 1)
    assert not done.assets["web/unasked_dictionary"].materialized
    assert any("could not run" in e and "no_such_column" in e for e in done.errors)
    assert run(defs, "web.unasked_and_bad").exit_code == 3


def test_a_critical_check_of_partitions_stops_what_runs_after_them(defs: dg.Definitions) -> None:
    done = run(defs, "web.barred", "web.pages")
    assert done.exit_code == 3
    assert done.assets["web/barred"].checks_failed == 1
    assert not done.assets["web/barred_dictionary"].materialized
    assert done.assets["web/pages_dictionary"].materialized


def test_a_warning_stops_nothing(defs: dg.Definitions) -> None:
    done = run(defs, "web.warned")
    assert done.exit_code == 0, done.errors
    assert done.assets["web/warned"].checks_warned == 1
    assert done.assets["web/warned_dictionary"].materialized


def test_over_the_threshold_nothing_is_published(defs: dg.Definitions) -> None:
    from superinsight_sync.model.tables import TableRef
    from superinsight_sync.pipeline.engine import open_engine

    done = run(defs, "web.over")
    assert done.exit_code == 3
    assert not done.assets["web/over"].materialized
    assert not open_engine().lake.exists(TableRef("acme", "web", "over", "refined"))


def test_the_connection_test_is_a_check_of_the_first_raw_asset(defs: dg.Definitions) -> None:
    key = dg.AssetCheckKey(dg.AssetKey(["web", "raw_visits"]), "connection")
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={key}
    )

    def checked() -> dg.AssetCheckEvaluation:
        (found,) = job.execute_in_process(raise_on_error=False).get_asset_check_evaluations()
        return found

    assert checked().passed
    database = Path("web.db").rename("elsewhere.db")
    try:
        gone = checked()
    finally:
        database.rename("web.db")
    assert not gone.passed
    assert "there is no database file" in str(gone.description)


def test_a_failed_run_becomes_an_alert(defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    from superinsight_sync.orchestration.sensors import alert_on_failure

    told: list[dict[str, str]] = []
    monkeypatch.setattr("superinsight_sync.pipeline.alert.alert_run_failed", lambda **said: told.append(said))
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["web", "raw_gone"])], raise_on_error=False
        )
        failure = next(e for e in result.all_events if e.event_type_value == "PIPELINE_FAILURE")
        context = dg.build_run_status_sensor_context(
            "alert_on_failure", failure, instance, result.dagster_run
        ).for_run_failure()
        alert_on_failure(context)
    assert told[0]["run_id"] == result.run_id
    assert "gone" in told[0]["text"]
    assert {k: told[0][k] for k in ("source", "stream", "error_class")} == {
        "source": "web",
        "stream": "gone",
        "error_class": "ConfigError",
    }


@pytest.mark.parametrize(
    ("assets", "streams", "error_class"),
    [
        (("web/raw_gone", "web/raw_none"), "gone, none", "ConfigError"),
        (("web/raw_over", "web/over"), "over", "ThresholdError"),
        (("web/raw_blocked", "web/blocked"), "blocked", "DataError"),
        (("datasets/of_none",), "of_none", "ConfigError"),
    ],
)
def test_an_alert_names_source_stream_error_class_owners_and_a_link(
    defs: dg.Definitions,
    monkeypatch: pytest.MonkeyPatch,
    assets: tuple[str, ...],
    streams: str,
    error_class: str,
) -> None:
    from superinsight_sync.orchestration.sensors import alert_on_failure

    monkeypatch.setenv("SIS_WEB_URL", "https://dagster.example.com/")
    file = Path(".sis/alerts.jsonl")
    file.unlink(missing_ok=True)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(a.split("/")) for a in assets],
            raise_on_error=False,
        )
        failure = next(e for e in result.all_events if e.event_type_value == "PIPELINE_FAILURE")
        alert_on_failure(
            dg.build_run_status_sensor_context(
                "alert_on_failure", failure, instance, result.dagster_run
            ).for_run_failure()
        )
    (alert,) = [json.loads(line) for line in file.read_text().splitlines()]
    source, owner = ("datasets", "ml@x.org") if "datasets" in assets[0] else ("web", "team:data")
    assert (alert["source"], alert["stream"], alert["error_class"]) == (source, streams, error_class)
    assert alert["owners"] == [owner]
    assert alert["url"] == f"https://dagster.example.com/runs/{result.run_id}"
    assert error_class in alert["title"] and source in alert["title"]


def test_a_run_that_a_terminal_started_becomes_an_alert_too(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superinsight_sync.orchestration.sensors import alert_on_failure

    told: list[dict[str, str]] = []
    monkeypatch.setattr("superinsight_sync.pipeline.alert.alert_run_failed", lambda **said: told.append(said))
    with dg.DagsterInstance.ephemeral() as instance:

        def tick(cursor: str | None) -> str | None:
            with dg.build_sensor_context(instance, cursor, repository_name="daemon's") as context:
                return alert_on_failure.evaluate_tick(context).cursor

        cursor = tick(None)
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["web", "raw_gone"])], raise_on_error=False
        )
        tick(cursor)
    assert [said["run_id"] for said in told] == [result.run_id]


def test_metadata_has_schema_counts_and_lineage(defs: dg.Definitions) -> None:
    done = run(defs, "web.pages")
    found = done.assets["web/pages"].metadata
    assert [c.name for c in found["dagster/column_schema"].columns][:2] == ["page", "heading"]
    lineage = found["dagster/column_lineage"].deps_by_column["heading"]
    assert [(d.asset_key.to_user_string(), d.column_name) for d in lineage] == [("web/raw_pages", "title")]
    assert done.assets["web/raw_pages"].metadata["dagster/row_count"] == 5


def test_columns_are_described_as_the_dictionary_says(defs: dg.Definitions) -> None:
    def shown(asset: str) -> dict[str, str | None]:
        return {c.name: c.description for c in done.assets[asset].metadata["dagster/column_schema"].columns}

    with dg.DagsterInstance.get() as instance:
        done = run(defs, "web.pages")
        said = shown("web/pages_dictionary")
        assert set(said) == {"page", "heading"} and all(said.values())
        (seen,) = instance.fetch_observations(dg.AssetKey(["web", "pages"]), limit=5).records[:1]
        assert seen.asset_observation is not None
        schema = seen.asset_observation.metadata["dagster/column_schema"].value
        assert {c.name: c.description for c in schema.columns} == said
        done = run(defs, "web.pages", "datasets/of_pages")
    assert shown("web/pages") == said
    assert shown("datasets/of_pages") == {
        "heading": said["heading"],
        "name": f"From web/pages.page: {said['page']}",
        "both": None,
    }


def test_a_realtime_stream_says_that_the_drain_serves_it() -> None:
    from superinsight_sync.model.push import PushSourceSpec
    from superinsight_sync.orchestration.build import push_definitions

    streams = [{"name": "clicks", "realtime": True, "description": "Each click."}, {"name": "sales"}]
    specs = specs_of(push_definitions(PushSourceSpec.model_validate({"name": "till", "streams": streams})))
    clicks, sales = (specs[dg.AssetKey(["till", f"raw_{n}"])] for n in ("clicks", "sales"))
    assert str(clicks.description).startswith("Each click.") and "`sis drain`" in str(clicks.description)
    assert clicks.tags["sis/landed_by"] == "drain"
    assert "drain" not in str(sales.description) and "sis/landed_by" not in sales.tags


def test_a_change_of_the_schema_is_told_by_the_materialization(defs: dg.Definitions) -> None:
    def raw() -> Mapping[str, Any]:
        return run(defs, "web/raw_pages").assets["web/raw_pages"].metadata

    assert "sis/schema_changes" not in raw()
    change(Path("web.db"), "ALTER TABLE pages ADD COLUMN author TEXT")
    try:
        found = raw()
    finally:
        change(Path("web.db"), "ALTER TABLE pages DROP COLUMN author")
    assert found["sis/schema_changes"] == "- new column author"
    assert "author" in [c.name for c in found["dagster/column_schema"].columns]


def test_each_partition_of_a_range_has_its_own_row_count(defs: dg.Definitions) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    span = {
        "dagster/asset_partition_range_start": "2026-01-01",
        "dagster/asset_partition_range_end": "2026-03-01",
    }
    keys = [dg.AssetKey(["web", "raw_visits"]), dg.AssetKey(["web", "visits"])]
    result = job.execute_in_process(asset_selection=keys, tags=span)
    events = [e.materialization for e in result.get_asset_materialization_events()]
    counts = {
        (m.asset_key.path[-1], m.partition): m.metadata["dagster/partition_row_count"].value for m in events
    }
    months = ("2026-01-01", "2026-02-01", "2026-03-01")
    assert counts == {(a, m): 30 for a in ("raw_visits", "visits") for m in months}


def test_specs_carry_groups_tags_kinds_owners_pools_and_priorities(defs: dg.Definitions) -> None:
    specs = {s.key.to_user_string(): s for s in defs.resolve_all_asset_specs()}
    raw = specs["web/raw_visits"]
    assert (raw.group_name, list(raw.owners)) == ("web", ["team:data"])
    assert {k: raw.tags[k] for k in ("stage", "tenant", "source")} == {
        "stage": "raw",
        "tenant": "acme",
        "source": "web",
    }
    assert "sqlite" in raw.kinds
    assert select(defs, "tag:stage=raw") == {s.key for s in specs.values() if s.tags.get("stage") == "raw"}
    steps = [a for a in defs.assets or () if isinstance(a, dg.AssetsDefinition) and raw.key in a.keys]
    assert {op.pool for op in steps[0].node_def.iterate_node_defs()} == {"source_web"}  # type: ignore[attr-defined]
    assert steps[0].op.tags["dagster/priority"] == "7"
    sensors = {s.name for s in defs.sensors or ()}
    assert sensors == {"follow_upstream", "follow_upstream_priority_7", "alert_on_failure"}


def test_what_follows_a_stream_is_started_with_its_priority(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    sensors = {s.name: s for s in defs.sensors or () if isinstance(s, dg.AutomationConditionSensorDefinition)}
    targets = {name: s.asset_selection.resolve(graph) for name, s in sensors.items()}
    first, rest = targets["follow_upstream_priority_7"], targets["follow_upstream"]
    assert sensors["follow_upstream_priority_7"].run_tags["dagster/priority"] == "7"
    assert "dagster/priority" not in sensors["follow_upstream"].run_tags
    names = {"raw_visits", "visits", "visits_dictionary"}
    assert {k.path[-1] for k in first} == names
    assert rest == graph.materializable_asset_keys - first


def test_what_is_made_of_several_streams_has_the_highest_priority_of_theirs() -> None:
    from superinsight_sync.model.dataset import DatasetSpec
    from superinsight_sync.orchestration.build import dataset_definitions, source_definitions
    from superinsight_sync.orchestration.keys import priority_of

    streams = [{"name": n, "table": n, "priority": p} for n, p in (("low", -3), ("none", None), ("high", 4))]
    source = SourceSpec.model_validate({**WEB["attributes"], "streams": streams})
    found = specs_of(source_definitions(source))
    for name, inputs in (("a", ("low",)), ("b", ("low", "none")), ("c", ("low", "high"))):
        given = {"name": name, "inputs": {i: f"web/{i}" for i in inputs}, "select": "SELECT 1 AS x"}
        found |= specs_of(dataset_definitions(DatasetSpec.model_validate(given)))
    priorities = {n: priority_of(dg.AssetKey(["datasets", n]), found) for n in ("a", "b", "c")}
    assert priorities == {"a": -3, "b": 0, "c": 4}


def scheduled(*streams: dict[str, Any]) -> SourceSpec:
    attributes = {**WEB["attributes"], "streams": [{"schedule": "*/15 * * * *", **s} for s in streams]}
    return SourceSpec.model_validate(attributes)


DAILY = {**STREAMS[0], "partition": {"by": "day", "start": "2026-01-01"}}


@pytest.mark.parametrize(
    ("now", "lag", "keys"),
    [
        ("2026-02-10T12:00", "0s", ["2026-02-10"]),
        ("2026-02-10T00:00", "0s", ["2026-02-09", "2026-02-10"]),
        ("2026-02-10T00:59", "0s", ["2026-02-09", "2026-02-10"]),
        ("2026-02-10T01:01", "0s", ["2026-02-10"]),
        ("2026-03-01T12:00", "36h", ["2026-02-28", "2026-03-01"]),
        ("2026-01-01T00:10", "0s", ["2026-01-01"]),
        ("2025-12-31T23:59", "0s", []),
    ],
)
def test_a_schedule_asks_for_the_partitions_that_may_still_fill(now: str, lag: str, keys: list[str]) -> None:
    stream = {**DAILY, "sync": {"mode": "incremental", "cursor": "seen_at", "lag": lag}}
    source = scheduled(stream)
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert [r.partition_key for r in run_requests(source, source.streams, at)] == keys


def test_streams_share_runs_by_partition_and_one_schedule_by_cron() -> None:
    source = scheduled(
        DAILY, {**DAILY, "name": "more"}, STREAMS[1], STREAMS[2], {**STREAMS[5], "schedule": "0 3 * * *"}
    )
    schedules = source_schedules(source)
    assert sorted(str(s.cron_schedule) for s in schedules) == ["*/15 * * * *", "0 3 * * *"]
    due = [s for s in source.streams if s.schedule == "*/15 * * * *"]
    asked = list(run_requests(source, due, datetime(2026, 2, 10, 12, tzinfo=UTC)))
    runs = [(r.partition_key, sorted(k.path[-1] for k in r.asset_selection or ())) for r in asked]
    assert runs == [(None, ["raw_gone", "raw_pages"]), ("2026-02-10", ["raw_more", "raw_visits"])]
    assert asked[1].tags["dagster/priority"] == "7"


def test_a_tick_asks_for_every_run_that_is_due_once(defs: dg.Definitions) -> None:
    monthly = {**STREAMS[0], "name": "monthly", "partition": {"by": "month", "start": "2026-01-01"}}
    source = scheduled(DAILY, monthly, STREAMS[1], {**STREAMS[2], "schedule": "*/15 * * * ?"})
    found = source_definitions(source)
    (schedule,) = found.schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition) and schedule.name == "web_every_15_minutes"
    at = datetime(2026, 2, 10, 0, 15, tzinfo=UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=at, repository_def=found.get_repository_def()
        )
        asked = schedule.evaluate_tick(context).run_requests or []
    assert {r.partition_key for r in asked} == {None, "2026-02-09", "2026-02-10", "2026-02-01"}
    assert len({r.run_key for r in asked}) == len(asked) == 4
    due = {k.path[-1] for r in asked for k in r.asset_selection or ()}
    assert due == {"raw_visits", "raw_monthly", "raw_pages", "raw_gone"}
    (job,) = found.jobs or ()
    assert isinstance(job, dg.JobDefinition) and job.name == schedule.job_name == "web_pull"
    assert {k.path[-1] for k in job.asset_layer.executable_asset_keys} == due
    (month,) = [r for r in asked if r.partition_key == "2026-02-01"]
    done = job.execute_in_process(asset_selection=list(month.asset_selection or ()), tags=month.tags)
    (made,) = done.get_asset_materialization_events()
    assert (made.asset_key, made.partition) == (dg.AssetKey(["web", "raw_monthly"]), "2026-02-01")


@pytest.mark.parametrize("cron", ["* * * *", "* * * * * *", "61 * * * *", "@reboot", "every minute"])
def test_a_wrong_cron_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        scheduled({**STREAMS[1], "schedule": cron})

"""Users' own assets beside the declared ones: read by annotation, landed as returned."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from superinsight_sync_tests.cli.conftest import make_web
from superinsight_sync_tests.orchestration.test_loading import project

MONTHS = '{by: month, start: "2026-01-01", end: "2026-04-01"}'
WEB = f"""type: superinsight_sync.SyncSource
attributes:
  name: web
  connection: {{kind: sqlite, path: web.db}}
  streams:
    - name: visits
      table: visits
      primary_key: [visit_id]
      sync: {{mode: incremental, cursor: seen_at}}
      partition: {MONTHS}
    - {{name: in_memory, table: pages, save: {{refined: memory}}}}
    - {{name: small, table: pages, save: {{refined: hybrid}}}}
"""
ACME = """type: superinsight_sync.SyncSource
attributes:
  name: acme
  tenant: acme
  connection: {kind: sqlite, path: web.db}
  streams: [{name: pages, table: pages}]
---
type: superinsight_sync.Dataset
attributes:
  name: of_mine
  tenant: acme
  inputs: {rows: mine/of_acme, loose: loose, pages: acme/pages}
  select: SELECT r.page, r.title, l.page AS other FROM rows r JOIN loose l USING (page) JOIN pages p USING (page)
  split: {ratios: {train: 1.0}}
"""

OWN = """
import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa

KEY = dg.AssetKey(["web", "visits"])
MONTHS = dg.TimeWindowPartitionsDefinition(
    start="2026-01-01", end="2026-04-01", cron_schedule="0 0 1 * *", fmt="%Y-%m-%d", timezone="UTC"
)


@dg.asset(key=["mine", "as_table"], ins={"visits": dg.AssetIn(KEY)})
def as_table(visits: pa.Table) -> pa.Table:
    assert isinstance(visits, pa.Table)
    return visits


@dg.asset(key=["mine", "as_reader"], ins={"visits": dg.AssetIn(KEY)}, partitions_def=MONTHS)
def as_reader(visits: pa.RecordBatchReader) -> pa.RecordBatchReader:
    assert isinstance(visits, pa.RecordBatchReader)
    return visits


@dg.asset(key=["mine", "as_pandas"], ins={"visits": dg.AssetIn(KEY)}, partitions_def=MONTHS)
def as_pandas(visits: pd.DataFrame) -> pd.DataFrame:
    return visits.groupby("page", as_index=False).agg(seen=("visit_id", "count"))


@dg.asset(key=["mine", "as_polars"], ins={"visits": dg.AssetIn(KEY)}, partitions_def=MONTHS)
def as_polars(visits: pl.LazyFrame) -> pl.LazyFrame:
    return visits.filter(pl.col("page") == "p1").select("visit_id", "page")


@dg.asset(key=["mine", "all_months"], ins={"rows": dg.AssetIn(["mine", "as_polars"])})
def all_months(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


@dg.asset(key=["mine", "bare"], ins={"visits": dg.AssetIn(KEY)}, partitions_def=MONTHS)
def bare(visits):
    return visits


@dg.asset(key=["mine", "whole_range"], ins={"visits": dg.AssetIn(KEY)}, partitions_def=MONTHS,
          backfill_policy=dg.BackfillPolicy.single_run())
def whole_range(visits: pa.Table) -> None:
    assert visits.num_rows == 60, visits.num_rows


@dg.asset(key=["mine", "of_memory"], ins={"rows": dg.AssetIn(["web", "in_memory"])})
def of_memory(rows: pa.Table) -> None:
    assert rows.num_rows == 5, rows.num_rows


@dg.asset(key=["mine", "of_hybrid"], ins={"rows": dg.AssetIn(["web", "small"])})
def of_hybrid(rows: pa.RecordBatchReader) -> None:
    assert rows.read_all().num_rows == 5


@dg.asset(key=["mine", "of_acme"], ins={"rows": dg.AssetIn(["acme", "pages"])})
def of_acme(rows: pa.Table) -> pa.Table:
    return rows


@dg.asset(ins={"rows": dg.AssetIn(["mine", "of_acme"])})
def loose(rows: pa.Table) -> pa.Table:
    return rows


@dg.asset(key=["mine", "of_both"], ins={"rows": dg.AssetIn(["acme", "pages"]), "visits": dg.AssetIn(KEY)})
def of_both(rows: pa.Table, visits: pa.Table) -> pa.Table:
    return rows


@dg.asset(key=["mine", "tagged"], tags={"tenant": "third"}, ins={"rows": dg.AssetIn(["acme", "pages"])})
def tagged(rows: pa.Table) -> pa.Table:
    return rows


@dg.asset(key=["mine", "as_list"], ins={"visits": dg.AssetIn(KEY)})
def as_list(visits: list) -> None: ...


@dg.asset(key=["mine", "returns_text"])
def returns_text() -> str:
    return "secret-value"
"""


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    folder = tmp_path_factory.mktemp("own")
    project(folder, {"web": WEB, "acme": ACME}, name="ownproj")
    make_web(folder / "web.db")
    (folder / "ownproj" / "defs" / "mine.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.syspath_prepend(str(folder))
        for name in ("SIS_HOME", "SIS_LAKE_URL", "SIS_DATABASE_URL", "SIS_PROJECT_DIR"):
            patch.delenv(name, raising=False)
        loaded = importlib.import_module("ownproj.definitions").defs()
        span = {
            "dagster/asset_partition_range_start": "2026-01-01",
            "dagster/asset_partition_range_end": "2026-03-01",
        }
        assert run(loaded, "web/raw_visits", "web/visits", tags=span).success
        yield loaded
    for name in [m for m in sys.modules if m.split(".")[0] == "ownproj"]:
        del sys.modules[name]


def run(
    defs: dg.Definitions, *assets: str, partition: str | None = None, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(a.split("/")) for a in assets],
        partition_key=partition,
        tags=tags,
        raise_on_error=False,
    )


def count(result: dg.ExecuteInProcessResult, asset: str) -> object:
    events = [
        e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(asset.split("/"))
    ]
    return events[-1].materialization.metadata["dagster/row_count"].value


def why(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(
        str(e.event_specific_data.error.to_string()) for e in result.all_events if e.is_step_failure
    )


@pytest.mark.parametrize("asset", ["as_reader", "as_pandas", "as_polars", "bare"])
def test_a_partitioned_asset_gets_its_partition_and_lands_it(defs: dg.Definitions, asset: str) -> None:
    expected = {"as_reader": 30, "as_pandas": 5, "as_polars": 6, "bare": 30}[asset]
    for month in ("2026-01-01", "2026-02-01", "2026-02-01"):
        result = run(defs, f"mine/{asset}", partition=month)
        assert result.success, why(result)
        assert count(result, f"mine/{asset}") == expected


def test_an_asset_without_partitions_gets_all_of_them(defs: dg.Definitions) -> None:
    result = run(defs, "mine/as_table")
    assert result.success, why(result)
    assert count(result, "mine/as_table") == 90


def test_what_a_partitioned_asset_landed_is_read_back_whole(defs: dg.Definitions) -> None:
    for month in ("2026-01-01", "2026-02-01", "2026-03-01"):
        assert run(defs, "mine/as_polars", partition=month).success
    result = run(defs, "mine/all_months")
    assert result.success, why(result)
    assert count(result, "mine/all_months") == 18


def test_a_run_over_a_range_reads_the_range(defs: dg.Definitions) -> None:
    span = {
        "dagster/asset_partition_range_start": "2026-02-01",
        "dagster/asset_partition_range_end": "2026-03-01",
    }
    result = run(defs, "mine/whole_range", tags=span)
    assert result.success, why(result)


@pytest.mark.parametrize("stream", ["in_memory", "small"])
def test_a_stream_is_read_from_where_it_keeps_its_rows(defs: dg.Definitions, stream: str) -> None:
    own = {"in_memory": "of_memory", "small": "of_hybrid"}[stream]
    result = run(defs, f"web/raw_{stream}", f"web/{stream}", f"mine/{own}")
    assert result.success, why(result)
    alone = run(defs, f"mine/{own}")
    assert not alone.success
    assert "for the same run only" in why(alone)


def test_a_returned_table_is_of_the_tenant_of_its_tag_or_else_of_its_one_input(defs: dg.Definitions) -> None:
    names = ("of_acme", "of_both", "tagged")
    result = run(defs, "acme/raw_pages", "acme/pages", *(f"mine/{n}" for n in names), "loose")
    assert result.success, why(result)
    lake = Path(".sis/lake")
    found = {str(p.parent.parent.relative_to(lake)) for p in lake.glob("*/*/*/refined/_delta_log")}
    assert found >= {"acme/mine/of_acme", "acme/assets/loose", "default/mine/of_both", "third/mine/tagged"}


def test_a_dataset_takes_own_tables_with_their_lineage(defs: dg.Definitions) -> None:
    assert run(defs, "acme/raw_pages", "acme/pages", "mine/of_acme", "loose").success
    result = run(defs, "datasets/of_mine")
    assert result.success, why(result)
    assert count(result, "datasets/of_mine") == 5
    (event,) = result.get_asset_materialization_events()
    lineage = event.materialization.metadata["dagster/column_lineage"].value.deps_by_column
    sources = {name: [d.asset_key.to_user_string() for d in deps] for name, deps in lineage.items()}
    assert (sources["title"], sources["other"]) == (["mine/of_acme"], ["loose"])
    deps = {
        d.asset_key.to_user_string()
        for s in defs.resolve_all_asset_specs()
        if s.key.path[-1] == "of_mine"
        for d in s.deps
    }
    assert deps == {"mine/of_acme", "loose", "acme/pages"}


@pytest.mark.parametrize("asset", ["as_list", "returns_text"])
def test_another_type_is_refused_with_the_types_there_are(defs: dg.Definitions, asset: str) -> None:
    result = run(defs, f"mine/{asset}")
    assert not result.success
    assert "polars.LazyFrame" in why(result)
    assert "secret-value" not in why(result)


def test_an_own_file_that_breaks_harms_only_itself(
    defs: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path, {"web": WEB}, name="brokenproj")
    (folder / "brokenproj" / "defs" / "mine.py").write_text("raise RuntimeError('no good')")
    (folder / "brokenproj" / "defs" / "nothing").mkdir()
    (folder / "brokenproj" / "defs" / "torn").mkdir()
    (folder / "brokenproj" / "defs" / "torn" / "defs.yaml").write_text("type: [superinsight_sync")
    monkeypatch.syspath_prepend(str(folder))
    loaded = importlib.import_module("brokenproj.definitions").defs()
    described = {s.key.to_user_string(): s.description or "" for s in loaded.resolve_all_asset_specs()}
    assert "web/visits" in described
    assert "no good" in described["mine/declaration_error"]
    assert "no valid YAML" in described["torn/declaration_error"]
    assert not any("nothing" in key for key in described)

"""The same chain on every place rows can be kept: S3 and PostgreSQL as well as the embedded default."""

from pathlib import Path

import psycopg
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.check import check_stream
from superinsight_sync.pipeline.describe import describe_stream
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.export import export_dataset
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import change, order, shop_dataset, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")
INSERT = "INSERT INTO orders VALUES (?,?,?,?,?)"
INCREMENTAL = {"mode": "incremental", "cursor": "updated_at"}


def run(engine: Engine, source: SourceSpec) -> None:
    pull_stream(engine, source, source.streams[0])
    refine_stream(engine, source, source.streams[0])


def test_the_chain_runs_on_s3_and_postgresql(
    tmp_path: Path, shop: Path, s3_root: str, postgres_server: PostgresServer
) -> None:
    settings = load_settings(
        {
            "SIS_PROJECT_DIR": str(tmp_path),
            "SIS_LAKE_URL": s3_root,
            "SIS_DATABASE_URL": postgres_server.create_database(),
        }
    )
    engine = open_engine("run-1", settings)
    source = shop_source(
        shop, sync=INCREMENTAL, expect=[{"type": "unique", "columns": ["order_id"], "severity": "critical"}]
    )
    run(engine, source)
    change(shop, INSERT, [order(501, updated="2026-02-01T00:00:00Z")])
    run(engine, source)
    assert engine.lake.count(RAW) == 501
    assert [c.passed for c in check_stream(engine, source, source.streams[0])] == [True]
    assert describe_stream(engine, source, source.streams[0]).path.startswith("s3://")
    exported = export_dataset(engine, shop_dataset())
    assert exported.rows == 501
    assert export_dataset(open_engine("run-2", settings), shop_dataset()).unchanged
    assert {e.status for e in engine.state.executions.recent(10)} == {"succeeded", "unchanged"}
    assert not (tmp_path / ".sis" / "lake").exists()


@pytest.mark.parametrize("sync", [None, INCREMENTAL], ids=["full", "incremental"])
def test_refined_rows_land_in_a_database(
    engine: Engine, shop: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, sync: object
) -> None:
    target = postgres_server.create_database()
    monkeypatch.setenv("WAREHOUSE_DSN", target)
    save = {"refined": {"strategy": "database", "dsn": "{{ env.WAREHOUSE_DSN }}", "table": "mart.orders"}}
    source = shop_source(shop, sync=sync, save=save)
    run(engine, source)
    change(shop, "UPDATE orders SET amount='9.99', updated_at='2026-02-01T00:00:00Z' WHERE order_id = 7")
    run(engine, source)
    with psycopg.connect(target) as db:
        rows = db.execute("SELECT count(*), count(DISTINCT order_id) FROM mart.orders").fetchone()
        seven = db.execute("SELECT amount::text FROM mart.orders WHERE order_id = 7").fetchone()
    assert rows == (500, 500)
    assert seven == ("9.99",)

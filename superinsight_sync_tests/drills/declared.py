"""What the drills sync: the same orders three ways — full, incremental and partitioned."""

from pathlib import Path

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync_tests.shop import shop_dataset

MONTHS = ("2026-01-01", "2026-02-01", "2026-03-01")


def source(database: Path) -> SourceSpec:
    cast = [{"step": "cast", "columns": {"amount": "decimal(12,2)", "placed_at": "timestamp"}}]
    common = {"table": "orders", "primary_key": ["order_id"], "refine": cast}
    streams = [
        {"name": "full", **common},
        {"name": "fresh", **common, "sync": {"mode": "incremental", "cursor": "updated_at"}},
        {
            "name": "monthly",
            **common,
            "sync": {"mode": "incremental", "cursor": "placed_at"},
            "partition": {"by": "month", "start": "2026-01-01", "end": "2026-04-01"},
        },
    ]
    return SourceSpec.model_validate(
        {
            "name": "shop",
            "tenant": "acme",
            "connection": {"kind": "sqlite", "path": str(database)},
            "streams": streams,
        }
    )


def dataset() -> DatasetSpec:
    return shop_dataset(inputs={"orders": "shop/full"})

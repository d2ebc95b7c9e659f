"""A raw table that ends with its run is refined in the run that pulled it."""

from datetime import UTC, datetime
from pathlib import Path

from superinsight_sync.orchestration.keys import refined_spec
from superinsight_sync.orchestration.schedules import run_requests
from superinsight_sync_tests.shop import shop_source


def test_a_schedule_takes_the_refined_table_along_where_raw_is_kept_in_memory(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    kept = shop_source(tmp_path / "shop.db", schedule="0 * * * *")
    passing = shop_source(tmp_path / "shop.db", schedule="0 * * * *", save={"raw": "memory"})
    asked = [
        [k.to_user_string() for k in next(run_requests(s, s.streams, now)).asset_selection or ()]
        for s in (kept, passing)
    ]
    assert asked == [["shop/raw_orders"], ["shop/raw_orders", "shop/orders"]]
    assert refined_spec(kept, kept.streams[0], None).automation_condition is not None
    assert refined_spec(passing, passing.streams[0], None).automation_condition is None

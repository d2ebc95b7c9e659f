"""Masks through the verbs: keys that change, records of a merged table that are mended, where sensitive data lies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import Stage
from superinsight_sync.pipeline.engine import Engine, open_engine, table_of
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.pipeline.sensitive import find_sensitive
from superinsight_sync_tests.shop import change, make_shop, order, shop_source


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIS_MASK_KEY", "a" * 32)
    monkeypatch.setenv("NEXT_KEY", "b" * 32)


def rows(engine: Engine, source: SourceSpec, stage: Stage = "refined") -> list[dict[str, Any]]:
    table = engine.lake.dataset(table_of(source, source.streams[0], stage)).to_table()
    return sorted(table.to_pylist(), key=str)


def test_a_new_key_masks_anew_without_reading_the_source(engine: Engine, tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop.db", (order(n) for n in range(20)))
    source = shop_source(
        shop, refine=[{"step": "mask", "columns": {"customer": "hmac", "placed_at": "token"}}]
    )
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    refine_stream(engine, source, stream)
    before = rows(engine, source)
    assert all(r["customer"].startswith("k1_") for r in before)
    assert refine_stream(engine, source, stream).unchanged
    shop.unlink()
    (tmp_path / "sensitive.yaml").write_text("keys: {1: '{{ env.SIS_MASK_KEY }}', 2: '{{ env.NEXT_KEY }}'}\n")
    later = open_engine("run-2", engine.settings)
    assert not refine_stream(later, source, stream).unchanged
    after = rows(later, source)
    assert all(r["customer"].startswith("k2_") for r in after)
    assert {r["order_id"]: r["placed_at"] for r in after} == {r["order_id"]: r["placed_at"] for r in before}


def test_a_masked_key_is_followed_through_refusal_and_mending(engine: Engine, tmp_path: Path) -> None:
    """A record of a merged table goes to quarantine and comes back, known by its masked key."""
    shop = make_shop(tmp_path / "shop.db", (order(n) for n in range(1, 21)))
    masked = [
        {"step": "cast", "columns": {"amount": "decimal(12,2)"}},
        {"step": "mask", "columns": {"order_id": "hmac", "customer": "redact"}},
    ]
    source = shop_source(shop, sync={"mode": "incremental", "cursor": "updated_at"}, refine=masked)
    stream = source.streams[0]

    def again(amount: str, second: int) -> tuple[int, int]:
        updated = f"2026-02-01T00:00:0{second}Z"
        change(shop, "UPDATE orders SET amount = ?, updated_at = ? WHERE order_id = 7", [(amount, updated)])
        pull_stream(engine, source, stream)
        refine_stream(engine, source, stream)
        return len(rows(engine, source)), len(rows(engine, source, "quarantine"))

    assert again("bad", 1) == (19, 1)
    record = rows(engine, source, "quarantine")[0]["_sis_record"]
    assert '"customer":"***"' in record
    assert '"order_id":"k1_' in record
    assert again("7.77", 2) == (20, 0)
    assert again("worse", 3) == (19, 1)


def test_sensitive_columns_are_found_where_they_lie(engine: Engine, tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop.db", (order(n) for n in range(1, 41)))
    change(shop, "UPDATE orders SET customer = 'c' || order_id || '@example.org'")
    change(shop, "UPDATE orders SET updated_at = 'call +49 151 2345 6789 today' WHERE order_id % 10 = 0")
    source = shop_source(
        shop, refine=[{"step": "mask", "columns": {"customer": "hmac", "updated_at": "text"}}]
    )
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    refine_stream(engine, source, stream)
    found = list(find_sensitive(engine, source))
    assert {(f.stage, f.column): f.found.kind for f in found} == {
        ("raw", "customer"): "email",
        ("raw", "updated_at"): "personal_text",
    }
    text = next(f for f in found if f.column == "updated_at")
    assert text.rows_by_rule == {"phone": 4}
    assert replace(text.found, matched=0).confidence == "low"

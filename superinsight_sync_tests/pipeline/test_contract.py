"""A source whose columns change, under each schema contract."""

from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.shop import change, make_shop, order, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")
INCREMENTAL = {"mode": "incremental", "cursor": "updated_at"}
INSERT = "INSERT INTO orders VALUES (?,?,?,?,?,?)"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_shop(tmp_path / "shop.db", [order(n) for n in range(1, 11)])


def pulled_after(engine: Engine, shop: Path, contract: Any, **stream: Any) -> Any:
    """A pull, a new column `note` with one row that has a value in it and one that has none, a second pull."""
    source = shop_source(shop, sync=INCREMENTAL, schema_contract=contract, refine=[], **stream)
    pull_stream(engine, source, source.streams[0])
    change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
    late = "2026-03-01T00:00:00Z"
    change(shop, INSERT, [(*order(11, updated=late), "🚀"), (*order(12, updated=late), None)])
    return pull_stream(engine, source, source.streams[0])


def rows(engine: Engine, table: TableRef = RAW) -> dict[int, dict[str, Any]]:
    return {r["order_id"]: r for r in engine.lake.scan(table).read_all().to_pylist()}


def test_evolve_takes_a_new_column(engine: Engine, shop: Path) -> None:
    result = pulled_after(engine, shop, "evolve")
    assert result.schema_changes == ("new column note",)
    assert rows(engine)[11]["note"] == "🚀"
    assert len(rows(engine)) == 12


def test_discard_value_leaves_the_column_out(engine: Engine, shop: Path) -> None:
    result = pulled_after(engine, shop, "discard_value")
    assert "note" not in rows(engine)[11]
    assert len(rows(engine)) == 12
    assert result.stats.discarded_values == {"note": 1}


def test_discard_row_leaves_out_the_rows_that_have_a_value_in_it(engine: Engine, shop: Path) -> None:
    result = pulled_after(engine, shop, "discard_row")
    assert sorted(rows(engine)) == [*range(1, 11), 12]
    assert (result.stats.discarded_rows, result.stats.rows) == (1, 3)


def test_quarantine_sets_them_aside_with_the_reason(engine: Engine, shop: Path) -> None:
    result = pulled_after(engine, shop, {"columns": "quarantine"})
    assert sorted(rows(engine)) == [*range(1, 11), 12]
    (aside,) = engine.lake.scan(RAW.at("unreadable")).read_all().to_pylist()
    assert "note" in aside["reason"]
    assert '"order_id": 11' in aside["record"]
    assert result.unreadable == 1


def test_freeze_stops_at_a_missing_column_and_names_a_rename(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL, schema_contract="freeze", refine=[])
    pull_stream(engine, source, source.streams[0])
    change(shop, "ALTER TABLE orders RENAME COLUMN customer TO customer_name")
    with pytest.raises(ConfigError, match="customer was probably renamed to customer_name"):
        pull_stream(engine, source, source.streams[0])


def test_a_renamed_column_keeps_its_old_values(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL, refine=[])
    pull_stream(engine, source, source.streams[0])
    change(shop, "ALTER TABLE orders RENAME COLUMN customer TO customer_name")
    change(shop, "UPDATE orders SET updated_at='2026-03-01T00:00:00Z' WHERE order_id = 3")
    pull_stream(engine, source, source.streams[0])
    found = rows(engine)
    assert (found[1]["customer"], found[1]["customer_name"]) == ("c1", None)
    assert found[3]["customer_name"] == "c3"


def retyped(shop: Path, kind: str, amount: str) -> None:
    """Gives `quantity` another declared type, and a new row a value of it."""
    change(shop, "ALTER TABLE orders RENAME COLUMN quantity TO old_quantity")
    change(shop, f"ALTER TABLE orders ADD COLUMN quantity {kind}")
    change(shop, "UPDATE orders SET quantity = CAST(old_quantity AS TEXT)")
    change(shop, "ALTER TABLE orders DROP COLUMN old_quantity")
    change(
        shop,
        "INSERT INTO orders (order_id, placed_at, updated_at, quantity) VALUES (?,?,?,?)",
        [(21, "2026-01-01", "2026-03-01T00:00:00Z", amount), (22, "2026-01-01", "2026-03-01T00:00:00Z", "7")],
    )


@pytest.fixture
def counted(shop: Path) -> Path:
    change(shop, "ALTER TABLE orders ADD COLUMN quantity INTEGER")
    change(shop, "UPDATE orders SET quantity = order_id * 10")
    return shop


def test_evolve_widens_a_number_that_becomes_text_and_refined_follows(engine: Engine, counted: Path) -> None:
    source = shop_source(counted, sync=INCREMENTAL, refine=[])
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    refine_stream(engine, source, stream)
    before = engine.lake.checkpoint(RAW)
    retyped(counted, "TEXT", "a dozen")
    result = pull_stream(engine, source, stream)
    refine_stream(engine, source, stream)
    assert "quantity was int64 and is now string" in " ".join(result.schema_changes)
    for table in (RAW, RAW.at("refined")):
        found = rows(engine, table)
        assert (found[1]["quantity"], found[21]["quantity"]) == ("10", "a dozen")
    assert before is not None
    assert pull_stream(engine, source, stream).schema_changes == ()


def test_a_widened_table_does_not_land_the_boundary_row_twice(engine: Engine, counted: Path) -> None:
    source = shop_source(counted, sync={**INCREMENTAL, "disposition": "append"}, primary_key=None, refine=[])
    pull_stream(engine, source, source.streams[0])
    change(counted, "ALTER TABLE orders ADD COLUMN note TEXT")
    retyped(counted, "TEXT", "a dozen")
    pull_stream(engine, source, source.streams[0])
    found = engine.lake.scan(RAW).read_all().column("order_id").to_pylist()
    assert sorted(found) == [*range(1, 11), 21, 22]


@pytest.mark.parametrize(
    ("contract", "left", "value"),
    [
        ("discard_value", [*range(1, 11), 21, 22], None),
        ("discard_row", [*range(1, 11), 22], ...),
        ("quarantine", [*range(1, 11), 22], ...),
    ],
)
def test_a_value_that_does_not_fit_the_table(
    engine: Engine, counted: Path, contract: str, left: list[int], value: Any
) -> None:
    source = shop_source(counted, sync=INCREMENTAL, schema_contract={"types": contract}, refine=[])
    pull_stream(engine, source, source.streams[0])
    retyped(counted, "TEXT", "a dozen")
    result = pull_stream(engine, source, source.streams[0])
    found = rows(engine)
    assert sorted(found) == left
    assert (found[22]["quantity"], found[1]["quantity"]) == (7, 10)
    if value is None:
        assert found[21]["quantity"] is None
        assert result.stats.discarded_values == {"quantity": 1}
    if contract == "quarantine":
        (aside,) = engine.lake.scan(RAW.at("unreadable")).read_all().to_pylist()
        assert "does not fit" in aside["reason"]
        assert "a dozen" in aside["record"]


def test_a_change_is_told_once(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL, schema_contract="discard_value", refine=[])
    alerts = engine.settings.home / "alerts.jsonl"
    pull_stream(engine, source, source.streams[0])
    change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
    for _ in range(3):
        assert pull_stream(engine, source, source.streams[0], force=True).schema_changes == (
            "new column note",
        )
    (told,) = alerts.read_text().splitlines()
    assert "The schema of shop/orders changed" in told
    assert "new column note" in told

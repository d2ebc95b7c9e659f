"""Records that are deleted at the source, under each `deletes`."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from superinsight_sync.model.declaration import SourceSpec, SyncSpec
from superinsight_sync.model.tables import DELETED_AT, TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.shop import change, make_shop, order, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")
REFINED = RAW.at("refined")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_shop(tmp_path / "shop.db", [order(n) for n in range(1, 11)])


def declared(shop: Path, deletes: str) -> Any:
    sync = {"mode": "incremental", "cursor": "updated_at", "deletes": deletes}
    return shop_source(shop, sync=sync, refine=[])


def run(engine: Engine, source: Any) -> Any:
    result = pull_stream(engine, source, source.streams[0])
    refine_stream(engine, source, source.streams[0])
    return result


def marks(engine: Engine, table: TableRef) -> dict[int, bool]:
    """Key → whether it is marked as deleted."""
    rows = engine.lake.scan(table).read_all().to_pylist()
    assert len(rows) == len({r["order_id"] for r in rows})
    return {r["order_id"]: r.get(DELETED_AT) is not None for r in rows}


def test_hard_removes_what_is_gone_and_nothing_else(engine: Engine, shop: Path) -> None:
    source = declared(shop, "hard")
    run(engine, source)
    change(shop, "DELETE FROM orders WHERE order_id IN (3, 10)")
    change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", [order(11, updated="2026-03-01T00:00:00Z")])
    result = run(engine, source)
    assert (result.deleted, result.table_rows) == (2, 9)
    for table in (RAW, REFINED):
        found = engine.lake.scan(table).read_all().column("order_id").to_pylist()
        assert sorted(found) == [1, 2, 4, 5, 6, 7, 8, 9, 11]
    point = engine.lake.checkpoint(RAW)
    assert point is not None
    assert point.cursor == "2026-03-01T00:00:00Z"
    assert run(engine, source).deleted == 0


def test_soft_marks_what_is_gone_also_in_the_refined_table(engine: Engine, shop: Path) -> None:
    source = declared(shop, "soft")
    run(engine, source)
    change(shop, "DELETE FROM orders WHERE order_id = 3")
    assert run(engine, source).deleted == 1
    for table in (RAW, REFINED):
        assert marks(engine, table) == {n: n == 3 for n in range(1, 11)}
    first = engine.lake.scan(RAW).read_all().to_pylist()
    assert run(engine, source).deleted == 0
    when = {r["order_id"]: r[DELETED_AT] for r in first}[3]
    assert {r["order_id"]: r[DELETED_AT] for r in engine.lake.scan(RAW).read_all().to_pylist()}[3] == when


@pytest.mark.parametrize("updated", ["2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"])
def test_a_record_that_comes_back_is_live_again(engine: Engine, shop: Path, updated: str) -> None:
    """Whether its cursor is behind the checkpoint or not."""
    source = declared(shop, "soft")
    run(engine, source)
    change(shop, "DELETE FROM orders WHERE order_id = 3")
    run(engine, source)
    change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", [order(3, updated=updated)])
    run(engine, source)
    for table in (RAW, REFINED):
        assert marks(engine, table) == dict.fromkeys(range(1, 11), False)


def test_ignore_leaves_everything(engine: Engine, shop: Path) -> None:
    source = declared(shop, "ignore")
    run(engine, source)
    change(shop, "DELETE FROM orders")
    assert run(engine, source).table_rows == 10


@pytest.mark.parametrize("deletes", ["soft", "hard"])
def test_an_emptied_source_empties_the_table(engine: Engine, shop: Path, deletes: str) -> None:
    source = declared(shop, deletes)
    run(engine, source)
    change(shop, "DELETE FROM orders")
    assert run(engine, source).deleted == 10
    live = [n for n, gone in marks(engine, RAW).items() if not gone] if deletes == "soft" else []
    assert live == []
    assert engine.lake.count(RAW) == (10 if deletes == "soft" else 0)


def test_deletes_that_an_end_in_between_prevented_are_made_up_for(
    engine: Engine, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows have landed, and the source does not change any more."""
    source = declared(shop, "hard")
    run(engine, source)
    change(shop, "DELETE FROM orders WHERE order_id = 3")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("superinsight_sync.pipeline.pull.apply_deletes", stop)
        with pytest.raises(KeyboardInterrupt):
            pull_stream(engine, source, source.streams[0])
    assert run(engine, source).deleted == 1
    assert 3 not in marks(engine, RAW)


@pytest.mark.parametrize("deletes", ["soft", "hard"])
def test_keys_that_became_of_another_type_are_compared_in_the_tables(
    engine: Engine, shop: Path, deletes: str
) -> None:
    """What does not fit is set aside by the contract, and its key is of no row of the table."""
    sync = {"mode": "incremental", "cursor": "updated_at", "deletes": deletes}
    source = shop_source(shop, sync=sync, refine=[], schema_contract={"types": "quarantine"})
    run(engine, source)
    change(
        shop,
        "CREATE TABLE texts (order_id TEXT PRIMARY KEY, customer, amount, placed_at TEXT, updated_at TEXT)",
    )
    change(shop, "INSERT INTO texts SELECT * FROM orders WHERE order_id <> 3")
    change(shop, "INSERT INTO texts VALUES (?,?,?,?,?)", [("abc", *order(11)[1:])])
    change(shop, "DROP TABLE orders")
    change(shop, "ALTER TABLE texts RENAME TO orders")
    assert run(engine, source).deleted == 1
    live = {n for n, gone in marks(engine, RAW).items() if not gone}
    assert live == {1, 2, 4, 5, 6, 7, 8, 9, 10}


def test_positions_and_deletes_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match="a log of messages has no records that could be gone"):
        SyncSpec.model_validate({"mode": "incremental", "by": "position", "deletes": "hard"})


@pytest.mark.parametrize("deletes", ["soft", "hard"])
def test_records_that_cannot_be_read_do_not_count_as_gone(
    engine: Engine, tmp_path: Path, deletes: str
) -> None:
    """Nothing is deleted while there are any, and the pull says so and goes on."""
    file = tmp_path / "drop" / "a.csv"
    file.parent.mkdir()
    stream = {
        "name": "orders",
        "path": "*.csv",
        "primary_key": ["order_id"],
        "sync": {"mode": "incremental", "by": "hash", "deletes": deletes},
    }
    source = SourceSpec.model_validate(
        {
            "name": "shop",
            "tenant": "acme",
            "connection": {"kind": "files", "path": str(file.parent)},
            "streams": [stream],
        }
    )
    file.write_text("order_id,note\n1,a\n2,b\n3,c\n")
    assert run(engine, source).warnings == ()
    file.write_text("order_id,note\n1,a\n2,b,too,many\n4,d\n")
    result = run(engine, source)
    assert (result.deleted, result.unreadable, result.table_rows) == (0, 1, 4)
    assert "cannot be read (1)" in result.warnings[0]
    assert not any(marks(engine, RAW).values())
    file.write_text("order_id,note\n1,a\n2,b\n4,d\n")
    result = run(engine, source)
    assert (result.deleted, result.warnings) == (1, ())
    assert {int(k): gone for k, gone in marks(engine, RAW).items()}.get(3, True)

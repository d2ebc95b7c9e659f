"""The whole path without Dagster: source → raw → refined → dictionary → dataset."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from superinsight_sync.core.errors import ConfigError, ThresholdError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import SYSTEM_COLUMNS, TableRef
from superinsight_sync.pipeline.check import check_stream
from superinsight_sync.pipeline.describe import describe_stream
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.export import export_dataset
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.shop import change, order, shop_dataset, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")
REFINED = RAW.at("refined")
INSERT = "INSERT INTO orders VALUES (?,?,?,?,?)"
INCREMENTAL = {"mode": "incremental", "cursor": "updated_at"}
MONTHLY = {"by": "month", "start": "2026-01-01", "end": "2026-04-01"}


def ids(engine: Engine, table: TableRef) -> list[int]:
    return sorted(engine.lake.scan(table, columns=["order_id"]).read_all()["order_id"].to_pylist())


def run(engine: Engine, source: SourceSpec, **kwargs: object) -> None:
    for stream in source.streams:
        pull_stream(engine, source, stream, **kwargs)  # type: ignore[arg-type]
        refine_stream(engine, source, stream, **kwargs)  # type: ignore[arg-type]


def test_source_rows_become_a_dataset(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, expect=[{"type": "unique", "columns": ["order_id"], "severity": "critical"}])
    stream = source.streams[0]

    pulled = pull_stream(engine, source, stream)
    assert pulled.stats.rows == 500
    assert set(SYSTEM_COLUMNS[:3]) <= set(engine.lake.schema(RAW).names)

    refined = refine_stream(engine, source, stream)
    assert (refined.rows_read, refined.rows_written) == (500, 500)
    row = next(r for r in engine.lake.scan(REFINED).read_all().to_pylist() if r["order_id"] == 42)
    assert row["amount"] == Decimal("42.42")
    assert row["placed_at"].isoformat() == "2026-01-15T18:30:00+00:00"

    assert [c.passed for c in check_stream(engine, source, stream)] == [True]
    described = describe_stream(engine, source, stream)
    assert described.fields == 5
    assert "order_id" in described.markdown

    exported = export_dataset(engine, shop_dataset())
    assert exported.rows == sum(exported.rows_by_split.values()) == 500
    lines = [
        json.loads(line)
        for split in ("train", "validation", "test")
        for line in (Path(exported.path) / "data" / f"{split}.jsonl").read_text().splitlines()
    ]
    assert sorted(line["order_id"] for line in lines) == list(range(1, 501))
    assert exported.lineage["amount"] == (("orders", "amount"),)


def test_a_second_run_does_nothing_where_nothing_changed(engine: Engine, shop: Path) -> None:
    source = shop_source(shop)
    run(engine, source)
    first = export_dataset(engine, shop_dataset())

    again = open_engine("run-2", engine.settings)
    assert pull_stream(again, source, source.streams[0]).unchanged
    assert refine_stream(again, source, source.streams[0]).unchanged
    second = export_dataset(again, shop_dataset())
    assert second.unchanged
    assert second.version == first.version


def test_a_changed_row_reaches_the_dataset(engine: Engine, shop: Path) -> None:
    source = shop_source(shop)
    run(engine, source)
    export_dataset(engine, shop_dataset())
    change(shop, "UPDATE orders SET amount = '0.01' WHERE order_id = 7")
    run(engine, source)
    exported = export_dataset(engine, shop_dataset())
    assert not exported.unchanged
    text = "".join((Path(exported.path) / "data" / f"{s}.jsonl").read_text() for s in exported.rows_by_split)
    assert next(json.loads(line) for line in text.splitlines() if json.loads(line)["order_id"] == 7)[
        "amount"
    ] in (
        0.01,
        "0.01",
    )


def test_an_incremental_pull_reads_exactly_what_is_new(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL)
    stream = source.streams[0]
    assert pull_stream(engine, source, stream).stats.rows == 500
    change(shop, INSERT, [order(501, updated="2026-02-01T00:00:00Z")])
    change(shop, "UPDATE orders SET amount='1.00', updated_at='2026-02-02T00:00:00Z' WHERE order_id=3")
    second = pull_stream(engine, source, stream)
    assert second.stats.cursor_after == "2026-02-02T00:00:00Z"
    assert second.stats.rows == 4, "two new, and two that share the last cursor value"
    assert ids(engine, RAW) == list(range(1, 502))
    refine_stream(engine, source, stream)
    amounts = {r["order_id"]: r["amount"] for r in engine.lake.scan(REFINED).read_all().to_pylist()}
    assert len(amounts) == 501
    assert amounts[3] == Decimal("1.00")


def test_appending_without_a_key_lands_rows_of_one_cursor_value_once(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, primary_key=None, sync=INCREMENTAL)
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    last = "2026-01-28T23:30:00Z"
    change(shop, INSERT, [order(600, updated=last), order(601, updated=last)])
    pull_stream(engine, source, stream)
    change(shop, INSERT, [order(602, updated=last)])
    pull_stream(engine, source, stream)
    pull_stream(engine, source, stream, force=True)
    assert ids(engine, RAW) == [*range(1, 501), 600, 601, 602]


def test_incremental_refine_equals_a_full_one(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL)
    stream = source.streams[0]
    run(engine, source)
    for number in range(501, 505):
        change(shop, INSERT, [order(number, updated=f"2026-02-{number - 500:02d}T00:00:00Z")])
        change(
            shop,
            f"UPDATE orders SET amount='9.99', updated_at='2026-02-{number - 500:02d}T01:00:00Z' WHERE order_id={number - 490}",
        )
        run(engine, source)

    def rows() -> list[tuple[object, ...]]:
        table = engine.lake.scan(REFINED).read_all().select(["order_id", "customer", "amount", "placed_at"])
        return sorted(tuple(r.values()) for r in table.to_pylist())

    incremental = rows()
    refine_stream(engine, source, stream, force=True)
    assert incremental == rows()
    assert len(incremental) == 504


def test_with_records_in_quarantine_only_new_rows_are_refined_and_mended_ones_come_back(
    engine: Engine, shop: Path
) -> None:
    source = shop_source(shop, sync=INCREMENTAL)
    stream = source.streams[0]
    change(shop, "UPDATE orders SET amount='bad' WHERE order_id IN (1, 2, 3)")
    run(engine, source)

    def state() -> tuple[list[tuple[object, ...]], list[tuple[str, str]]]:
        table = engine.lake.scan(REFINED).read_all().select(["order_id", "customer", "amount", "placed_at"])
        aside = engine.lake.scan(RAW.at("quarantine")).read_all().to_pylist()
        records = sorted((r["_sis_record"], r["_sis_load_id"]) for r in aside)
        return sorted(tuple(r.values()) for r in table.to_pylist()), records

    rounds: list[tuple[str, int]] = [
        ("UPDATE orders SET amount='1.00' WHERE order_id = 1", 1),  # mended
        ("UPDATE orders SET amount='worse' WHERE order_id = 2", 1),  # as bad as before
        ("UPDATE orders SET amount='1.00' WHERE order_id = 300", 1),  # was and is right
        ("UPDATE orders SET amount='bad' WHERE order_id = 300", 503),  # was right: all must be read
        ("UPDATE orders SET amount='2.00' WHERE order_id IN (2, 300, 301)", 3),
    ]
    for number, (changed, read) in enumerate(rounds):
        at = f"2026-03-{number + 1:02d}T00:00:00Z"
        change(shop, changed.replace(" WHERE", f", updated_at = '{at}' WHERE"))
        change(shop, INSERT, [order(600 + number, updated=at, amount="bad" if number == 1 else None)])
        pull_stream(engine, source, stream)
        assert refine_stream(engine, source, stream).rows_read == (read + 1 if read < 500 else 504)
        found = state()
        refine_stream(engine, source, stream, force=True)
        assert found == state()
    assert [json.loads(r)["order_id"] for r, _ in state()[1]] == [3, 601]


def test_an_appended_stream_refines_new_rows_alone_whatever_is_in_quarantine(
    engine: Engine, shop: Path
) -> None:
    source = shop_source(shop, sync={**INCREMENTAL, "disposition": "append"}, primary_key=[])
    stream = source.streams[0]
    change(shop, "UPDATE orders SET amount='bad' WHERE order_id = 1")
    run(engine, source)
    for number in (601, 602):
        change(shop, INSERT, [order(number, updated=f"2026-03-{number - 600:02d}T00:00:00Z", amount="bad")])
        pull_stream(engine, source, stream)
        assert refine_stream(engine, source, stream).rows_read == 1
        assert engine.lake.count(RAW.at("quarantine")) == number - 599
    assert engine.lake.count(REFINED) == 499


def test_the_threshold_counts_what_is_in_quarantine_already(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL, max_row_errors=3, max_row_error_share=0.1)
    stream = source.streams[0]
    change(shop, "UPDATE orders SET amount='bad' WHERE order_id IN (1, 2)")
    run(engine, source)
    change(shop, INSERT, [order(601, updated="2026-03-01T00:00:00Z", amount="bad")])
    run(engine, source)  # one of one is bad, three of 501 of the table
    change(shop, INSERT, [order(602, updated="2026-03-02T00:00:00Z", amount="bad")])
    pull_stream(engine, source, stream)
    with pytest.raises(ThresholdError, match="4 of 502 records failed"):
        refine_stream(engine, source, stream)


def test_row_hash_finds_changes_without_a_cursor(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync={"mode": "incremental", "by": "hash"})
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    change(shop, "UPDATE orders SET customer='new' WHERE order_id IN (5, 6)")
    change(shop, INSERT, [order(501)])
    landed = pull_stream(engine, source, stream)
    table = engine.lake.scan(RAW).read_all()
    assert table.num_rows == 501
    new = [r["order_id"] for r in table.to_pylist() if r["_sis_load_id"] == landed.load_id]
    assert sorted(new) == [5, 6, 501]


def test_a_partition_replaces_exactly_its_window(engine: Engine, shop: Path) -> None:
    change(shop, INSERT, [(n, "c", "1.00", f"2026-02-{n - 600:02d}T00:00:00Z", "x") for n in range(601, 611)])
    source = shop_source(shop, sync={"mode": "incremental", "cursor": "placed_at"}, partition=MONTHLY)
    stream = source.streams[0]
    both = ("2026-01-01", "2026-02-01")
    pulled = pull_stream(engine, source, stream, partitions=both)
    assert dict(pulled.rows_by_partition) == {"2026-01-01": 500, "2026-02-01": 10}
    refine_stream(engine, source, stream, partitions=both)

    change(shop, "DELETE FROM orders WHERE order_id IN (601, 1)")
    pull_stream(engine, source, stream, partitions=("2026-02-01",))
    refine_stream(engine, source, stream, partitions=("2026-02-01",))
    assert ids(engine, RAW) == [*range(1, 501), *range(602, 611)]
    assert ids(engine, REFINED) == [*range(1, 501), *range(602, 611)]


def test_bad_records_are_quarantined_and_come_back_after_a_fix(engine: Engine, shop: Path) -> None:
    change(shop, "UPDATE orders SET amount='12,50 €' WHERE order_id IN (10, 11)")
    source = shop_source(shop)
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    refined = refine_stream(engine, source, stream)
    assert refined.rows_written == 498
    assert sum(refined.quarantined.values()) == 2
    kept = engine.lake.scan(RAW.at("quarantine")).read_all().to_pylist()
    assert sorted(json.loads(r["_sis_record"])["order_id"] for r in kept) == [10, 11]
    assert all("12,50" not in r["_sis_reason"] for r in kept)

    change(shop, "UPDATE orders SET amount='12.50' WHERE order_id IN (10, 11)")
    run(engine, source)
    assert len(ids(engine, REFINED)) == 500
    assert engine.lake.count(RAW.at("quarantine")) == 0


def test_the_references_select_runs_on_files(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("origin,n\nEWR,1\nJFK,2\nEWR,3\n")
    select = "SELECT origin, count(*) AS flights FROM input GROUP BY origin"
    source = SourceSpec.model_validate(
        {
            "name": "air",
            "tenant": "acme",
            "connection": {"kind": "files", "path": str(tmp_path)},
            "streams": [{"name": "flights", "path": "*.csv", "refine": [{"step": "sql", "select": select}]}],
        }
    )
    run(engine, source)
    table = engine.lake.scan(TableRef("acme", "air", "flights", "refined")).read_all()
    rows = {r["origin"]: (r["flights"], r["_sis_file"]) for r in table.to_pylist()}
    assert rows == {"EWR": (2, None), "JFK": (1, None)}


def test_over_the_threshold_nothing_is_published(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, max_row_errors=1)
    stream = source.streams[0]
    run(engine, source)
    version = engine.lake.version(REFINED)
    change(shop, "UPDATE orders SET amount='x' WHERE order_id IN (10, 11)")
    pull_stream(engine, source, stream)
    with pytest.raises(ThresholdError, match="shop/orders"):
        refine_stream(engine, source, stream)
    assert engine.lake.version(REFINED) == version
    assert engine.lake.count(RAW.at("quarantine")) == 2


def test_a_frozen_schema_refuses_a_new_column(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, schema_contract="freeze")
    pull_stream(engine, source, source.streams[0])
    change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
    with pytest.raises(ConfigError, match="new column note"):
        pull_stream(engine, source, source.streams[0])


def test_a_new_column_is_taken_and_told(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=INCREMENTAL)
    pull_stream(engine, source, source.streams[0])
    change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
    change(
        shop, "INSERT INTO orders VALUES (?,?,?,?,?,?)", [(*order(501, updated="2026-03-01T00:00:00Z"), "🚀")]
    )
    pulled = pull_stream(engine, source, source.streams[0])
    assert pulled.schema_changes == ("new column note",)
    notes = {r["order_id"]: r["note"] for r in engine.lake.scan(RAW).read_all().to_pylist()}
    assert notes[501] == "🚀"
    assert notes[1] is None


def test_an_empty_table_lands_and_exports(engine: Engine, tmp_path: Path) -> None:
    from superinsight_sync_tests.shop import make_shop

    source = shop_source(make_shop(tmp_path / "empty.db", []))
    run(engine, source)
    assert engine.lake.count(REFINED) == 0
    assert describe_stream(engine, source, source.streams[0]).fields == 5
    assert export_dataset(engine, shop_dataset()).rows == 0


@pytest.mark.parametrize("strategy", ["memory", "hybrid"])
def test_raw_kept_in_memory_serves_the_runs_next_steps_and_is_gone_after(
    engine: Engine, shop: Path, strategy: str
) -> None:
    source = shop_source(shop, save={"raw": strategy})
    run(engine, source)
    assert ids(engine, REFINED) == list(range(1, 501))
    assert not engine.lake.exists(RAW)
    engine.release()
    later = open_engine("run-2", engine.settings)
    assert not later.store(source, source.streams[0], "raw").exists(RAW)


def test_rollback_takes_a_load_and_its_checkpoint_back(engine: Engine, shop: Path) -> None:
    from superinsight_sync.pipeline.rollback import rollback

    source = shop_source(shop, sync=INCREMENTAL)
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    before = engine.lake.checkpoint(RAW)
    change(shop, INSERT, [order(501, updated="2026-02-01T00:00:00Z")])
    second = pull_stream(engine, source, stream)
    rollback(engine, second.load_id)
    assert ids(engine, RAW) == list(range(1, 501))
    after = engine.lake.checkpoint(RAW)
    assert before is not None
    assert after is not None
    assert after.cursor == before.cursor
    pull_stream(engine, source, stream)
    assert ids(engine, RAW) == list(range(1, 502))


def test_executions_say_what_happened(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, table="no_such_table")
    with pytest.raises(ConfigError, match="no_such_table"):
        pull_stream(engine, source, source.streams[0])
    last = engine.state.executions.recent(1)[0]
    assert (last.verb, last.status, last.error_class) == ("pull", "failed", "ConfigError")


def test_rows_are_read_as_of_a_version(engine: Engine, shop: Path) -> None:
    from superinsight_sync.pipeline.inspect import landed

    source = shop_source(shop, sync=INCREMENTAL)
    pull_stream(engine, source, source.streams[0])
    first = engine.lake.version(RAW)
    change(shop, INSERT, [order(501, updated="2026-02-01T00:00:00Z")])
    pull_stream(engine, source, source.streams[0])
    assert landed(engine, RAW, limit=1000, version=first).num_rows == 500
    assert landed(engine, RAW, limit=1000).num_rows == 501
    assert landed(engine, RAW, limit=7).num_rows == 7

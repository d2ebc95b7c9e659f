"""A source whose columns change, under each schema contract."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.tables import Commit, TableRef
from superinsight_sync.pipeline.contract import Conformer, drift_between
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.pipeline.widening import widen_table
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import change, make_shop, order, shop_source

STREAM = StreamSpec.model_validate({"name": "orders", "table": "orders"})
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


def refused(engine: Engine, source: SourceSpec, match: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ConfigError, match=match):
            pull_stream(engine, source, source.streams[0])


def told(engine: Engine) -> list[str]:
    return [json.loads(a)["text"] for a in (engine.settings.home / "alerts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("disposition", [None, "append"])
def test_a_change_that_a_frozen_contract_refuses_is_told_once(
    engine: Engine, shop: Path, disposition: str | None
) -> None:
    sync = {**INCREMENTAL, "disposition": disposition}
    source = shop_source(shop, sync=sync, schema_contract="freeze", refine=[])
    pull_stream(engine, source, source.streams[0])
    before = engine.lake.checkpoint(RAW)
    change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
    refused(engine, source, "new column note.*its contract is frozen", times=3)
    assert told(engine) == ["new column note"]
    change(shop, "ALTER TABLE orders ADD COLUMN weight REAL")
    refused(engine, source, "new column weight", times=2)
    assert told(engine)[1:] == ["new column note; new column weight"]
    change(shop, "ALTER TABLE orders DROP COLUMN weight")
    change(shop, "ALTER TABLE orders DROP COLUMN note")
    assert before is not None
    after = engine.lake.checkpoint(RAW)
    assert after is not None and (after.cursor, after.load_id) == (before.cursor, before.load_id)
    change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", [order(11, updated="2026-03-01T00:00:00Z")])
    assert pull_stream(engine, source, source.streams[0]).schema_changes == ()
    assert sorted(rows(engine)) == list(range(1, 12))
    change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
    refused(engine, source, "new column note", times=2)
    assert told(engine)[2:] == ["new column note"]


def test_a_full_read_and_a_partition_that_are_refused_tell_the_change_once(
    engine: Engine, shop: Path
) -> None:
    daily: dict[str, Any] = {
        "sync": {"mode": "incremental", "cursor": "placed_at"},
        "partition": {"by": "day", "start": "2026-01-01"},
    }
    change(shop, "UPDATE orders SET placed_at = '2026-01-02T10:00:00Z'")
    for stream in ({}, daily):
        source = shop_source(shop, schema_contract="freeze", refine=[], name=f"s{len(stream)}", **stream)
        days = ["2026-01-02"] if stream else []
        pull_stream(engine, source, source.streams[0], partitions=days)
        change(shop, "ALTER TABLE orders ADD COLUMN note TEXT")
        for _ in range(2):
            with pytest.raises(ConfigError, match="frozen"):
                pull_stream(engine, source, source.streams[0], partitions=days)
        change(shop, "ALTER TABLE orders DROP COLUMN note")
    assert told(engine) == ["new column note"] * 2


def test_what_was_set_aside_goes_when_a_full_read_has_nothing_to_set_aside(
    engine: Engine, shop: Path
) -> None:
    source = shop_source(shop, schema_contract={"types": "quarantine"}, refine=[])
    change(shop, "ALTER TABLE orders ADD COLUMN quantity INTEGER")
    pull_stream(engine, source, source.streams[0])
    retyped(shop, "TEXT", "a dozen")
    assert pull_stream(engine, source, source.streams[0]).unreadable == 1
    change(shop, "DELETE FROM orders WHERE order_id = 21")
    assert pull_stream(engine, source, source.streams[0]).unreadable == 0
    assert engine.lake.count(RAW.at("unreadable")) == 0


def test_a_partition_whose_column_became_text_takes_the_refined_table_along(
    engine: Engine, counted: Path
) -> None:
    source = shop_source(
        counted,
        refine=[],
        sync={"mode": "incremental", "cursor": "placed_at"},
        partition={"by": "day", "start": "2026-01-01"},
    )
    stream, days = source.streams[0], ("2026-01-05", "2026-01-06")
    for day in days:
        pull_stream(engine, source, stream, partitions=[day])
        refine_stream(engine, source, stream, partitions=[day])
    assert pa.types.is_integer(engine.lake.schema(RAW.at("refined")).field("quantity").type)
    change(counted, "ALTER TABLE orders RENAME COLUMN quantity TO old_quantity")
    change(counted, "ALTER TABLE orders ADD COLUMN quantity TEXT")
    change(counted, "UPDATE orders SET quantity = 'about ' || old_quantity")
    change(counted, "ALTER TABLE orders DROP COLUMN old_quantity")
    pull_stream(engine, source, stream, partitions=[days[0]])
    refine_stream(engine, source, stream, partitions=[days[0]])
    for table in (RAW, RAW.at("refined")):
        assert {n: r["quantity"] for n, r in rows(engine, table).items()} == {4: "about 40", 5: "50"}


AT = datetime(2026, 1, 2, 3, 4, 5, 678901)
CHANGES: list[tuple[pa.DataType, Any, pa.DataType, Any]] = [
    (pa.int32(), 7, pa.int64(), 2**40),
    (pa.int64(), 2**62, pa.decimal128(12, 2), Decimal("1.50")),
    (pa.decimal128(5, 1), Decimal("12.5"), pa.decimal128(6, 4), Decimal("1.2345")),
    (pa.int64(), -3, pa.string(), "three"),
    (pa.float64(), 0.1, pa.string(), "x"),
    (pa.bool_(), True, pa.string(), "yes"),
    (pa.bool_(), True, pa.int64(), 2),
    (pa.date32(), date(2026, 1, 2), pa.string(), "tomorrow"),
    (pa.timestamp("us"), AT, pa.string(), "now"),
    (pa.timestamp("us", "UTC"), AT.replace(tzinfo=UTC), pa.string(), "now"),
    (pa.date32(), date(2026, 1, 2), pa.timestamp("us"), AT),
    (pa.string(), "007", pa.int64(), 7),
    (pa.decimal128(38, 0), Decimal(10**37), pa.decimal128(38, 10), Decimal("0.5")),
]


@pytest.mark.parametrize(("was", "old", "now", "new"), CHANGES, ids=lambda v: str(v)[:20])
def test_evolve_keeps_every_value_of_both_types(
    engine: Engine, was: pa.DataType, old: Any, now: pa.DataType, new: Any
) -> None:
    """As far as a value can be told from its text."""
    before = pa.record_batch({"v": pa.array([old, None], was)})
    after = pa.record_batch({"v": pa.array([new, None], now)})

    def read() -> pa.RecordBatchReader:
        return add_system_columns(pa.table(before).to_reader(), load_id="one", extracted_at=utc_now())

    def text(value: Any, type_of: pa.DataType = was) -> Any:
        kind = engine.lake.schema(RAW).field("v").type
        if value is None or not pa.types.is_string(kind):
            return value
        return value if isinstance(value, str) else pa.array([value], type_of).cast(pa.string())[0].as_py()

    engine.lake.append(RAW, read, Commit("one"))
    conformer = Conformer(STREAM, drift_between(engine.lake.schema(RAW), after.schema))
    widen_table(engine.lake, RAW, conformer.widened, "run-1")
    landed = [
        *engine.lake.scan(RAW).read_all().column("v").to_pylist(),
        *conformer.conform(after).column(0).to_pylist(),
    ]
    assert landed == [text(old), None, text(new, now), None]


@pytest.mark.parametrize("now", [pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.binary()])
def test_a_type_that_has_no_common_one_stops_with_what_to_do(now: pa.DataType) -> None:
    drift = drift_between(pa.schema([("v", pa.int64())]), pa.schema([("v", now)]))
    with pytest.raises(ConfigError, match="column 'v' was int64 and is now .*have no common type.*sis reset"):
        Conformer(STREAM, drift)


def test_a_database_target_is_widened_too(
    engine: Engine, counted: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDE_DSN", postgres_server.create_database())
    save = {"raw": {"strategy": "database", "dsn": "{{ env.WIDE_DSN }}", "table": "public.orders"}}
    source = shop_source(counted, sync=INCREMENTAL, refine=[], save=save)
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    retyped(counted, "TEXT", "a dozen")
    pull_stream(engine, source, stream)
    found = engine.store(source, stream, "raw").scan(RAW).read_all().to_pylist()
    assert {r["order_id"]: r["quantity"] for r in found}[1] == "10"
    assert {r["order_id"]: r["quantity"] for r in found}[21] == "a dozen"

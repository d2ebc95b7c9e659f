"""What may be changed of a stream that has landed, what may not, and how it is started over."""

from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.delta_errors import storage_errors
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import Checkpoint, TableRef
from superinsight_sync.pipeline.describe import describe_stream, dictionary_prefix
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.inspect import test_connection as check_connection
from superinsight_sync.pipeline.plan import plan_raw
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.pipeline.reset import reset_stream, what_a_reset_removes
from superinsight_sync_tests.shop import change, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")
BY_UPDATE: dict[str, Any] = {"mode": "incremental", "cursor": "updated_at"}
BY_PLACED: dict[str, Any] = {"mode": "incremental", "cursor": "placed_at"}
BY_NUMBER: dict[str, Any] = {"mode": "incremental", "by": "version", "cursor": "order_id"}
DAYS = {"by": "day", "start": "2026-01-01", "end": "2026-02-01"}
WEEKS = {"by": "week", "start": "2026-01-04", "end": "2026-02-01"}
PLAIN: dict[str, Any] = {"sync": BY_UPDATE}
PARTITIONED: dict[str, Any] = {"sync": BY_PLACED, "partition": DAYS}
KEYLESS: dict[str, Any] = {"sync": BY_UPDATE, "primary_key": None}

REFUSED = {
    "gets partitions": (PLAIN, PARTITIONED, "landed without partitions"),
    "loses them": (PARTITIONED, PLAIN, "landed with partitions"),
    "other partitions": (
        PARTITIONED,
        {"sync": BY_PLACED, "partition": WEEKS},
        "other partitions than by week",
    ),
    "partitions of another column": (PARTITIONED, {**PARTITIONED, "sync": BY_UPDATE}, "those of 'placed_at'"),
    "another key": (PLAIN, {**PLAIN, "primary_key": ["order_id", "customer"]}, "merged by order_id"),
    "a key": (KEYLESS, PLAIN, "merged by no key"),
}
WORKS = {
    "another cursor": (PLAIN, {"sync": BY_NUMBER}),
    "no key": (PLAIN, KEYLESS),
    "a cursor for hashes": ({"sync": {"mode": "incremental", "by": "hash"}}, PLAIN),
    "increments": ({"sync": None}, KEYLESS),
    "reading in full": (PLAIN, {"sync": None}),
    "reading partitions in full": (PARTITIONED, {"sync": None}),
    "another contract": (PLAIN, {**PLAIN, "schema_contract": "freeze", "priority": 3}),
}


def keys_of(source: SourceSpec) -> tuple[str, ...]:
    return ("2026-01-04",) if source.streams[0].partition else ()


def pull(engine: Engine, source: SourceSpec) -> Any:
    return pull_stream(engine, source, source.streams[0], partitions=keys_of(source))


def orders(engine: Engine) -> list[int]:
    return sorted(engine.lake.scan(RAW, columns=["order_id"]).read_all()["order_id"].to_pylist())


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_changed_is_refused_by_check_plan_and_pull_with_the_remedy(
    what: str, engine: Engine, shop: Path
) -> None:
    before, after, reason = REFUSED[what]
    first, changed = shop_source(shop, **before), shop_source(shop, **after)
    pull(engine, first)
    held = orders(engine)
    checked, planned = (
        check_connection(changed, engine.settings),
        plan_raw(engine, changed, changed.streams[0], keys_of(changed)),
    )
    with pytest.raises(ConfigError, match=reason) as stopped:
        pull(engine, changed)
    for told in (str(stopped.value), checked.error or "", planned.would):
        assert reason in told
        assert "sis reset shop.orders" in told
    assert (checked.ok, planned.outcome) == (False, "fails")
    assert orders(engine) == held
    assert not engine.state.dead_letters.list(10)
    assert all(e.retries == 0 for e in engine.state.executions.recent(10)), "no retry can mend it"
    reset_stream(engine, changed, changed.streams[0])
    assert check_connection(changed, engine.settings).ok
    pull(engine, changed)
    assert orders(engine)


@pytest.mark.parametrize("what", WORKS)
def test_what_can_be_changed_works_and_loses_nothing(what: str, engine: Engine, shop: Path) -> None:
    before, after = WORKS[what]
    first, changed = shop_source(shop, **before), shop_source(shop, **after)
    pull(engine, first)
    change(shop, "INSERT INTO orders VALUES (1000, 'c', '1', '2025-01-01T00:00:00Z', '2026-02-02T00:00:00Z')")
    change(shop, "INSERT INTO orders VALUES (0, 'c', '1', '2025-01-01T00:00:00Z', '2026-02-03T00:00:00Z')")
    assert check_connection(changed, engine.settings).ok
    assert plan_raw(engine, changed, changed.streams[0]).outcome == "made"
    pull(engine, changed)
    pull(engine, changed)
    assert orders(engine) == [0, *range(1, 501), 1000]


def test_a_reset_stream_starts_over_also_after_an_end_in_between(
    engine: Engine, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"step": "rule", "name": "small", "check": "order_id < 400", "else": "quarantine"}
    source = shop_source(shop, sync=BY_UPDATE, refine=[rule])
    stream = source.streams[0]

    def run() -> list[int]:
        pull(engine, source)
        refine_stream(engine, source, stream)
        describe_stream(engine, source, stream)
        return [engine.lake.count(RAW.at(s)) for s in ("raw", "refined", "quarantine")]

    assert run() == [500, 399, 101]
    found = what_a_reset_removes(engine, source, stream)
    assert {f.table.stage: f.rows for f in found} == {"raw": 500, "refined": 399, "quarantine": 101}
    drop = type(engine.lake).drop

    def killed(store: Any, table: TableRef) -> None:
        drop(store, table)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(engine.lake), "drop", killed)
        reset_stream(engine, source, stream)
    assert {f.table.stage for f in reset_stream(engine, source, stream)} == {"raw", "quarantine"}
    assert not list(engine.lake.tables())
    assert not engine.state.checkpoints.list(source="shop")
    assert not engine.state.quarantine.list(source="shop")
    assert not list(engine.blobs.list(dictionary_prefix(RAW.at("refined"))))
    change(shop, "DELETE FROM orders WHERE order_id > 450")
    assert run() == [450, 399, 51]


def test_what_no_retry_can_mend_is_no_transient_error() -> None:
    from deltalake.exceptions import DeltaError

    with pytest.raises(ConfigError, match="No field named"), storage_errors("x"):
        raise DeltaError("Schema error: No field named _sis_partition. Valid fields are id.")


def test_a_checkpoint_from_before_is_gone_on_with(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync=BY_UPDATE)
    pull(engine, source)
    point = engine.lake.checkpoint(RAW)
    assert point is not None
    engine.lake.set_checkpoint(RAW, Checkpoint(point.load_id, point.at, cursor=point.cursor))
    assert pull(engine, source).stats.rows < 500

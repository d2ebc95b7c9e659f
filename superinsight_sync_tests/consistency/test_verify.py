"""Verify finds every planted difference and no other."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.consistency.compare import Comparing, Comparison
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.verify import VerifyResult, verify_stream
from superinsight_sync_tests.shop import change, make_shop, order, shop_source

SCHEMA = pa.schema([("k", pa.string()), ("f", pa.float64()), ("t", pa.string()), ("b", pa.binary())])
FLOATS = st.sampled_from([None, 0.0, -0.0, math.nan, 1.5, math.inf])
TEXTS = st.sampled_from([None, "", "a", "é", "\x1f", "n"])
ROWS = st.dictionaries(TEXTS, st.tuples(FLOATS, TEXTS, st.sampled_from([None, b"", b"\0", b"n"])), max_size=6)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine("run-1", load_settings({"SIS_PROJECT_DIR": str(tmp_path)}))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_shop(tmp_path / "shop.db", (order(n) for n in range(1, 101)))


def verified(engine: Engine, source: Any, **more: Any) -> VerifyResult:
    found = verify_stream(engine, source, source.streams[0], **more)
    seen = found.comparison
    kept = seen.lake + found.quarantined + found.discarded + seen.in_flight_missing
    assert found.source == kept + seen.missing - seen.extra
    return found


def numbers(found: Comparison) -> tuple[int, int, int, int]:
    return found.missing, found.extra, found.different, found.in_flight


def test_what_was_pulled_agrees_and_what_changed_is_found(engine: Engine, shop: Path) -> None:
    source = shop_source(shop)
    pull_stream(engine, source, source.streams[0])
    assert verified(engine, source).consistent
    change(shop, "DELETE FROM orders WHERE order_id = 7")
    change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", [order(200)])
    change(shop, "UPDATE orders SET customer = NULL WHERE order_id IN (3, 4)")
    found = verified(engine, source)
    assert not found.consistent
    assert numbers(found.comparison) == (1, 1, 2, 0)
    assert found.comparison.columns == {"customer": 2}
    assert found.comparison.keys is not None
    assert {(r["order_id"], r["_sis_found"]) for r in found.comparison.keys.to_pylist()} == {
        (7, "extra"),
        (200, "missing"),
        (3, "different"),
        (4, "different"),
    }


def test_what_is_newer_than_the_checkpoint_is_in_flight(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync={"mode": "incremental", "cursor": "updated_at"})
    pull_stream(engine, source, source.streams[0])
    change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", [order(200, updated="2026-05-01T00:00:00Z")])
    change(shop, "UPDATE orders SET amount = '0', updated_at = '2026-05-01T00:00:00Z' WHERE order_id = 5")
    change(shop, "UPDATE orders SET amount = '0' WHERE order_id = 6")
    assert numbers(verified(engine, source).comparison) == (0, 0, 1, 2)
    pull_stream(engine, source, source.streams[0])
    assert numbers(verified(engine, source).comparison) == (0, 0, 1, 0)


def test_a_partition_is_compared_alone(engine: Engine, shop: Path) -> None:
    source = shop_source(
        shop,
        sync={"mode": "incremental", "cursor": "placed_at"},
        partition={"by": "day", "start": "2026-01-01"},
    )
    days = [f"2026-01-{d:02d}" for d in range(1, 29)]
    pull_stream(engine, source, source.streams[0], partitions=days)
    change(shop, "UPDATE orders SET amount = '0' WHERE placed_at < '2026-01-02'")
    assert verified(engine, source, partitions=days[1:2]).consistent
    found = verified(engine, source, partitions=days[:1]).comparison
    assert found.different == found.source > 0
    assert verified(engine, source).comparison.different == found.different


def test_rows_marked_as_deleted_are_not_extra(engine: Engine, shop: Path) -> None:
    sync = {"mode": "incremental", "cursor": "updated_at", "deletes": "soft"}
    source = shop_source(shop, sync=sync)
    pull_stream(engine, source, source.streams[0])
    change(shop, "DELETE FROM orders WHERE order_id = 3")
    assert numbers(verified(engine, source).comparison) == (0, 1, 0, 0)
    pull_stream(engine, source, source.streams[0])
    assert verified(engine, source).consistent


def test_what_cannot_be_compared_is_refused(engine: Engine, shop: Path) -> None:
    with pytest.raises(ConfigError, match="no key"):
        verified(engine, shop_source(shop, primary_key=[]))
    with pytest.raises(ConfigError, match="nothing has landed"):
        verified(engine, shop_source(shop))


def _table(rows: dict[Any, tuple[Any, ...]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"k": k, "f": f, "t": t, "b": b} for k, (f, t, b) in rows.items()], schema=SCHEMA
    )


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS)
def test_it_finds_every_difference_and_no_other(
    source: dict[Any, tuple[Any, ...]], lake: dict[Any, tuple[Any, ...]]
) -> None:
    """NULL is not '' nor b'', 0.0 is not -0.0, NaN is NaN."""
    with TemporaryDirectory() as folder, open_duckdb(scratch_dir=Path(folder)) as duck:
        comparing = Comparing(duck, ["k"], ["f", "t", "b"], SCHEMA)
        comparing.add("source", _table(source))
        comparing.add("lake", _table(lake))
        found = comparing.compared()
    both = source.keys() & lake.keys()
    expected = {n: sum(repr(source[k][i]) != repr(lake[k][i]) for k in both) for i, n in enumerate("ftb")}
    assert numbers(found) == (
        len(source.keys() - lake.keys()),
        len(lake.keys() - source.keys()),
        sum(repr(source[k]) != repr(lake[k]) for k in both),
        0,
    )
    assert found.columns == {n: c for n, c in expected.items() if c}

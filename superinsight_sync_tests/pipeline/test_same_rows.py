"""A full read that gives the rows which are there lands nothing, and nothing after it is due."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.results import PullResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline import describe, export, refine
from superinsight_sync.pipeline.describe import describe_stream
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.export import export_dataset
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync.pipeline.same_rows import RowSums
from superinsight_sync_tests.lake.saved_rows import EVERYTHING, landed, tables
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import change, shop_dataset, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")


def pull(engine: Engine, source: SourceSpec, **how: Any) -> PullResult:
    return pull_stream(open_engine("again", engine.settings), source, source.streams[0], **how)


def touched(shop: Path) -> None:
    """The database has another state, with the same rows in another order."""
    change(shop, "CREATE TABLE other AS SELECT * FROM orders ORDER BY order_id DESC")
    change(shop, "DELETE FROM orders")
    change(shop, "INSERT INTO orders SELECT * FROM other ORDER BY rowid")
    change(shop, "DROP TABLE other")


def test_nothing_lands_and_nothing_is_due(engine: Engine, shop: Path) -> None:
    source = shop_source(shop)
    stream = source.streams[0]
    first = pull(engine, source)
    refine_stream(engine, source, stream)
    describe_stream(engine, source, stream)
    export_dataset(engine, shop_dataset())
    loads = [v.load_id for v in engine.lake.history(RAW)]
    touched(shop)
    again = pull(engine, source)
    assert (again.unchanged, again.stats.rows, again.load_id, again.table_rows) == (
        True,
        500,
        first.load_id,
        500,
    )
    assert engine.state.executions.recent()[0].status == "unchanged"
    assert [v.load_id for v in engine.lake.history(RAW) if v.load_id] == [x for x in loads if x]
    assert refine.due(engine, source, stream) is None
    assert not describe.is_due(engine, source, stream)
    assert not export.is_due(engine, shop_dataset())
    third = pull(engine, source)
    assert (third.unchanged, third.stats.rows) == (True, 0), "its state is known now, and is not read again"


CHANGES = {
    "a value": "UPDATE orders SET amount = '0.01' WHERE order_id = 7",
    "a NULL for a text": "UPDATE orders SET customer = NULL WHERE order_id = 7",
    "values that change places": "UPDATE orders SET customer = 'c' || (order_id % 7 <> 1) WHERE order_id < 3",
    "one row for another": "UPDATE orders SET order_id = 1000 WHERE order_id = 7",
    "one row less": "DELETE FROM orders WHERE order_id = 7",
    "none at all": "DELETE FROM orders",
    "a new column": "ALTER TABLE orders ADD COLUMN more TEXT",
    "a column's name": "ALTER TABLE orders RENAME COLUMN customer TO client",
    "a column less": "ALTER TABLE orders DROP COLUMN customer",
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_what_differs_lands(engine: Engine, shop: Path, changed: str) -> None:
    source = shop_source(shop)
    first = pull(engine, source)
    change(shop, changed)
    again = pull(engine, source)
    assert not again.unchanged and again.load_id != first.load_id
    point = engine.lake.checkpoint(RAW)
    assert point is not None and point.load_id == again.load_id


def test_rows_of_one_kind_more_often_and_another_less_often_differ(engine: Engine, tmp_path: Path) -> None:
    source = files(tmp_path, "a,b\n1,x\n1,x\n2,y\n")
    assert not pull(engine, source).unchanged
    files(tmp_path, "a,b\n1,x\n2,y\n2,y\n")
    assert not pull(engine, source).unchanged


def files(folder: Path, content: str, **stream: Any) -> SourceSpec:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "a.csv").write_text(content)
    return SourceSpec.model_validate(
        {
            "name": "shop",
            "tenant": "acme",
            "connection": {"kind": "files", "path": str(folder / "in"), "settle": "0s"},
            "streams": [{"name": "orders", "path": "*.csv", "on_row_error": "quarantine", **stream}],
        }
    )


def test_a_file_written_anew_with_the_same_rows_lands_nothing_and_one_of_another_name_does(
    engine: Engine, tmp_path: Path
) -> None:
    source = files(tmp_path, "a,b\n1,x\n2,y\n")
    first = pull(engine, source)
    files(tmp_path, 'b,a\ny,2\n"x","1"\n')
    again = pull(engine, source)
    assert (again.unchanged, again.stats.rows, again.load_id) == (True, 2, first.load_id)
    files(tmp_path, "b,a\n1,x\n2,y\n")
    assert not pull(engine, source).unchanged, "its columns changed their names"
    (tmp_path / "in" / "a.csv").rename(tmp_path / "in" / "b.csv")
    assert not pull(engine, source).unchanged
    assert set(engine.lake.scan(RAW, columns=["_sis_file"]).read_all()["_sis_file"].to_pylist()) == {"b.csv"}


def test_what_is_set_aside_is_kept_of_the_first_load_while_it_is_the_same(
    engine: Engine, tmp_path: Path
) -> None:
    broken = {"format": {"type": "jsonl", "columns": {"id": "int64"}}, "path": "a.csv"}
    source = files(tmp_path, '{"id": 1}\nbroken\n', **broken)
    first = pull(engine, source)
    aside = RAW.at("unreadable")
    version = engine.lake.version(aside)
    files(tmp_path, '{"id":  1}\nbroken\n', **broken)
    again = pull(engine, source)
    assert (again.unchanged, again.unreadable, engine.lake.version(aside)) == (True, 1, version)
    assert [(c.load_id, c.count) for c in engine.state.quarantine.list()] == [(first.load_id, 1)]
    files(tmp_path, '{"id":  1}\nbroken in another way\n', **broken)
    assert pull(engine, source).unchanged
    assert engine.lake.version(aside) != version
    files(tmp_path, '{"id":  1}\n', **broken)
    assert pull(engine, source).unreadable == engine.lake.count(aside) == 0


def test_columns_of_any_type_are_the_same_when_read_again(engine: Engine, tmp_path: Path) -> None:
    nested = {
        "numbers": pa.array([[1, None], []], pa.list_(pa.int64())),
        "part": pa.array([{"a": 1, "b": ["x"]}, None]),
        "bytes": pa.array([b"\x00", None]),
        "single": pa.array([float("nan"), -0.0], pa.float32()),
        "small": pa.array([1, None], pa.uint8()),
        "time": pa.array([1, None], pa.time64("us")),
        "word": pa.array(["x", None]).dictionary_encode(),
        "nothing": pa.nulls(2),
    }
    rows = EVERYTHING
    for name, values in nested.items():
        rows = rows.append_column(name, values)
    source = files(tmp_path, "", path="*.parquet")
    (tmp_path / "in" / "a.csv").unlink()
    pq.write_table(rows, tmp_path / "in" / "a.parquet")
    first = pull(engine, source)
    pq.write_table(rows[::-1], tmp_path / "in" / "a.parquet", compression="none")
    again = pull(engine, source)
    assert (again.unchanged, again.stats.rows, again.load_id) == (True, 2, first.load_id)


def test_force_lands_it_anew_and_so_does_what_was_taken_out_of_the_table(engine: Engine, shop: Path) -> None:
    source = shop_source(shop)
    first = pull(engine, source)
    forced = pull(engine, source, force=True)
    assert not forced.unchanged and forced.load_id != first.load_id
    engine.lake.set_checkpoint(RAW, None)
    assert not pull(engine, source).unchanged


def test_rows_with_a_retention_are_young_again(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, save={"raw": {"strategy": "persistent", "retention": "30d"}})
    pull(engine, source)
    touched(shop)
    assert not pull(engine, source).unchanged


def test_an_empty_table_is_the_same_too(engine: Engine, shop: Path) -> None:
    source = shop_source(shop)
    change(shop, "DELETE FROM orders")
    first = pull(engine, source)
    touched(shop)
    again = pull(engine, source)
    assert (again.unchanged, again.load_id) == (True, first.load_id)


def test_partitions_that_are_the_same_are_left(engine: Engine, shop: Path) -> None:
    source = shop_source(
        shop,
        sync={"mode": "incremental", "cursor": "placed_at"},
        partition={"by": "day", "start": "2026-01-01"},
    )
    days = ("2026-01-02", "2026-01-03")
    first = pull(engine, source, partitions=days)
    touched(shop)
    assert pull(engine, source, partitions=days).unchanged
    change(shop, "UPDATE orders SET amount = '0.01' WHERE placed_at LIKE '2026-01-03%'")
    again = pull(engine, source, partitions=days)
    assert not again.unchanged and again.load_id != first.load_id


@pytest.mark.parametrize(
    "limit", [None, "1 KB", "100 MB"], ids=["database", "hybrid, large", "hybrid, small"]
)
def test_where_else_raw_rows_are_kept(
    engine: Engine,
    shop: Path,
    limit: str | None,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw: dict[str, Any] = {"strategy": "hybrid", "max_memory": limit}
    if limit is None:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        monkeypatch.setenv("WAREHOUSE_DSN", server.create_database())
        raw = {"strategy": "database", "dsn": "{{ env.WAREHOUSE_DSN }}", "table": "mart.raw_orders"}
    source = shop_source(shop, save={"raw": raw})
    stream = source.streams[0]
    first = pull_stream(engine, source, stream)
    touched(shop)
    again = pull_stream(engine, source, stream)
    assert (again.unchanged, again.load_id, again.table_rows) == (True, first.load_id, 500)
    change(shop, CHANGES["a value"])
    assert not pull_stream(engine, source, stream).unchanged


@given(tables(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_sums_are_those_of_the_rows_in_any_order_and_any_batches(
    rows: pa.Table, random: Any, size: int
) -> None:
    order = list(range(rows.num_rows))
    random.shuffle(order)
    others = landed(rows.take(pa.array(order, pa.int64())), "two")
    rows = landed(rows, "one")
    sums = RowSums.of(rows.to_batches())
    assert sums == RowSums.of(others.to_batches(max_chunksize=size))
    for left_out in order[:1]:
        assert sums != RowSums.of(
            rows.filter(pa.array([n != left_out for n in range(rows.num_rows)])).to_batches()
        )
        assert sums != RowSums.of(rows.take([*order, left_out]).to_batches())

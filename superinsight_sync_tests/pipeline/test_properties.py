"""Properties of the whole path, each over a hundred examples on real engines."""

import math
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.export import export_dataset
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import change, make_shop, shop_source

RAW = TableRef("acme", "shop", "orders", "raw")

# What happens to the source between pulls, and what happens to the pulls.
_STEP = st.one_of(
    st.tuples(st.just("insert"), st.integers(0, 5)),
    st.tuples(st.just("update"), st.integers(0, 5)),
    st.tuples(st.just("pull"), st.just(0)),
    st.tuples(st.just("interrupted before the commit"), st.just(0)),
    st.tuples(st.just("interrupted after the commit"), st.just(0)),
)


class _Source:
    """A shop whose clock ticks with every change; several changes may share a tick."""

    def __init__(self, path: Path) -> None:
        self.path = make_shop(path, [])
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.tick = 0

    def stamp(self) -> str:
        return f"2026-01-01T{self.tick // 3600:02d}:{self.tick // 60 % 60:02d}:{self.tick % 60:02d}Z"

    def change(self, what: str, amount: int) -> None:
        self.tick += amount % 3
        number = len(self.rows) + 1 if what == "insert" or not self.rows else amount % len(self.rows) + 1
        self.rows[number] = (number, f"c{self.tick}🚀", "1.00", self.stamp(), self.stamp())
        change(self.path, "INSERT OR REPLACE INTO orders VALUES (?,?,?,?,?)", [self.rows[number]])


def _interrupted_pull(engine: Engine, source: SourceSpec, moment: str, patch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with patch.context() as context:
        if moment.endswith("before the commit"):
            context.setattr("superinsight_sync.pipeline.pull.still_ours", stop)
        else:
            context.setattr(engine.state.checkpoints, "record_all", stop)
        with pytest.raises(KeyboardInterrupt):
            pull_stream(engine, source, source.streams[0], force=True)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_STEP, max_size=5), keyed=st.booleans())
def test_an_incremental_pull_reads_exactly_what_is_new_after_any_interruption(
    steps: list[tuple[str, int]], keyed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": folder}))
        shop = _Source(Path(folder) / "shop.db")
        key = ["order_id"] if keyed else None
        source = shop_source(shop.path, primary_key=key, sync={"mode": "incremental", "cursor": "updated_at"})
        stream = source.streams[0]
        for what, amount in steps:
            if what == "pull":
                pull_stream(engine, source, stream)
            elif what.startswith("interrupted"):
                _interrupted_pull(engine, source, what, patch)
            else:
                shop.change("insert" if not keyed else what, amount)
        pull_stream(engine, source, stream)
        table = engine.lake.scan(RAW).read_all()
        landed = sorted((r["order_id"], r["customer"], r["updated_at"]) for r in table.to_pylist())
        assert landed == sorted((r[0], r[1], r[4]) for r in shop.rows.values())
        point = engine.lake.checkpoint(RAW)
        assert point is not None
        assert point.cursor == max((r[4] for r in shop.rows.values()), default=None)
        assert pull_stream(engine, source, stream, force=True).table_rows == len(shop.rows)


_VALUES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "whole": ("bigint", st.integers(-(2**63), 2**63 - 1)),
    "small": ("numeric(12,2)", st.decimals(-(10**9), 10**9, places=2)),
    "wide": ("numeric(38,10)", st.decimals(-(10**27), 10**27, places=10)),
    "float": ("double precision", st.floats(allow_nan=False, allow_infinity=False)),
    "text": (
        "text",
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20),
    ),
    "day": ("date", st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "local": ("timestamp", st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))),
    "instant": (
        "timestamptz",
        st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    ),
    "truth": ("boolean", st.booleans()),
    "bytes": ("bytea", st.binary(max_size=20)),
}
_ROWS = st.lists(st.tuples(*(st.one_of(st.none(), s) for _, s in _VALUES.values())), max_size=4)


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    dsn = postgres_server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROPERTY_DSN", dsn)
        columns = ", ".join(f'"{name}" {kind}' for name, (kind, _) in _VALUES.items())
        db.execute(f"CREATE TABLE everything (id integer PRIMARY KEY, {columns})")
        yield db


def test_any_value_survives_from_source_through_lake_and_dataset_to_its_reader(
    database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A hundred examples, each to the lake; and all their rows together to a reader of a dataset."""
    engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": str(tmp_path)}))
    source = SourceSpec.model_validate(
        {
            "name": "any",
            "connection": {"kind": "postgres", "dsn": "{{ env.PROPERTY_DSN }}"},
            "streams": [{"name": "everything", "table": "public.everything", "primary_key": ["id"]}],
        }
    )
    drawn: list[tuple[Any, ...]] = []

    @given(rows=_ROWS)
    def reaches_the_lake(rows: list[tuple[Any, ...]]) -> None:
        land(rows)
        drawn.extend(rows)
        _check(engine.lake.scan(TableRef("default", "any", "everything", "raw")).read_all(), rows)

    def land(rows: list[tuple[Any, ...]]) -> None:
        database.execute("TRUNCATE everything")
        marks = ", ".join(["%s"] * (len(_VALUES) + 1))
        for number, row in enumerate(rows):
            database.execute(f"INSERT INTO everything VALUES ({marks})", (number, *row))  # type: ignore[call-overload]
        pull_stream(engine, source, source.streams[0], force=True)

    reaches_the_lake()
    land(drawn)
    refine_stream(engine, source, source.streams[0])
    dataset = DatasetSpec.model_validate(
        {
            "name": "everything",
            "inputs": {"e": "any/everything"},
            "select": "SELECT * FROM e",
            "split": {"ratios": {"whole": 1.0}},
            "formats": ["parquet"],
        }
    )
    exported = export_dataset(engine, dataset)
    _check(pq.read_table(Path(exported.path) / "data" / "whole.parquet"), drawn)


def _check(table: pa.Table, rows: list[tuple[Any, ...]]) -> None:
    read = table.sort_by("id").to_pylist()
    found = [tuple(r[name] for name in _VALUES) for r in read]
    assert len(found) == len(rows)
    for got, put in zip(found, rows, strict=True):
        assert [_same(g, p) for g, p in zip(got, put, strict=True)] == [True] * len(_VALUES), (got, put)


def _same(got: Any, put: Any) -> bool:
    if isinstance(put, float):
        return isinstance(got, float) and (got == put) and math.copysign(1, got) == math.copysign(1, put)
    if isinstance(put, Decimal):
        return Decimal(got) == put
    return bool(got == put)


@settings(max_examples=100, deadline=None)
@given(failures=st.integers(0, 6))
def test_any_number_of_transient_failures_is_retried_three_times_at_most(failures: int) -> None:
    """What still fails then leaves a dead letter that says what to do again."""
    left = failures
    real = Reading.__call__

    def failing(self: Reading) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise TransientError("the server went away")
        return real(self)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reading, "__call__", failing)
        patch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)
        engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": folder}))
        source = shop_source(
            make_shop(Path(folder) / "shop.db", [(1, "c", "1.00", "2026-01-01", "2026-01-01")])
        )
        if failures <= 3:
            result = pull_stream(engine, source, source.streams[0])
            assert (result.retries, result.table_rows) == (failures, 1)
            assert engine.state.dead_letters.list() == ()
        else:
            with pytest.raises(TransientError, match="shop/orders"):
                pull_stream(engine, source, source.streams[0])
            assert left == failures - 4
            letters = engine.state.dead_letters.list()
            assert [(d.verb, d.target, d.state) for d in letters] == [("pull", "shop/orders", "open")]

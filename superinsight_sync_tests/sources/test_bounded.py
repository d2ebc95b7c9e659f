"""A read's memory is bounded by the batch, not by the table."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import change, make_shop

ROWS = 60_000
FILLER = "x" * 1_000
TABLE_BYTES = ROWS * len(FILLER)
STREAM = StreamSpec(name="orders", table="orders")
SOME_ROWS = 2_000
SOME = StreamSpec(name="some", query=f"SELECT * FROM orders WHERE order_id < {SOME_ROWS}")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """A table of sixty megabytes."""
    folder: Path = tmp_path_factory.mktemp("bounded")
    environment = load_settings({"SIS_PROJECT_DIR": str(folder)})
    if request.param == "sqlite":
        shop = make_shop(folder / "shop.db", [])
        rows = ((n, FILLER, "1.00", "2026-01-01", "2026-01-01") for n in range(ROWS))
        change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", rows)
        yield open_source({"kind": "sqlite", "path": str(shop)}, environment)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    os.environ["BOUNDED_DSN"] = server.create_database()
    with psycopg.connect(os.environ["BOUNDED_DSN"]) as db:
        db.execute("CREATE TABLE orders (order_id int PRIMARY KEY, customer text)")
        db.execute("INSERT INTO orders SELECT n, %s FROM generate_series(0, %s) n", (FILLER, ROWS - 1))
    yield open_source({"kind": "postgres", "dsn": "{{ env.BOUNDED_DSN }}"}, environment)


@pytest.mark.parametrize("batch_rows", [200, 5_000, 60_000, 100_000])
def test_a_read_holds_less_memory_than_the_table_has(source: Source, batch_rows: int) -> None:
    assert peak_of_reading(source, STREAM, ROWS, batch_rows) < TABLE_BYTES


@given(batch_rows=st.integers(1, 2 * SOME_ROWS))
def test_reading_in_batches_holds_bounded_memory_and_yields_every_row_once(
    source: Source, batch_rows: int
) -> None:
    """Four batches of what lies in them: one of the driver, one of ours, and what buffers grow by."""
    most = 4 * max(batch_rows, 500) * (len(FILLER) + 100)
    assert peak_of_reading(source, SOME, SOME_ROWS, batch_rows) < most


def peak_of_reading(source: Source, stream: StreamSpec, rows: int, batch_rows: int) -> int:
    """Reads every row once; how many bytes that took at most."""
    before, peak = pa.total_allocated_bytes(), 0
    seen: list[Any] = []
    with source.read(ReadRequest(stream, batch_rows=batch_rows)) as batches:
        for batch in batches:
            assert 0 < batch.num_rows <= batch_rows
            seen.append(batch.column("order_id").to_numpy().copy())
            peak = max(peak, pa.total_allocated_bytes() - before)
    numbers = sorted(n for part in seen for n in part.tolist())
    assert numbers == list(range(rows))
    return peak

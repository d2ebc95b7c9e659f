"""A REST API that others wrote: Datasette's keyset pages, by link and by mark, with filters."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.datasette import DatasetteServer, running_datasette
from superinsight_sync_tests.sources.reading import open_source, read, stream

TABLE = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, price REAL, updated_at TEXT)"
INSERT = "INSERT INTO orders VALUES (?, ?, ?, ?)"
BY_LINK = {"type": "link_header", "next_path": "next_url"}
BY_MARK = {"type": "cursor", "param": "_next", "next_path": "next"}


def row(n: int) -> tuple[int, str | None, float, str]:
    return n, None if n % 7 == 0 else f"größe 😀 {n}", n * 0.731, f"2026-01-{n // 100 + 1:02d}T00:00:00Z"


ROWS = [row(n) for n in range(1, 1_051)]


@pytest.fixture(scope="module")
def datasette() -> Iterator[DatasetteServer]:
    with running_datasette(TABLE) as server:
        server.execute(INSERT, [*ROWS])
        yield server


def options(pagination: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"records": "rows", "params": {"_shape": "objects"}, "pagination": pagination, **more}


@pytest.mark.parametrize("pagination", [BY_LINK, BY_MARK], ids=["link", "mark"])
def test_every_row_arrives_once_and_as_it_is(
    datasette: DatasetteServer, project: Settings, pagination: dict[str, Any]
) -> None:
    source = open_source({"kind": "rest", "base_url": datasette.url, "allow_private": True}, project)
    found = read(source, ReadRequest(stream(endpoint="shop/orders.json", options=options(pagination))))
    assert [tuple(r.values()) for r in found.to_pylist()] == ROWS


def test_increments_ask_the_server_for_what_is_new(
    datasette: DatasetteServer, tmp_path: Path, project: Settings
) -> None:
    engine = Engine(load_settings({"SIS_PROJECT_DIR": str(tmp_path)}), "run-1")
    increment = {"since_param": "updated_at__gte"}
    declared = {
        "name": "orders",
        "endpoint": "shop/orders.json",
        "primary_key": ["id"],
        "sync": {"mode": "incremental", "cursor": "updated_at"},
        "options": options(BY_LINK, increment=increment, columns={"updated_at": "timestamp"}),
    }
    source = SourceSpec.model_validate(
        {
            "name": "shop",
            "connection": {"kind": "rest", "base_url": datasette.url, "allow_private": True},
            "streams": [declared],
        }
    )
    assert pull_stream(engine, source, source.streams[0]).stats.rows == len(ROWS)
    changed = [(1_050, "new", 1.0, "2026-02-01T00:00:00Z"), (1_051, None, 2.0, "2026-02-02T00:00:00Z")]
    datasette.execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)", [*changed])
    datasette.execute("UPDATE orders SET note = 'older' WHERE id = 1")
    try:
        assert pull_stream(engine, source, source.streams[0]).stats.rows < 100
        found = engine.lake.scan(
            TableRef("default", "shop", "orders", "raw"), columns=["id", "note"]
        ).read_all()
        notes = dict(zip(*found.to_pydict().values(), strict=True))
        assert (len(notes), notes[1_050], notes[1_051], notes[1]) == (1_051, "new", None, ROWS[0][1])
    finally:
        datasette.execute("DELETE FROM orders WHERE id > 1049 OR id = 1")
        datasette.execute(INSERT, [ROWS[0], ROWS[-1]])

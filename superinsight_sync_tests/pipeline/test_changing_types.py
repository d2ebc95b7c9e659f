"""Columns whose type changes between pulls: joined by rule where nothing is lost, else refused before a row is rewritten."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream

RAW = TableRef("default", "crm", "notes", "raw")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def crm(connection: dict[str, Any], **stream: Any) -> SourceSpec:
    spec = {"name": "notes", "sync": {"mode": "incremental", "cursor": "at"}, **stream}
    return SourceSpec.model_validate({"name": "crm", "connection": connection, "streams": [spec]})


@pytest.mark.parametrize("keys", [["id"], []])
@pytest.mark.parametrize("kinds", [("timestamp", "timestamptz"), ("timestamptz", "timestamp")])
def test_a_cursor_of_times_gets_or_loses_its_zone(
    kinds: tuple[str, str],
    keys: list[str],
    engine: Engine,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsn = request.getfixturevalue("postgres_server").create_database()
    monkeypatch.setenv("CRM_DSN", dsn)
    source = crm({"kind": "postgres", "dsn": "{{ env.CRM_DSN }}"}, table="notes", primary_key=keys)
    before, after = kinds
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("SET timezone = 'UTC'")
        db.execute(f"CREATE TABLE notes (id int, at {before})".encode())
        db.execute("INSERT INTO notes VALUES (1, '2026-01-01')")
        pull_stream(engine, source, source.streams[0])
        refine_stream(engine, source, source.streams[0])
        db.execute(f"ALTER TABLE notes ALTER COLUMN at TYPE {after}".encode())
        for number in (2, 3):
            db.execute(f"INSERT INTO notes VALUES ({number}, '2026-01-0{number} 12:00')".encode())
            done = pull_stream(engine, source, source.streams[0])
            refine_stream(engine, source, source.streams[0])
            assert done.stats.cursor_after == datetime(2026, 1, number, 12, tzinfo=UTC)
    for table in (RAW, RAW.at("refined")):
        found = engine.lake.scan(table, columns=["id", "at"]).read_all().sort_by("id")
        assert found.schema.field("at").type == pa.timestamp("us", "UTC")
        assert [at.isoformat()[:16] for at in found["at"].to_pylist()] == [
            "2026-01-01T00:00",
            "2026-01-02T12:00",
            "2026-01-03T12:00",
        ]


def test_a_cursor_that_would_become_text_is_refused_before_anything_is_rewritten(
    engine: Engine, tmp_path: Path
) -> None:
    source = crm({"kind": "files", "path": str(tmp_path)}, path="*.parquet", sync={"mode": "full"})
    sync = {"mode": "incremental", "by": "version", "cursor": "at"}
    incremental = crm({"kind": "files", "path": str(tmp_path)}, path="*.parquet", sync=sync)
    pq.write_table(pa.table({"id": [1], "at": [NOON]}), tmp_path / "a.parquet")
    pull_stream(engine, source, source.streams[0])
    pq.write_table(pa.table({"id": [1], "at": [5]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"column 'at' is the cursor.*sis reset"):
        pull_stream(engine, incremental, incremental.streams[0])
    assert [v.operation for v in engine.lake.history(RAW)] == ["set_checkpoint", "replace"]


OLD: list[dict[str, Any]] = [{"id": 1, "at": NOON, "o": {"a": 1, "in": [{"x": 1}]}}]
NEW: list[dict[str, Any]] = [{"id": 2, "at": NOON, "o": {"b": "new", "a": 2, "in": [{"y": 2.5, "x": 5}]}}]


@pytest.mark.parametrize("keys", [["id"], []])
def test_a_new_nested_field_is_null_for_old_rows(keys: list[str], engine: Engine, tmp_path: Path) -> None:
    source = crm({"kind": "files", "path": str(tmp_path)}, path="*.parquet", primary_key=keys)
    (tmp_path / "files").mkdir()
    for number, rows in enumerate([OLD, NEW, [*OLD, {"id": 3, "at": NOON, "o": None}]]):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "now.parquet")
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "files" / f"{number}.parquet")
        pull_stream(engine, source, source.streams[0])
        refine_stream(engine, source, source.streams[0])
    whole = crm(
        {"kind": "files", "path": str(tmp_path / "files")},
        path="*.parquet",
        sync={"mode": "full"},
        name="all",
    )
    pull_stream(engine, whole, whole.streams[0])
    wanted = [
        (1, {"a": 1, "in": [{"x": 1, "y": None}], "b": None}),
        (2, {"a": 2, "in": [{"x": 5, "y": 2.5}], "b": "new"}),
        (3, None),
    ]
    for table in (RAW, RAW.at("refined"), TableRef("default", "crm", "all", "raw")):
        found = engine.lake.scan(table, columns=["id", "o"]).read_all().sort_by("id").to_pylist()
        found = found if table.stream == "notes" else [found[0], *found[2:]]
        assert [(r["id"], r["o"]) for r in found] == wanted, table

"""Rows without a cursor value are read each time and land once, whatever the kind of source."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.results import PullResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.pipeline.test_cursors import alerts
from superinsight_sync_tests.servers.api import answer, fake_api
from superinsight_sync_tests.sources.reading import stream as declared

RAW = TableRef("default", "crm", "notes", "raw")
Rows = Sequence[tuple[int, str | None, str]]
Put = Callable[[Rows], None]
Made = tuple[dict[str, Any], dict[str, Any], Put]
"""Connection, place, and what makes the source hold exactly such rows: (id, u, v)."""


def sqlite(request: pytest.FixtureRequest) -> Made:
    import sqlite3

    path = request.getfixturevalue("tmp_path") / "crm.db"

    def put(rows: Rows) -> None:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER, u TEXT, v TEXT)")
            db.execute("DELETE FROM notes")
            db.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)

    return {"kind": "sqlite", "path": str(path)}, {"table": "notes"}, put


def duckdb(request: pytest.FixtureRequest) -> Made:
    import duckdb as duck

    path = request.getfixturevalue("tmp_path") / "crm.duckdb"

    def put(rows: Rows) -> None:
        with duck.connect(str(path)) as db:
            db.execute("CREATE OR REPLACE TABLE notes (id INTEGER, u TIMESTAMP, v TEXT)")
            db.executemany("INSERT INTO notes VALUES (?, ?, ?)", list(rows))

    return {"kind": "duckdb", "path": str(path)}, {"table": "notes"}, put


def postgres(request: pytest.FixtureRequest) -> Made:
    dsn = request.getfixturevalue("postgres_server").create_database()
    request.getfixturevalue("monkeypatch").setenv("CRM_DSN", dsn)

    def put(rows: Rows) -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (id int, u timestamptz, v text)")
            db.execute("TRUNCATE notes")
            db.cursor().executemany("INSERT INTO notes VALUES (%s, %s, %s)", rows)

    return {"kind": "postgres", "dsn": "{{ env.CRM_DSN }}"}, {"table": "notes"}, put


def mysql(request: pytest.FixtureRequest) -> Made:
    server = request.getfixturevalue("mariadb_server")
    dsn = server.create_database()
    request.getfixturevalue("monkeypatch").setenv("CRM_DSN", dsn)

    def put(rows: Rows) -> None:
        with server.connect(dsn.rsplit("/", 1)[1]) as db, db.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS notes (id int, u datetime NULL, v text)")
            cursor.execute("TRUNCATE notes")
            cursor.executemany("INSERT INTO notes VALUES (%s, %s, %s)", list(rows))
            db.commit()

    return {"kind": "mysql", "dsn": "{{ env.CRM_DSN }}"}, {"table": "notes"}, put


def mongodb(request: pytest.FixtureRequest) -> Made:
    from pymongo import MongoClient

    dsn = request.getfixturevalue("mongo_server").new_dsn()
    request.getfixturevalue("monkeypatch").setenv("CRM_DSN", dsn)

    def put(rows: Rows) -> None:
        with MongoClient[dict[str, Any]](dsn) as client:
            notes = client.get_default_database()["notes"]
            notes.drop()
            notes.create_index("u")
            for number, u, v in rows:
                at = {} if u is None and number % 2 else {"u": u and datetime.fromisoformat(u)}
                notes.insert_one({"_id": number, "id": number, **at, "v": v})

    return {"kind": "mongodb", "dsn": "{{ env.CRM_DSN }}"}, {"collection": "notes"}, put


def _files(request: pytest.FixtureRequest, form: str) -> Made:
    folder = request.getfixturevalue("tmp_path") / "notes"
    folder.mkdir()

    def put(rows: Rows) -> None:
        file = folder / f"notes.{form}"
        match form:
            case "csv":
                file.write_text("id,u,v\n" + "".join(f"{i},{u or ''},{v}\n" for i, u, v in rows))
            case "jsonl":
                file.write_text("".join(json.dumps({"id": i, "u": u, "v": v}) + "\n" for i, u, v in rows))
            case "parquet":
                ids, times, values = zip(*rows, strict=True)
                at = pa.array([u and datetime.fromisoformat(u) for u in times], pa.timestamp("us"))
                pq.write_table(pa.table({"id": pa.array(ids), "u": at, "v": pa.array(values)}), file)

    typed = {} if form == "parquet" else {"format": {"columns": {"id": "int64", "u": "timestamp"}}}
    return {"kind": "files", "path": str(folder)}, {"path": f"*.{form}", **typed}, put


def rest(request: pytest.FixtureRequest) -> Made:
    served = fake_api()
    api = served.__enter__()
    request.addfinalizer(lambda: served.__exit__(None, None, None))
    held: list[dict[str, Any]] = []
    api.otherwise = lambda _: answer(held)

    def put(rows: Rows) -> None:
        held[:] = [{"id": i, "u": u, "v": v} for i, u, v in rows]

    connection = {"kind": "rest", "base_url": api.url, "allow_private": True}
    options = {"columns": {"u": "timestamp"}, "increment": {"since_param": "since"}}
    return connection, {"endpoint": "notes", "options": options}, put


KINDS: dict[str, Callable[[pytest.FixtureRequest], Made]] = {
    **{f.__name__: f for f in (sqlite, duckdb, postgres, mysql, mongodb, rest)},
    **{f: (lambda request, f=f: _files(request, f)) for f in ("csv", "jsonl", "parquet")},
}


@pytest.mark.parametrize("how", ["merge", "append"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_cursor_value_are_read_each_time_and_land_once(
    kind: str, how: str, request: pytest.FixtureRequest, engine: Engine
) -> None:
    connection, place, put = KINDS[kind](request)
    keys = {"primary_key": ["id"]} if how == "merge" else {}
    stream = {"name": "notes", **place, **keys, "sync": {"mode": "incremental", "cursor": "u"}}
    source = SourceSpec.model_validate({"name": "crm", "connection": connection, "streams": [stream]})

    def pull() -> PullResult:
        return pull_stream(engine, source, source.streams[0])

    put([(1, "2024-01-01", "a"), (2, None, "b"), (4, None, "d")])
    first = pull()
    assert first.stats.nulls["u"] == 2
    assert "no value in 'u'" in first.warnings[0]
    put(
        [(1, "2024-01-01", "a"), (2, None, "changed"), (3, None, "c"), (4, None, "d"), (5, "2024-01-02", "e")]
    )
    second = pull()
    put(
        [(1, "2024-01-01", "a"), (2, None, "changed"), (3, None, "c"), (4, None, "d"), (5, "2024-01-02", "e")]
    )
    pull()
    assert second.stats.nulls["u"] == 3, "counted"
    rows = engine.lake.scan(RAW, columns=["id", "v"]).read_all().to_pylist()
    kept = [] if how == "merge" else [(2, "b")]
    assert sorted((r["id"], r["v"]) for r in rows) == sorted(
        [(1, "a"), *kept, (2, "changed"), (3, "c"), (4, "d"), (5, "e")]
    )
    assert len(alerts(engine)) == 1, "said once"


def test_statements_of_servers_that_cannot_run_here_take_rows_without_a_cursor_value() -> None:
    from superinsight_sync.databases import mssql_catalogue, oracle_catalogue
    from superinsight_sync_tests.sources import test_mssql, test_oracle

    sync = {"mode": "incremental", "by": "version", "cursor": "id"}
    request = ReadRequest(declared(table="notes", sync=sync), after=5)
    made = (
        mssql_catalogue.select_sql(request, (test_mssql.ID,), ("dbo", "notes")),
        oracle_catalogue.select_sql(request, (test_oracle.ID,), ("crm", "notes")),
    )
    for statement in made:
        assert "IS NULL)" in statement

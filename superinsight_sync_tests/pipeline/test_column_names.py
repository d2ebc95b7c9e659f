"""Columns whose names are ours, or that engines cannot tell apart: refused for their stream alone."""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.api import answer, fake_api

NAMES = ["_sis_load_id", "_SIS_Load_Id", "_sis_of_mine", "_sis_file"]
KINDS = ["sqlite", "duckdb", "postgres", "mysql", "mongodb", "csv", "jsonl", "parquet", "rest"]


def made(kind: str, name: str, request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """A source of the kind with one row of an `id` and a column of that name."""
    folder: Path = request.getfixturevalue("tmp_path")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    create, insert = f'CREATE TABLE t (id int, "{name}" varchar(9))', "INSERT INTO t VALUES (1, 'mine')"
    match kind:
        case "sqlite":
            import sqlite3

            with closing(sqlite3.connect(folder / "x.db")) as db, db:
                db.execute(create)
                db.execute(insert)
            return {"kind": kind, "path": str(folder / "x.db")}, {"table": "t"}
        case "duckdb":
            import duckdb

            with duckdb.connect(str(folder / "x.duckdb")) as duck:
                duck.execute(create)
                duck.execute(insert)
            return {"kind": kind, "path": str(folder / "x.duckdb")}, {"table": "t"}
        case "postgres":
            dsn = request.getfixturevalue("postgres_server").create_database()
            patch.setenv("CRM_DSN", dsn)
            with psycopg.connect(dsn, autocommit=True) as pg:
                pg.execute(create.encode())
                pg.execute(insert.encode())
            return {"kind": kind, "dsn": "{{ env.CRM_DSN }}"}, {"table": "t"}
        case "mysql":
            server = request.getfixturevalue("mariadb_server")
            dsn = server.create_database()
            patch.setenv("CRM_DSN", dsn)
            with server.connect(dsn.rsplit("/", 1)[1]) as my, my.cursor() as cursor:
                cursor.execute(create.replace('"', "`"))
                cursor.execute(insert)
            return {"kind": kind, "dsn": "{{ env.CRM_DSN }}"}, {"table": "t"}
        case "mongodb":
            from pymongo import MongoClient

            dsn = request.getfixturevalue("mongo_server").new_dsn()
            patch.setenv("CRM_DSN", dsn)
            with MongoClient[dict[str, Any]](dsn) as client:
                client.get_default_database()["t"].insert_one({"id": 1, name: "mine"})
            return {"kind": kind, "dsn": "{{ env.CRM_DSN }}"}, {"collection": "t"}
        case "rest":
            served = fake_api()
            api = served.__enter__()
            request.addfinalizer(lambda: served.__exit__(None, None, None))
            api.otherwise = lambda _: answer([{"id": 1, name: "mine"}])
            return {"kind": kind, "base_url": api.url, "allow_private": True}, {"endpoint": "t"}
    file = folder / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"id": [1], name: ["mine"]}), file)
    else:
        file.write_text(f"id,{name}\n1,mine\n" if kind == "csv" else f'{{"id": 1, "{name}": "mine"}}\n')
    return {"kind": "files", "path": str(folder)}, {"path": file.name}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_under_a_name_of_ours_is_refused_whatever_its_case(
    kind: str, engine: Engine, request: pytest.FixtureRequest
) -> None:
    for name in NAMES if kind in ("sqlite", "csv") else NAMES[1:2]:
        for left in request.getfixturevalue("tmp_path").glob("[tx].*"):
            left.unlink()
        connection, place = made(kind, name, request)
        source = SourceSpec.model_validate(
            {"name": "crm", "connection": connection, "streams": [{"name": "t", **place}]}
        )
        with pytest.raises(
            ConfigError, match=rf"column '{name}' uses the reserved prefix _sis_.*AS another_name"
        ):
            pull_stream(engine, source, source.streams[0])
        assert not list(engine.lake.tables())


def test_a_table_of_ours_that_is_pulled_again_is_refused(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n1\n")
    streams = [{"name": "t", "path": "t.csv"}, {"name": "again", "path": "t.parquet"}]
    source = SourceSpec.model_validate(
        {"name": "crm", "connection": {"kind": "files", "path": str(tmp_path)}, "streams": streams}
    )
    pull_stream(engine, source, source.streams[0])
    (raw,) = engine.lake.tables()
    pq.write_table(engine.lake.scan(raw).read_all(), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="reserved prefix"):
        pull_stream(engine, source, source.streams[1])


@pytest.mark.parametrize("kind", ["postgres", "mongodb", "csv", "jsonl", "parquet", "rest"])
def test_columns_that_differ_by_case_alone_are_refused(
    kind: str, engine: Engine, request: pytest.FixtureRequest
) -> None:
    connection, place = made(kind, "Id", request)
    source = SourceSpec.model_validate(
        {"name": "crm", "connection": connection, "streams": [{"name": "t", **place}]}
    )
    with pytest.raises(ConfigError, match="columns 'id' and 'Id' cannot be told apart"):
        pull_stream(engine, source, source.streams[0])

"""Streams pulled side by side share the connections of their source."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.postgres import PostgresServer

STREAMS, LIMIT = 20, 4


def connections(server: PostgresServer, database: str) -> int:
    """How many the server has granted to the database, by its log."""
    return (server.folder / "log").read_text(errors="replace").count(f" database={database} ")


@pytest.mark.parametrize(
    ("sync", "more"),
    [({"mode": "full"}, 0), ({"mode": "incremental", "cursor": "id", "by": "version"}, 1)],
    ids=["full", "incremental"],
)
def test_twenty_streams_open_no_more_connections_than_the_limit(
    engine: Engine,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    sync: dict[str, Any],
    more: int,
) -> None:
    dsn = postgres_server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db:
        for n in range(STREAMS):
            db.execute(f"CREATE TABLE t{n} AS SELECT i AS id FROM generate_series(1, 500) i".encode())
    monkeypatch.setenv("POOLED_DSN", dsn)
    source = SourceSpec.model_validate(
        {
            "name": "pooled",
            "connection": {"kind": "postgres", "dsn": "{{ env.POOLED_DSN }}"},
            "max_concurrency": LIMIT,
            "streams": [
                {"name": f"t{n}", "table": f"public.t{n}", "primary_key": ["id"], "sync": sync}
                for n in range(STREAMS)
            ],
        }
    )
    before = connections(postgres_server, dsn.rsplit("/", 1)[1])
    with ThreadPoolExecutor(LIMIT) as threads:
        done = list(threads.map(lambda s: pull_stream(engine, source, s), source.streams))
    assert [(r.stats.rows, r.retries) for r in done] == [(500, 0)] * STREAMS
    opened = connections(postgres_server, dsn.rsplit("/", 1)[1]) - before
    assert 1 <= opened <= LIMIT + more

"""One big table read by several connections on one snapshot."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.parallel_parts import side_by_side
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.sources.reading import read, stream

ROWS = 20_000


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    found = postgres_server.create_database()
    with psycopg.connect(found) as db, pytest.MonkeyPatch.context() as patch:
        db.execute(
            f"CREATE TABLE big AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, {ROWS}) i"
        )
        db.execute("CREATE TABLE parted (id int, note text) PARTITION BY RANGE (id)")
        for n in range(3):
            db.execute(
                f"CREATE TABLE parted_{n} PARTITION OF parted FOR VALUES FROM ({n * 9000}) TO ({n * 9000 + 9000})"
            )
        db.execute("INSERT INTO parted SELECT * FROM big")
        db.execute("CREATE VIEW seen AS SELECT * FROM big")
        db.execute("CREATE TABLE nothing (id int)")
        db.commit()
        patch.setenv("PARALLEL_DSN", found)
        yield found


@pytest.fixture(scope="module")
def source(dsn: str, project: Settings) -> Source:
    return open_source({"kind": "postgres", "dsn": "{{ env.PARALLEL_DSN }}"}, project)


@given(
    parts=st.integers(1, 16), batch_rows=st.integers(100, 30_000), table=st.sampled_from(["big", "parted"])
)
def test_every_row_comes_once_whatever_the_parts_and_the_batch_size(
    source: Source, parts: int, batch_rows: int, table: str
) -> None:
    declared = stream(table=f"public.{table}", options={"parallel": parts})
    found = read(source, ReadRequest(declared, batch_rows=batch_rows))
    assert sorted(found.column("id").to_pylist()) == list(range(1, ROWS + 1))


@pytest.mark.parametrize(("table", "rows"), [("seen", ROWS), ("nothing", 0)])
def test_what_cannot_be_divided_is_read_as_one(source: Source, table: str, rows: int) -> None:
    declared = stream(table=f"public.{table}", options={"parallel": 4})
    assert read(source, ReadRequest(declared)).num_rows == rows


def test_all_parts_see_one_state(source: Source, dsn: str) -> None:
    declared = stream(table="public.big", options={"parallel": 4})
    with source.read(ReadRequest(declared, batch_rows=500)) as batches, psycopg.connect(dsn) as db:
        first = batches.read_next_batch()
        db.execute("UPDATE big SET note = 'changed'")
        db.commit()
        rest = batches.read_all()
        db.execute("UPDATE big SET note = md5(id::text)")
    notes = pa.concat_tables([pa.Table.from_batches([first]), rest]).column("note")
    assert len(notes) == ROWS
    assert "changed" not in notes.to_pylist()


def test_closing_early_leaves_no_connection_at_work(source: Source, dsn: str) -> None:
    declared = stream(table="public.big", options={"parallel": 4})
    with source.read(ReadRequest(declared, batch_rows=10)) as batches:
        batches.read_next_batch()
    with psycopg.connect(dsn) as db:
        busy = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state <> 'idle'"
        ).fetchone()
    assert busy == (0,)


def test_a_wrong_option_is_refused_with_the_valid_ones(source: Source) -> None:
    with pytest.raises(ConfigError, match="parallel"):
        read(source, ReadRequest(stream(table="public.big", options={"paralel": 4})))


def test_an_error_of_one_part_ends_the_others() -> None:
    ended = threading.Event()

    @contextmanager
    def endless() -> Iterator[Iterator[int]]:
        try:
            yield iter(int, 1)
        finally:
            ended.set()

    @contextmanager
    def broken() -> Iterator[Iterator[int]]:
        yield iter([1, 2])
        raise KeyError("the part's own")

    with pytest.raises(KeyError, match="the part's own"), side_by_side([endless, broken], ahead=2) as items:
        for _ in items:
            pass
    assert ended.is_set()

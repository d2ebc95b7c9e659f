"""The database store when processes are killed and when two write."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from superinsight_sync.lake.database import DatabaseStore
from superinsight_sync.model.tables import TableRef
from superinsight_sync_tests.lake.saved_rows import (
    amounts,
    commit,
    new_ref,
    orders,
    reads,
)
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.waiting import until


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database()


@pytest.fixture
def store(dsn: str) -> DatabaseStore:
    return DatabaseStore(dsn)


@pytest.fixture
def ref() -> TableRef:
    return new_ref()


def ask(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def _slowly(dsn: str, ref: TableRef, marker: str) -> None:
    def read() -> pa.RecordBatchReader:
        rows = orders(list(range(1000)), ["9.00"] * 1000, "killed", partition="p")

        def batches() -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(rows.to_batches(max_chunksize=100)):
                if number == 5:
                    Path(marker).touch()
                    threading.Event().wait()
                yield batch

        return pa.RecordBatchReader.from_batches(rows.schema, batches())

    DatabaseStore(dsn).replace(ref, read, commit("killed", cursor=99), partitions=["p"])


def _in_the_transaction(dsn: str, ref: TableRef, marker: str) -> None:
    from superinsight_sync.lake import database_journal

    def stop(*_: object) -> None:
        Path(marker).touch()
        threading.Event().wait()

    database_journal.Journal.write = stop  # type: ignore[method-assign,assignment]
    DatabaseStore(dsn).replace(
        ref,
        reads(orders([5], ["5.00"], "killed", partition="p")),
        commit("killed", cursor=99),
        partitions=["p"],
    )


@pytest.mark.parametrize("work", [_slowly, _in_the_transaction])
def test_kill_9_in_the_middle_of_a_load_leaves_the_old_state(
    store: DatabaseStore, ref: TableRef, dsn: str, tmp_path: Path, work: object
) -> None:
    old = orders([1, 2], ["1.00", "2.00"], "old", partition="p")
    store.replace(ref, reads(old), commit("old", cursor=2), partitions=["p"])
    marker = tmp_path / "in-the-middle"
    process = multiprocessing.get_context("spawn").Process(target=work, args=(dsn, ref, str(marker)))  # type: ignore[arg-type]
    process.start()
    until(lambda: marker.exists() or not process.is_alive(), "it does not write")
    assert process.pid and process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert amounts(store.scan(ref).read_all()) == [(1, "1.00"), (2, "2.00")]
    point = store.checkpoint(ref)
    assert point is not None and point.cursor == 2 and store.version(ref) == 1
    new = orders([3], ["3.00"], "killed", partition="p")
    done = store.replace(ref, reads(new), commit("killed", cursor=3), partitions=["p"])
    assert not done.repeated and amounts(store.scan(ref).read_all()) == [(3, "3.00")]


def _write_many(dsn: str, ref: TableRef, number: int) -> None:
    store = DatabaseStore(dsn)
    for i in range(5):
        shared = f"shared-{i}"
        store.append(ref, reads(orders([i], ["0.00"], shared)), commit(shared, cursor=i))
        mine = orders([100 + i, 1000 + 10 * number + i], ["1.00", "1.00"], f"{number}-{i}")
        store.merge(ref.at("raw"), reads(mine), commit(f"{number}-{i}"), keys=["id"])
        part = orders([i], ["1.00"], f"p{number}-{i}", partition=f"p{number}")
        store.replace(ref.at("quarantine"), reads(part), commit(f"p{number}-{i}"), partitions=[f"p{number}"])


def test_two_processes_that_write_the_same_tables_lose_and_double_nothing(
    postgres_server: PostgresServer, ref: TableRef
) -> None:
    dsn = postgres_server.create_database()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(dsn, ref, n)) for n in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = DatabaseStore(dsn)
    assert store.scan(ref).read_all()["id"].to_pylist() == list(range(5)) and store.version(ref) == 5
    ids = sorted(store.scan(ref.at("raw")).read_all()["id"].to_pylist())
    assert ids == [100 + i for i in range(5)] + [1000 + 10 * n + i for n in (1, 2) for i in range(5)]
    assert store.count(ref.at("quarantine")) == 2 and store.version(ref.at("quarantine")) == 10

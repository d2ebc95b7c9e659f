"""What the writer processes of the lake's tests do; importable, since they are spawned."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from superinsight_sync.lake.opening import open_store
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import TableRef
from superinsight_sync_tests.lake.rows import commit, orders, reads

TABLE = TableRef("acme", "crm", "shared", "raw")
JOBS = ("partitions", "same partition", "whole", "merge", "same load", "mixed")
ROUNDS = 4
ROWS = 5


def table_of(job: str) -> TableRef:
    """The table the workers share in a job; no job begins with one that exists."""
    return TableRef("acme", "crm", job, "raw")


def run(root: str, worker: int, barrier: Any, results: Any) -> None:
    """Does each job ROUNDS times at the same moment as the other workers; reports what each round gave."""
    store = open_store(root)
    for job in JOBS:
        for number in range(ROUNDS):
            barrier.wait(60)
            results.put((job, number, *one_round(store, job, worker, number)))


def one_round(store: Store, job: str, worker: int, number: int) -> tuple[str, bool, int]:
    """Load id, whether it was a repeat, and the version it has."""
    table = table_of(job)
    load = f"{job}-{number}" if job == "same load" else f"w{worker}-{number}"
    day = worker + 1 if job in ("partitions", "mixed") else 1
    key = worker * 100 if job != "merge" else 0
    read = reads(orders(*((key + n, load, day) for n in range(ROWS))), load)
    if job in ("partitions", "same partition") or (job == "mixed" and number % 2):
        mine = commit(load, None, **{f"2026-03-{day:02}": number})
        done = store.replace(table, read, mine, partitions=[f"2026-03-{day:02}"])
    elif job == "whole":
        done = store.replace(table, read, commit(load, load))
    elif job == "merge":
        done = store.merge(table, read, commit(load, load), keys=["id"])
    else:
        done = store.append(table, read, commit(load))
    return load, done.repeated, done.version


def write_slowly(root: str, verb: str, marker: str) -> None:
    """Writes batch by batch until killed, telling by a file that it is under way."""
    store = open_store(root)
    rows = orders(*((n, "x" * 1000, 1) for n in range(2000)))

    def endless() -> pa.RecordBatchReader:
        reader = reads(rows, "killed", batch_rows=2000)()
        batch = reader.read_next_batch()

        def batches() -> Iterator[pa.RecordBatch]:
            for number in range(100_000):
                if number == 20:
                    Path(marker).touch()
                    time.sleep(0.2)
                yield batch

        return pa.RecordBatchReader.from_batches(batch.schema, batches())

    if verb == "merge":
        store.merge(TABLE, endless, commit("killed", "new"), keys=["id"])
    elif verb == "replace":
        store.replace(TABLE, endless, commit("killed", "new"), partitions=["2026-03-01"])
    else:
        getattr(store, verb)(TABLE, endless, commit("killed", "new"))


def land_in_turn(root: str) -> None:
    """Appends one row a commit, the number of the row being the checkpoint, until killed."""
    store = open_store(root)
    found = store.checkpoint(TABLE)
    start = found.cursor + 1 if found else 0
    for number in range(start, 100_000):
        read = reads(orders((number, "x", 1)), f"l{number}")
        store.append(TABLE, read, commit(f"l{number}", number))

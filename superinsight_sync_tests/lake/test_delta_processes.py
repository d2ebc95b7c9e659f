"""Several writers of one table, and writers that are killed: real processes on a folder and on S3."""

import multiprocessing
import random
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.lake.opening import open_store
from superinsight_sync_tests.lake.rows import commit, names, orders, reads
from superinsight_sync_tests.lake.writers import ROUNDS, ROWS, TABLE, land_in_turn, run, write_slowly

SPAWN = multiprocessing.get_context("spawn")
WORKERS = 3


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "lake")
    return str(request.getfixturevalue("s3_root"))


def at_once(root: str, job: str) -> list[tuple[Any, ...]]:
    """Runs the job in WORKERS processes from a table that does not exist; what every round gave."""
    barrier, results = SPAWN.Barrier(WORKERS), SPAWN.SimpleQueue()
    workers = [SPAWN.Process(target=run, args=(root, job, n, barrier, results)) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [w.exitcode for w in workers] == [0] * WORKERS
    return [results.get() for _ in range(WORKERS * ROUNDS)]


def test_different_partitions_land_side_by_side_from_the_first_commit_on(root: str) -> None:
    done = at_once(root, "partitions")
    store = open_store(root)
    last = ROUNDS - 1
    expected = [(w * 100 + n, f"w{w}-{last}") for w in range(WORKERS) for n in range(ROWS)]
    assert names(store, TABLE) == sorted(expected, key=repr)
    assert {k: c.cursor for k, c in store.checkpoints(TABLE).items()} == {f"2026-03-0{w + 1}": last for w in range(WORKERS)}
    history = {v.version: v.load_id for v in store.history(TABLE)}
    assert {version: load for _, _, _, version, load in done} == history


@pytest.mark.parametrize("job", ["same partition", "whole"])
def test_two_replacing_the_same_leave_one_of_them_whole(root: str, job: str) -> None:
    at_once(root, job)
    found = names(open_store(root), TABLE)
    assert len(found) == ROWS
    assert len({name for _, name in found}) == 1


def test_one_load_in_many_processes_lands_once(root: str) -> None:
    done = at_once(root, "same load")
    assert Counter(number for _, number, repeated, _, _ in done if not repeated) == dict.fromkeys(range(ROUNDS), 1)
    versions = {(number, version) for _, number, _, version, _ in done}
    assert len(versions) == ROUNDS
    assert len(names(open_store(root), TABLE)) == ROUNDS * ROWS


def test_merges_of_the_same_keys_leave_each_key_once(root: str) -> None:
    at_once(root, "merge")
    store = open_store(root)
    found = names(store, TABLE)
    assert [i for i, _ in found] == list(range(ROWS))
    newest = store.checkpoint(TABLE)
    assert newest is not None
    assert {name for _, name in found} == {newest.cursor}


def test_appends_and_replaces_mix(root: str) -> None:
    done = at_once(root, "mixed")
    assert not any(repeated for _, _, repeated, _, _ in done)
    store = open_store(root)
    assert sorted({n for _, n in names(store, TABLE)}) == [f"w{w}-{ROUNDS - 1}" for w in range(WORKERS)]


@pytest.mark.parametrize("verb", ["append", "replace", "merge"])
def test_a_killed_writer_leaves_the_old_state(tmp_path: Path, verb: str) -> None:
    root, marker = str(tmp_path / "lake"), tmp_path / "under way"
    store = open_store(root)
    store.append(TABLE, reads(orders((1, "old", 1)), "l1"), commit("l1", "old"))
    writer = SPAWN.Process(target=write_slowly, args=(root, verb, str(marker)))
    writer.start()
    while not marker.exists():
        assert writer.is_alive()
        time.sleep(0.01)
    writer.kill()
    writer.join()
    assert names(store, TABLE) == [(1, "old")]
    found = store.checkpoint(TABLE)
    assert found is not None
    assert found.cursor == "old"
    store.merge(TABLE, reads(orders((2, "new", 1)), "killed"), commit("killed", "new"), keys=["id"])
    store.maintain(TABLE, retention=timedelta(0))
    assert names(store, TABLE) == [(1, "old"), (2, "new")]


def test_a_writer_killed_at_any_moment_has_landed_exactly_what_its_checkpoint_says(tmp_path: Path) -> None:
    root = str(tmp_path / "lake")
    store = open_store(root)
    moments = random.Random(7)
    for _ in range(5):
        writer = SPAWN.Process(target=land_in_turn, args=(root,))
        before = store.version(TABLE) or 0
        writer.start()
        while (store.version(TABLE) or 0) < before + 2:
            assert writer.is_alive()
        time.sleep(moments.uniform(0, 0.1))
        writer.kill()
        writer.join()
        found = store.checkpoint(TABLE)
        assert found is not None
        assert [i for i, _ in sorted(names(store, TABLE))] == list(range(found.cursor + 1))

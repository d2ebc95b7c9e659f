"""Several writers of one table, and writers that are killed: real processes on a folder and on S3."""

import multiprocessing
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from superinsight_sync.lake.opening import open_store
from superinsight_sync.lake.store import Store
from superinsight_sync_tests.lake.rows import commit, names, orders, reads
from superinsight_sync_tests.lake.writers import (
    JOBS,
    ROUNDS,
    ROWS,
    TABLE,
    land_in_turn,
    run,
    table_of,
    write_slowly,
)
from superinsight_sync_tests.waiting import until

SPAWN = multiprocessing.get_context("spawn")
WORKERS = 3


Outcome = dict[str, list[tuple[int, str, bool, int]]]


@pytest.fixture(scope="module", params=["local", "s3"])
def raced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, Outcome]]:
    """A lake where WORKERS processes did each job at once, and what each round gave, by job."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            server = request.getfixturevalue("s3_server")
            for name, value in server.environment.items():
                patch.setenv(name, value)
            root = f"{server.create_bucket('races')}/{uuid.uuid4().hex}"
        else:
            root = str(tmp_path_factory.mktemp("races"))
        barrier, results = SPAWN.Barrier(WORKERS), SPAWN.Queue()
        workers = [SPAWN.Process(target=run, args=(root, n, barrier, results)) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        found = [results.get(timeout=600) for _ in range(WORKERS * ROUNDS * len(JOBS))]
        for worker in workers:
            worker.join(600)
        assert [w.exitcode for w in workers] == [0] * WORKERS
        yield open_store(root), {job: [f[1:] for f in found if f[0] == job] for job in JOBS}


Raced = tuple[Store, Outcome]


def test_different_partitions_land_side_by_side_from_the_first_commit_on(raced: Raced) -> None:
    store, done = raced
    table, last = table_of("partitions"), ROUNDS - 1
    expected = [(w * 100 + n, f"w{w}-{last}") for w in range(WORKERS) for n in range(ROWS)]
    assert names(store, table) == sorted(expected, key=repr)
    checkpoints = {k: c.cursor for k, c in store.checkpoints(table).items()}
    assert checkpoints == {f"2026-03-0{w + 1}": last for w in range(WORKERS)}
    history = {v.version: v.load_id for v in store.history(table)}
    assert {version: load for _, load, _, version in done["partitions"]} == history


@pytest.mark.parametrize("job", ["same partition", "whole"])
def test_two_replacing_the_same_leave_one_of_them_whole(raced: Raced, job: str) -> None:
    found = names(raced[0], table_of(job))
    assert len(found) == ROWS
    assert len({name for _, name in found}) == 1


def test_one_load_in_many_processes_lands_once(raced: Raced) -> None:
    store, done = raced
    landed = Counter(number for number, _, repeated, _ in done["same load"] if not repeated)
    assert landed == dict.fromkeys(range(ROUNDS), 1)
    assert len({(number, version) for number, _, _, version in done["same load"]}) == ROUNDS
    assert len(names(store, table_of("same load"))) == ROUNDS * ROWS


def test_merges_of_the_same_keys_leave_each_key_once(raced: Raced) -> None:
    store, _ = raced
    found = names(store, table_of("merge"))
    assert [i for i, _ in found] == list(range(ROWS))
    newest = store.checkpoint(table_of("merge"))
    assert newest is not None
    assert {name for _, name in found} == {newest.cursor}


def test_appends_and_replaces_mix(raced: Raced) -> None:
    store, done = raced
    assert not any(repeated for _, _, repeated, _ in done["mixed"])
    found = names(store, table_of("mixed"))
    assert sorted({n for _, n in found}) == [f"w{w}-{ROUNDS - 1}" for w in range(WORKERS)]
    assert len(found) == WORKERS * ROWS


@pytest.mark.parametrize("verb", ["append", "replace", "merge"])
def test_a_killed_writer_leaves_the_old_state(tmp_path: Path, verb: str) -> None:
    root, marker = str(tmp_path / "lake"), tmp_path / "under way"
    store = open_store(root)
    store.append(TABLE, reads(orders((1, "old", 1)), "l1"), commit("l1", "old"))
    writer = SPAWN.Process(target=write_slowly, args=(root, verb, str(marker)))
    writer.start()
    until(lambda: marker.exists() or not writer.is_alive(), "it does not write")
    assert writer.is_alive()
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
    for _ in range(3):
        writer = SPAWN.Process(target=land_in_turn, args=(root,))
        before = store.version(TABLE) or 0
        writer.start()
        while (store.version(TABLE) or 0) < before + 2:
            assert writer.is_alive()
        threading.Event().wait(moments.uniform(0, 0.1))
        writer.kill()
        writer.join()
        found = store.checkpoint(TABLE)
        assert found is not None
        assert [i for i, _ in sorted(names(store, TABLE))] == list(range(found.cursor + 1))

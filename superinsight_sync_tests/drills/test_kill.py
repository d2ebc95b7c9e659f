"""Kill -9 at a random moment: after the next run the tables equal the source, and no half export is visible."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.export import dataset_prefix
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.drills.declared import MONTHS, dataset
from superinsight_sync_tests.shop import change, make_shop

KILLS = 200 if LONG else 5
SEED = 20260131


def orders(first: int, last: int, stamp: str) -> list[tuple[Any, ...]]:
    return [
        (
            n,
            f"c{n % 97}",
            f"{n % 1000}.{n % 100:02d}",
            f"2026-{n % 3 + 1:02d}-{n % 27 + 1:02d}T00:00:00Z",
            stamp,
        )
        for n in range(first, last + 1)
    ]


def start(folder: Path, verb: str, *partitions: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "superinsight_sync_tests.drills.worker", str(folder), verb, *partitions]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, verb: str, *partitions: str) -> None:
    process = start(folder, verb, *partitions)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def working_s(folder: Path, verb: str, *partitions: str) -> float:
    """How long a worker works when nobody kills it."""
    process = start(folder, verb, *partitions)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.perf_counter()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return time.perf_counter() - began


def kill_at_random(folder: Path, rng: random.Random, longest_s: float, verb: str, *partitions: str) -> bool:
    """Starts a worker and kills it at a random moment of its work; whether it was still working."""
    process = start(folder, verb, *partitions)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(rng.uniform(0, longest_s))
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def expected(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "shop.db")) as db:
        return db.execute(
            "SELECT order_id, customer, amount, updated_at FROM orders ORDER BY order_id"
        ).fetchall()


def landed(folder: Path, stream: str, stage: Any) -> list[tuple[Any, ...]]:
    engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": str(folder)}))
    rows = engine.lake.scan(TableRef("acme", "shop", stream, stage)).read_all()
    picked = rows.select(["order_id", "customer", "amount", "updated_at"]).sort_by("order_id")
    return [(r["order_id"], r["customer"], str(r["amount"]), r["updated_at"]) for r in picked.to_pylist()]


def visible_versions_are_whole(folder: Path) -> int:
    """Verifies every visible version of the dataset; how many there are."""
    from superinsight_sync.export.publish import verify, versions

    engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": str(folder)}))
    prefix = dataset_prefix(dataset())
    found = versions(engine.blobs, prefix)
    for version in found:
        verify(engine.blobs, prefix, version)
    return len(found)


@pytest.mark.slow
@pytest.mark.timeout(3600 if LONG else 900)
def test_killed_at_random_moments_nothing_is_lost_and_nothing_lands_twice(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    make_shop(tmp_path / "shop.db", orders(1, 30_000, "2026-01-01T00:00:00Z"))
    longest_s = {spans: working_s(tmp_path, "chain", *spans) for spans in ((), MONTHS)}
    working = 0
    for number in range(KILLS):
        if number:
            base, stamp = 30_000 + number * 500, f"2026-02-{number // 24 + 1:02d}T{number % 24:02d}:00:00Z"
            change(
                tmp_path / "shop.db", "INSERT INTO orders VALUES (?,?,?,?,?)", orders(base - 499, base, stamp)
            )
            change(
                tmp_path / "shop.db",
                f"UPDATE orders SET customer='k{number}', updated_at='{stamp}' WHERE order_id % 997 = {number}",
            )
        partitions = MONTHS if number % 2 else ()
        working += kill_at_random(tmp_path, rng, longest_s[partitions], "chain", *partitions)
        visible_versions_are_whole(tmp_path)
    assert working >= KILLS // 2, "most kills came too late to mean anything"

    finish(tmp_path, "chain")
    finish(tmp_path, "chain", *MONTHS)
    source = expected(tmp_path)
    assert len(source) == 30_000 + (KILLS - 1) * 500
    for stream in ("full", "fresh", "monthly"):
        assert landed(tmp_path, stream, "raw") == source, stream
        refined = [(i, c, f"{float(a):.2f}", u) for i, c, a, u in source]
        assert [
            (i, c, f"{float(a):.2f}", u) for i, c, a, u in landed(tmp_path, stream, "refined")
        ] == refined, stream
    assert visible_versions_are_whole(tmp_path) >= 1
    engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": str(tmp_path)}))
    latest = json.loads(engine.blobs.read(f"{dataset_prefix(dataset())}/latest.json"))
    assert latest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_processes_at_the_same_and_at_different_partitions_give_the_sources_rows(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop.db", orders(1, 9_000, "2026-01-01T00:00:00Z"))
    same = [start(tmp_path, "pull", MONTHS[0]) for _ in range(2)]
    different = [start(tmp_path, "pull", month) for month in MONTHS[1:]]
    unpartitioned = [start(tmp_path, "pull") for _ in range(2)]
    for process in [*same, *different, *unpartitioned]:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    for stream in ("full", "fresh", "monthly"):
        assert landed(tmp_path, stream, "raw") == expected(tmp_path), stream

"""What is Delta's own: long histories, big merges, the log, the hash's name, credentials."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError
from superinsight_sync.lake import delta_log, delta_merge, system_columns
from superinsight_sync.lake.delta import DeltaStore
from superinsight_sync.lake.opening import open_store
from superinsight_sync.model.tables import Checkpoint, Commit, TableRef
from superinsight_sync_tests.lake.rows import AT, commit, content, names, new_table, orders, reads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(folder: Path) -> DeltaStore:
    return open_store(str(folder))


ROWS = st.lists(
    st.tuples(st.none() | st.integers(0, 6), st.sampled_from(["a", "b", "", None]), st.integers(1, 3)),
    max_size=12,
)


@given(first=ROWS, second=ROWS, third=ROWS, wider=st.booleans())
@settings(max_examples=25)
def test_merges_from_disk_equal_those_from_memory_in_samples(
    store: DeltaStore, first: Any, second: Any, third: Any, wider: bool
) -> None:
    """Samples, and no property of a hundred: each is eight merges, a second of CPU."""
    found = []
    for chunk in (1_000_000, 1):
        table = new_table()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delta_merge, "CHUNK_ROWS", chunk)
            counts = []
            for number, rows in enumerate((first, second, third)):
                data = orders(*rows)
                if wider and number == 1:
                    data = data.append_column("note", pa.array([str(r) for r in rows], pa.string()))
                if wider and number == 2:
                    data = data.drop(["name"])
                done = store.merge(
                    table, reads(data, f"l{number}"), commit(f"l{number}", number), keys=["id"]
                )
                counts.append((done.rows, done.rows_inserted, done.rows_updated))
        assert store.merge(table, reads(data, "l2"), commit("l2"), keys=["id"]).repeated
        loads = sorted(store.scan(table, columns=["_sis_load_id"]).read_all()["_sis_load_id"].to_pylist())
        assert store.checkpoint(table) == Checkpoint("l2", AT, cursor=2)
        found.append((content(store, table, columns=sorted(store.schema(table).names)), counts, loads))
    assert found[0] == found[1]


def test_checkpoints_survive_a_long_history_and_the_removal_of_its_log(
    store: DeltaStore, folder: Path
) -> None:
    table = new_table()
    store.append(table, reads(orders((0, "x", 1)), "l0"), commit("l0", 0, rare="kept"))
    for number in range(1, 105):
        store.append(table, reads(orders((number, "x", 1)), f"l{number}"), commit(f"l{number}", number))
    log = folder / table.path / "_delta_log"
    for file in log.glob("*.json"):
        os.utime(file, (1, 1))
    DeltaTable(str(folder / table.path)).cleanup_metadata()
    assert not (log / f"{1:020d}.json").exists()
    assert store.checkpoints(table) == {
        "": Checkpoint("l104", AT, cursor=104),
        "rare": Checkpoint("l0", AT, cursor="kept"),
    }
    assert store.checkpoint(table, "rare") == Checkpoint("l0", AT, cursor="kept")
    assert store.append(table, reads(orders(), "l5"), commit("l5", 5)).repeated
    assert store.loads_since(table, 3) is None
    assert store.count(table) == 105


def test_many_partitions_have_their_checkpoints(store: DeltaStore) -> None:
    table = new_table()
    keys = [f"hour-{n}" for n in range(26_000)]
    store.append(
        table, reads(orders((1, "x", 1)), "l1"), Commit("l1", {k: Checkpoint("l1", AT, k) for k in keys})
    )
    store.append(
        table, reads(orders((1, "x", 1)), "l2"), Commit("l2", {keys[7]: Checkpoint("l2", AT, "new")})
    )
    commits = DeltaTable(store._address(table).url).history(1)
    assert len(str(commits)) < 2000
    found = store.checkpoints(table)
    assert len(found) == 26_000
    assert (found[keys[7]].cursor, found[keys[8]].cursor) == ("new", keys[8])
    assert store.checkpoint(table, keys[-1]) == found[keys[-1]]


def test_unused_checkpoint_files_are_removed_after_the_retention_time(
    store: DeltaStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table()
    for number in range(4):
        store.append(table, reads(orders((number, "x", 1)), f"l{number}"), commit(f"l{number}", number))
    files = folder / table.path / delta_log.FOLDER
    store.maintain(table, retention=timedelta(days=30))
    assert len(list(files.iterdir())) == 4
    later = delta_log.utc_now() + timedelta(days=40)
    monkeypatch.setattr("superinsight_sync.lake.delta_maintenance.utc_now", lambda: later)
    assert store.maintain(table, retention=timedelta(days=30))["checkpoints_removed"] == 3
    assert store.checkpoint(table) == Checkpoint("l3", AT, cursor=3)


def test_small_files_are_compacted_and_a_rollback_over_it_works(store: DeltaStore, folder: Path) -> None:
    table = new_table()
    for number in range(6):
        store.append(table, reads(orders((number, "x", 1)), f"l{number}"), commit(f"l{number}", number))
    done = store.maintain(table, retention=timedelta(days=7))
    assert done["files_compacted"] == 6
    assert done["files_written"] == 1
    store.rollback(table, "l5")
    assert store.count(table) == 5
    store.maintain(table, retention=timedelta(0))
    with pytest.raises(ConfigError, match="removed by retention"):
        store.rollback(table, "l4")


def test_files_of_a_commit_under_way_are_not_vacuumed(store: DeltaStore, folder: Path) -> None:
    table = new_table()
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))
    under_way = folder / table.path / "part-under-way.parquet"
    under_way.write_bytes(b"x")
    store.maintain(table, retention=timedelta(0))
    assert under_way.exists()
    os.utime(under_way, (1, 1))
    store.maintain(table, retention=timedelta(0))
    assert not under_way.exists()


def test_a_changed_hash_algorithm_shows_and_a_full_replace_takes_it(
    store: DeltaStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = new_table()
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))
    assert store.row_hash(table) == system_columns.row_hash_algorithm()
    monkeypatch.setattr("superinsight_sync.lake.delta.row_hash_algorithm", lambda: "another")
    store.merge(table, reads(orders((1, "x", 1)), "l2"), commit("l2"), keys=["id"])
    assert "another" in caplog.text
    assert store.row_hash(table) != "another"
    store.replace(table, reads(orders((1, "x", 1)), "l3"), commit("l3"))
    assert store.row_hash(table) == "another"


def test_an_old_checkpoint_cannot_be_saved_before_there_is_a_table(store: DeltaStore) -> None:
    store.set_checkpoint(new_table(), None)
    with pytest.raises(ConfigError, match="no such table"):
        store.set_checkpoint(new_table(), Checkpoint("l", AT))


@pytest.mark.parametrize("stream", ["public.orders", "Größe 😀", "a b#?&=+"])
def test_streams_may_have_awkward_names(store: DeltaStore, stream: str) -> None:
    table = TableRef("acme", "crm", stream, "raw")
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1", 1))
    assert names(store, table) == [(1, "x")]
    assert store.dataset(table).count_rows() == 1
    assert list(store.tables()) == [table]
    assert store.checkpoint(table) is not None


@pytest.mark.parametrize("stream", ["..", "a/../../b", "100%"])
def test_names_that_leave_the_lake_are_refused(store: DeltaStore, stream: str) -> None:
    table = TableRef("acme", "crm", stream, "raw")
    for work in (
        lambda: store.exists(table),
        lambda: store.drop(table) if "%" not in stream else store.count(table),
    ):
        with pytest.raises(ConfigError):
            work()


def test_a_wrong_secret_is_told_without_it(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(s3_root)
    table = new_table()
    store.append(table, reads(orders((1, "x", 1)), "l1"), commit("l1"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(AccessError, match="credentials") as caught:
        open_store(s3_root).append(table, reads(orders((2, "y", 1)), "l2"), commit("l2"))
    assert "not-the-secret" not in str(caught.value)


def test_a_merge_prunes_files_and_rewrites_few(store: DeltaStore, folder: Path) -> None:
    table = new_table()
    for number in range(3):
        ids = range(number * 100, number * 100 + 100)
        store.append(
            table,
            reads(orders(*((n, "x", 1) for n in ids)), f"l{number}", batch_rows=100),
            commit(f"l{number}"),
        )
    before = set(DeltaTable(str(folder / table.path)).file_uris())
    store.merge(table, reads(orders((250, "new", 1)), "m"), commit("m"), keys=["id"])
    assert len(before & set(DeltaTable(str(folder / table.path)).file_uris())) == 2


def test_many_partitions_in_one_commit_stay_in_bounded_memory(folder: Path) -> None:
    code = f"""
import resource, numpy as np, pyarrow as pa
from superinsight_sync.lake.opening import open_store
from superinsight_sync_tests.lake.rows import commit, new_table
day = np.repeat(np.arange(600), 20)
rows = pa.table({{f"c{{n}}": day + n for n in range(22)}} | {{"_sis_partition": pa.array(day.astype(str))}})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
open_store({str(folder)!r}).append(new_table(), lambda: rows.to_reader(20), commit("l1"))
print(peak() - before)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(found.stdout) < 400, "MB over what the process had; with dictionaries it is over 1000"

"""What a Delta table costs after many small commits: files, log, and what stands in the way of compaction."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from superinsight_sync.lake import delta_compaction, delta_log, delta_merge
from superinsight_sync.lake.database import DatabaseStore
from superinsight_sync.lake.delta import DeltaStore
from superinsight_sync.lake.opening import open_store
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import Checkpoint, TableRef
from superinsight_sync_tests.lake.rows import AT, commit, new_table, orders, reads
from superinsight_sync_tests.servers.postgres import PostgresServer


@pytest.fixture
def store(tmp_path: Path) -> DeltaStore:
    return open_store(str(tmp_path / "lake"))


def _load(store: Store, table: TableRef, number: int, *, merge: bool = False) -> None:
    read, done = reads(orders((number, "x", 1)), f"l{number}", by=None), commit(f"l{number}", number)
    if merge:
        store.merge(table, read, done, keys=["id"])
    else:
        store.append(table, read, done)


def _log(store: DeltaStore, table: TableRef) -> list[Path]:
    folder = Path(store._address(table).url.removeprefix("file://")) / "_delta_log"
    return sorted(p for p in folder.iterdir() if p.name[:20].isdigit())


def _read_to_open(store: DeltaStore, table: TableRef) -> int:
    """Log files that opening the table reads."""
    files = _log(store, table)
    last = max((p.name[:20] for p in files if "checkpoint" in p.name), default="")
    return sum(p.name[:20] > last for p in files if p.suffix == ".json")


@pytest.mark.parametrize(("merge", "runs"), [(False, 120), (True, 56)])
def test_after_many_small_commits_a_read_opens_as_many_files_as_after_a_few(
    store: DeltaStore, monkeypatch: pytest.MonkeyPatch, *, merge: bool, runs: int
) -> None:
    monkeypatch.setattr(delta_log, "_MOST_COMMITS", 50)
    monkeypatch.setattr(delta_log, "_TRIM_EVERY", 7)
    table, most_files, most_read, most_log = new_table(), 0, 0, 0
    for number in range(runs):
        _load(store, table, number, merge=merge)
        most_files = max(most_files, len(list(store.dataset(table).get_fragments())))
        most_read = max(most_read, _read_to_open(store, table))
        most_log = max(most_log, len(_log(store, table)))
    assert most_files <= 51
    assert most_read <= 11
    assert most_log <= 50 + 10 + 7 + 100 // 10 + 10
    assert _ids(store, table) == list(range(runs))
    newest = store.version(table)
    assert newest is not None
    assert store.loads_since(table, newest - 40) is not None
    assert store.checkpoint(table) == Checkpoint(f"l{runs - 1}", AT, cursor=runs - 1)
    first = max(1, min(int(p.name[:20]) for p in _log(store, table)))
    assert store.scan(table, version=first).read_all().num_rows in range(first - 3, first + 1)
    store.rollback(table, f"l{runs - 1}")
    assert store.count(table) == runs - 1


def test_partitions_with_a_file_each_are_left_alone(store: DeltaStore) -> None:
    table = new_table()
    rows = orders(*((n, "x", n % 28 + 1) for n in range(84)))
    for number in range(3):
        store.append(table, reads(rows, f"l{number}", batch_rows=100), commit(f"l{number}", number))
    assert [v.operation for v in store.history(table)].count("maintain") == 3
    assert len(list(store.dataset(table).get_fragments())) == 28


def _ids(store: DeltaStore, table: TableRef) -> list[int]:
    found: list[int] = store.scan(table, columns=["id"]).read_all()["id"].to_pylist()
    return sorted(found)


def test_of_two_compactions_at_once_one_is_left_and_no_row_doubles(
    store: DeltaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table()
    for number in range(6):
        _load(store, table, number)
    address, claim = store._address(table), delta_compaction._claim

    def tidy(opened: DeltaTable) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(delta_compaction, "_MOST_SMALL_FILES", 3)
            delta_compaction.tidy(opened, store._log(table), str(table))

    first, second = address.opened(), address.opened()
    tidy(first)
    tidy(second)
    assert (_ids(store, table), len(address.opened().file_uris())) == ([*range(6)], 1)
    for number in range(6, 11):
        _load(store, table, number)

    def claimed(opened: DeltaTable, name: str) -> None:
        claim(opened, name)
        monkeypatch.setattr(delta_compaction, "_claim", claim)
        store.maintain(table, retention=timedelta(days=7))
        store.append(table, reads(orders((11, "x", 1)), "l11", by=None), commit("l11"))

    monkeypatch.setattr(delta_compaction, "_claim", claimed)
    tidy(address.opened())
    assert _ids(store, table) == [*range(12)]


def test_the_claim_of_a_killed_compaction_passes_on_and_its_owner_cannot_commit(
    store: DeltaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table()
    for number in range(4):
        _load(store, table, number)
    slow = store._address(table).opened()
    delta_compaction._claim(slow, str(table))
    assert store.maintain(table, retention=timedelta(days=7))["files_compacted"] == 0
    later = delta_compaction.utc_now() + timedelta(hours=3)
    monkeypatch.setattr(delta_compaction, "utc_now", lambda: later)
    assert store.maintain(table, retention=timedelta(days=7))["files_compacted"] == 4
    with pytest.raises(DeltaError):
        slow.optimize.compact()
    assert _ids(store, table) == [*range(4)]


def test_writers_side_by_side_lose_no_row_to_compaction(
    store: DeltaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_compaction, "_MOST_SMALL_FILES", 4)
    table = new_table()
    _load(store, table, 0)

    def writer(first: int) -> None:
        for number in range(first, first + 12):
            _load(store, table, number, merge=number % 4 == 0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(writer, (100, 200)))
    assert _ids(store, table) == [0, *range(100, 112), *range(200, 212)]
    assert "maintain" in {v.operation for v in store.history(table)}


def test_upkeep_goes_on_with_what_a_run_has_compacted(
    store: DeltaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_compaction, "_MOST_SMALL_FILES", 3)
    table = new_table()
    for number in range(9):
        _load(store, table, number)
    store.maintain(table, retention=timedelta(0))
    assert store.count(table) == 9
    assert len(list(store.dataset(table).get_fragments())) == 1


def test_what_a_merge_puts_on_disk_goes_to_the_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, table = tmp_path / "home" / "scratch", new_table()
    store = open_store(str(tmp_path / "lake"), scratch)
    _load(store, table, 1)
    monkeypatch.setattr(delta_merge, "CHUNK_ROWS", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    rows = orders((1, "y", 1), (2, "z", 1), (3, "z", 1))
    store.merge(table, reads(rows, "l2", by=None), commit("l2"), keys=["id"])
    assert store.count(table) == 3
    assert scratch.is_dir()
    assert not list(scratch.iterdir())


def test_a_database_tables_copy_is_in_the_scratch_folder(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    scratch, table = tmp_path / "home" / "scratch", new_table()
    store = DatabaseStore(postgres_server.create_database(), scratch_dir=scratch)
    _load(store, table, 1)
    found = store.dataset(table)
    assert isinstance(found, pyarrow.dataset.FileSystemDataset)
    assert [Path(f).parent for f in found.files] == [scratch]
    assert found.to_table(columns=["id"]) == pa.table({"id": [1]})

"""Files that are being written while they are pulled: the lake never holds half a record."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.sources.kinds import files
from superinsight_sync_tests.waiting import until

RAW = TableRef("default", "drop", "sales", "raw")
BY_FILE = {"mode": "incremental", "cursor": "_sis_file_modified_at"}
WRITER = """
import os, sys, time
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
os.write(file, b"id,amount\\n1,10000\\n2,12")
print("begun", flush=True)
for _ in range(int(sys.argv[2])):
    time.sleep(0.1)
    os.write(file, b"345\\n2,12")
os.write(file, b"345\\n")
"""


@pytest.fixture(autouse=True)
def default_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default, a little shorter."""
    monkeypatch.setattr(files, "SETTLE", timedelta(seconds=1))
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


def declared(folder: Path, settle: str | None = None, **stream: Any) -> SourceSpec:
    connection = {"kind": "files", "path": str(folder)} | ({"settle": settle} if settle else {})
    entry = {"name": "sales", "path": "*.csv", **stream}
    return SourceSpec.model_validate({"name": "drop", "connection": connection, "streams": [entry]})


def pull(engine: Engine, source: SourceSpec) -> int:
    return pull_stream(engine, source, source.streams[0]).table_rows


def landed(engine: Engine) -> set[tuple[str, str]]:
    if not engine.lake.exists(RAW):
        return set()
    rows = engine.lake.scan(RAW, columns=["id", "amount"]).read_all().to_pylist()
    return {(r["id"], r["amount"]) for r in rows}


def old(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (time.time() - 3600,) * 2)


def is_settled(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > files.SETTLE.total_seconds()


def writing(path: Path, times: int) -> "subprocess.Popen[str]":
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(times)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    return writer


@pytest.mark.parametrize("sync", [BY_FILE, {"mode": "full"}], ids=["by file", "full"])
@pytest.mark.parametrize("alone", [True, False])
def test_no_pull_lands_half_a_record_while_a_process_writes(
    engine: Engine, folder: Path, sync: dict[str, Any], alone: bool
) -> None:
    if not alone:
        old(folder / "a.csv", "id,amount\n0,1\n")
    source, whole = declared(folder, sync=sync), {("0", "1"), ("1", "10000"), ("2", "12345")}
    with writing(folder / "b.csv", 15) as writer:
        while writer.poll() is None:
            try:
                pull(engine, source)
            except TransientError as error:
                assert "settle" in str(error)
            assert landed(engine) <= whole
    until(lambda: is_settled(folder / "b.csv"), "it stays new")
    pull(engine, source)
    assert landed(engine) == (whole - {("0", "1")} if alone else whole)


def test_without_settle_what_is_there_is_read(engine: Engine, folder: Path) -> None:
    with writing(folder / "b.csv", 5):
        pull(engine, declared(folder, settle="0s", sync=BY_FILE))
        assert ("2", "12") in landed(engine)


def test_a_folder_of_new_files_is_waited_for_and_a_new_one_among_others_is_left(
    engine: Engine, folder: Path
) -> None:
    (folder / "a.csv").write_text("id,amount\n1,1\n")
    assert pull(engine, declared(folder, sync=BY_FILE)) == 1
    old(folder / "a.csv", "id,amount\n1,1\n")
    (folder / "b.csv").write_text("id,amount\n2,2\n")
    assert pull(engine, declared(folder, settle="10m", sync=BY_FILE)) == 1
    until(lambda: is_settled(folder / "b.csv"), "it stays new")
    assert pull(engine, declared(folder, sync=BY_FILE)) == 2


def test_a_full_read_waits_for_a_new_file_among_others(engine: Engine, folder: Path) -> None:
    old(folder / "a.csv", "id,amount\n1,1\n")
    (folder / "b.csv").write_text("id,amount\n2,2\n")
    assert pull(engine, declared(folder)) == 2


def test_a_time_far_in_the_future_does_not_hold_a_file_back(engine: Engine, folder: Path) -> None:
    (folder / "a.csv").write_text("id,amount\n1,1\n")
    os.utime(folder / "a.csv", (time.time() + 8 * 3600,) * 2)
    assert pull(engine, declared(folder)) == 1


def test_a_settle_that_is_long_is_not_waited_for(engine: Engine, folder: Path) -> None:
    old(folder / "a.csv", "id,amount\n1,1\n")
    (folder / "b.csv").write_text("id,amount\n2,2\n")
    assert pull(engine, declared(folder, settle="10m")) == 1
    (folder / "a.csv").unlink()
    with pytest.raises(TransientError, match=r"modified less than 600 s ago"):
        pull(engine, declared(folder, settle="10m"))

"""Files whose size and modification time do not tell that they are new."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.results import PullResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.waiting import next_moment

RAW = TableRef("default", "drop", "sales", "raw")
BY_FILE = {"mode": "incremental", "cursor": "_sis_file_modified_at"}
LONG_AGO = time.time() - 10**7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


def dated(path: Path, text: str, at: float) -> Path:
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def pull(engine: Engine, folder: Path, **stream: Any) -> PullResult:
    connection = {"kind": "files", "path": str(folder)}
    entry = {"name": "sales", "path": "*.csv", **stream}
    source = SourceSpec.model_validate({"name": "drop", "connection": connection, "streams": [entry]})
    return pull_stream(engine, source, source.streams[0])


def landed(engine: Engine) -> list[str]:
    return sorted(engine.lake.scan(RAW, columns=["id"]).read_all().column("id").to_pylist())


@pytest.mark.parametrize("sync", [{"mode": "full"}, BY_FILE], ids=["full", "by file"])
def test_content_of_the_same_size_and_time_is_new(engine: Engine, folder: Path, sync: dict[str, Any]) -> None:
    for name, number in (("a", 1), ("b", 2)):
        dated(folder / f"{name}.csv", f"id\n{number}\n", LONG_AGO)
    pull(engine, folder, sync=sync)
    assert pull(engine, folder, sync=sync).unchanged
    dated(folder / "a.csv", "id\n7\n", LONG_AGO)
    assert not pull(engine, folder, sync=sync).unchanged
    assert landed(engine) == (["2", "7"] if sync["mode"] == "full" else ["1", "2", "7"])


@pytest.mark.parametrize("key", [[], ["id"]], ids=["append", "merge"])
def test_a_file_moved_or_copied_in_with_an_older_time_is_read_once(
    engine: Engine, folder: Path, tmp_path: Path, key: list[str]
) -> None:
    stream = {"sync": BY_FILE, "primary_key": key}
    dated(folder / "new.csv", "id\n1\n", LONG_AGO + 1000)
    pull(engine, folder, **stream)
    dated(tmp_path / "moved.csv", "id\n2\n", LONG_AGO).rename(folder / "moved.csv")
    assert pull(engine, folder, **stream).stats.rows >= 1
    assert landed(engine) == ["1", "2"]
    shutil.copy2(dated(tmp_path / "kept.csv", "id\n3\n", LONG_AGO - 50), folder / "copied.csv")
    pull(engine, folder, **stream)
    assert landed(engine) == ["1", "2", "3"]
    (folder / "moved.csv").chmod(0o600)
    pull(engine, folder, **stream)
    assert pull(engine, folder, **stream).unchanged
    assert landed(engine) == ["1", "2", "3"], "a file that is read again lands nothing twice"


def test_a_record_of_a_file_moved_in_lands_beside_an_equal_one_of_a_newer_file(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("one", "two", "three")):
        dated(folder / f"{name}.csv", "id\n5\n", LONG_AGO + 10 * number)
    pull(engine, folder, sync=BY_FILE)
    next_moment(folder)
    dated(tmp_path / "moved.csv", "id\n5\n", LONG_AGO - 10).rename(folder / "moved.csv")
    pull(engine, folder, sync=BY_FILE)
    assert landed(engine) == ["5"] * 4


def test_files_put_there_earlier_are_not_read_again(engine: Engine, folder: Path) -> None:
    for number in range(5):
        dated(folder / f"{number}.csv", f"id\n{number}\n", LONG_AGO + number)
    pull(engine, folder, sync=BY_FILE)
    next_moment(folder)
    (folder / "9.csv").write_text("id\n9\n")
    pull(engine, folder, sync=BY_FILE)
    next_moment(folder)
    (folder / "8.csv").write_text("id\n8\n")
    assert pull(engine, folder, sync=BY_FILE).stats.rows <= 2
    assert landed(engine) == ["0", "1", "2", "3", "4", "8", "9"]

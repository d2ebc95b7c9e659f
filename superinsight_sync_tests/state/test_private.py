"""What holds customers' bodies, or what keys are known by, only its owner may read."""

import os
from pathlib import Path

from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.uploads import Uploads
from superinsight_sync_tests.state.test_inbox import delivery


def modes(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Of the files, and of the folders."""
    found = {p: oct(p.stat().st_mode & 0o777)[2:] for p in folder.rglob("*")}
    files = {p.name: mode for p, mode in found.items() if p.is_file()}
    return files, {p.name: mode for p, mode in found.items() if p.is_dir()}


def test_files_are_0600_and_folders_0700_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = open_state(f"sqlite:///{tmp_path}/home/state.db")
        inbox = Inbox(state.database, tmp_path / "home" / "landing")
        inbox.accept(delivery("big", b"x" * 100_000))
        uploads = Uploads(tmp_path / "home" / "uploads")
        uploads.create(
            tenant="acme",
            source="shop",
            stream="orders",
            form="json",
            name="a",
            by="k",
            key="",
            metadata={},
            length=3,
        )
        with state.database.read() as reader:
            reader.exec_driver_sql("SELECT count(*) FROM sis_inbox")
            inbox.accept(delivery("small"))
            files, folders = modes(tmp_path)
    finally:
        os.umask(before)
    assert {"state.db", "state.db-wal"} <= files.keys() and len(files) >= 5
    assert set(files.values()) == {"600"}
    assert set(folders.values()) == {"700"}
    state.close()

"""What holds customers' bodies, or what keys are known by, only its owner may read."""

import os
from pathlib import Path

from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.uploads import Uploads
from superinsight_sync_tests.state.test_inbox import delivery


def modes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): oct(p.stat().st_mode & 0o777)[2:] for p in folder.rglob("*")}


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
            found = modes(tmp_path)
    finally:
        os.umask(before)
    files = {name: mode for name, mode in found.items() if (tmp_path / name).is_file()}
    assert {"home/state.db", "home/state.db-wal"} <= files.keys() and len(files) >= 5
    assert set(files.values()) == {"600"}
    assert {mode for name, mode in found.items() if name not in files} == {"700"}
    state.close()

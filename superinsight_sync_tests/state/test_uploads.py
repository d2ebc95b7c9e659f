"""Uploads on the disk: what was told is there, what was not counts for nothing, and there is always room left."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state.uploads import BusyError, MissingError, NoRoomError, Upload, Uploads

GB = 1 << 30


def spool(folder: Path, free: int = 50 * GB, **more: Any) -> Uploads:
    return Uploads(folder, disk=lambda _: (100 * GB, 0, free), **more)


def create(uploads: Uploads, tenant: str = "acme", length: int = 10) -> Upload:
    facts = {"stream": "sales", "form": "csv", "name": "a.csv", "by": "k", "key": "", "metadata": {}}
    return uploads.create(tenant=tenant, source="till", length=length, **facts)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "commit", "rollback", "crash", "torn"]), st.binary(max_size=20)),
        max_size=30,
    )
)
def test_what_was_committed_is_there_and_nothing_else(steps: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uploads = spool(Path(folder))
        upload = create(uploads, length=1_000)
        held = uploads.hold("acme", "till", upload.id)
        kept, fresh = b"", b""
        for what, part in steps:
            if what == "write":
                held.write(part)
                fresh += part
            elif what == "commit":
                held.commit(len(fresh))
                kept, fresh = kept + fresh, b""
            else:
                if what == "rollback":
                    held.rollback()
                else:
                    held.close()
                    if what == "torn":
                        held.path.write_bytes(held.path.read_bytes() + part)
                    held = spool(Path(folder)).hold("acme", "till", upload.id)
                fresh = b""
            assert held.upload.offset == len(kept)
        held.rollback()
        assert held.path.read_bytes() == kept
        held.close()


def test_another_tenant_or_source_finds_nothing(tmp_path: Path) -> None:
    uploads = spool(tmp_path)
    upload = create(uploads)
    assert uploads.find("acme", "till", upload.id) == upload
    for tenant, source, name in (
        ("rival", "till", upload.id), ("acme", "shop", upload.id), ("acme", "till", "0" * 32),
    ):  # fmt: skip
        with pytest.raises(MissingError, match="there is no such upload"):
            uploads.find(tenant, source, name)
        with pytest.raises(MissingError):
            uploads.hold(tenant, source, name)


def test_what_is_given_up_is_removed(tmp_path: Path) -> None:
    uploads = spool(tmp_path, kept_s=1.5)
    old = create(uploads)
    time.sleep(0.9)
    touched = create(uploads)
    time.sleep(0.9)
    with pytest.raises(MissingError):
        uploads.find("acme", "till", old.id)
    held = uploads.hold("acme", "till", touched.id)
    held.write(b"x")
    held.commit(1)
    held.close()
    assert uploads.sweep() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{touched.id}.data", f"{touched.id}.json"]
    time.sleep(1.7)
    uploads.sweep()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_finds_what_is_whole_and_not_finished_and_what_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = spool(tmp_path)
    upload = create(uploads, length=2)
    held = uploads.hold("acme", "till", upload.id)
    held.write(b"ab")
    held.commit(2)
    held.close()
    create(uploads)
    for name in ("1.0.part", f"{'1' * 32}.data", f"{'2' * 32}.tmp", f"{'3' * 32}.json"):
        (tmp_path / name).write_text("{")
    again = spool(tmp_path)
    assert [u.id for u in again.sweep()] == [upload.id] and len(list(tmp_path.iterdir())) == 8
    monkeypatch.setattr("superinsight_sync.state.uploads._ORPHAN_S", -1.0)
    again.sweep()
    assert len(list(tmp_path.iterdir())) == 4, "both uploads are still there"
    held = again.hold("acme", "till", upload.id)
    held.finish({"status": "stored", "id": "x"})
    held.close()
    assert again.sweep() == [] and not held.path.exists()
    held = again.hold("acme", "till", upload.id)
    assert held.upload.outcome == {"status": "stored", "id": "x"}
    assert 3_500 < (held.upload.expires_at - utc_now()).total_seconds() <= 3_600
    held.close()


def test_data_that_is_shorter_than_noted_is_not_gone_on_with(tmp_path: Path) -> None:
    uploads = spool(tmp_path)
    upload = create(uploads)
    held = uploads.hold("acme", "till", upload.id)
    held.write(b"abc")
    held.commit(3)
    held.close()
    held.path.write_bytes(b"ab")
    with pytest.raises(MissingError):
        uploads.hold("acme", "till", upload.id)


def test_another_process_that_is_at_it_is_respected_until_it_dies(tmp_path: Path) -> None:
    uploads = spool(tmp_path)
    upload = create(uploads)
    script = (
        "import sys, time; from pathlib import Path; from superinsight_sync.state.uploads import Uploads\n"
        f"held = Uploads(Path({str(tmp_path)!r})).hold('acme', 'till', {upload.id!r})\n"
        "print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(BusyError, match="another connection is at this upload"):
        uploads.hold("acme", "till", upload.id)
    other.kill()
    other.wait()
    uploads.hold("acme", "till", upload.id).close()


def test_room_is_kept_and_shared(tmp_path: Path) -> None:
    uploads = spool(tmp_path, free=25 * GB)  # of 100, 5 are never used: 20
    with pytest.raises(NoRoomError, match="there is no room for it now"):
        create(uploads, length=6 * GB)  # it needs twice its length, and a tenant gets half
    create(uploads, length=5 * GB)
    with pytest.raises(NoRoomError):
        create(uploads, length=1)
    other = create(uploads, "rival", length=4 * GB)
    with pytest.raises(NoRoomError), uploads.temporary("third", 2 * GB):
        raise AssertionError("not reached")
    with uploads.temporary("third", GB) as make:
        path = make()
        path.write_bytes(b"x")
    assert not path.exists()
    uploads.sweep()
    with pytest.raises(NoRoomError):
        create(uploads, "third", length=2 * GB)
    uploads.forget(other.id)
    create(uploads, "third", length=2 * GB)
    again = spool(tmp_path, free=25 * GB)
    again.sweep()
    with pytest.raises(NoRoomError):
        create(again, length=1)


def test_one_tenant_has_a_hundred_at_once(tmp_path: Path) -> None:
    uploads = spool(tmp_path)
    for _ in range(100):
        create(uploads, length=1)
    with pytest.raises(NoRoomError):
        create(uploads, length=1)
    create(uploads, "rival", length=1)


FULL = """
import resource, sys
from pathlib import Path
from superinsight_sync.state.uploads import NoRoomError, Uploads
uploads = Uploads(Path(sys.argv[1]))
held = uploads.hold("acme", "till", sys.argv[2])
held.write(b"a" * 100_000)
held.commit(100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    held.write(b"b" * (1 << 20))
except NoRoomError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_nothing_that_was_kept_is_lost(tmp_path: Path) -> None:
    """A bound on the size of files stands for the full disk: writing ends in the middle in the same way."""
    uploads = spool(tmp_path)
    upload = create(uploads, length=1 << 21)
    told = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), upload.id], capture_output=True, text=True, check=True
    )
    assert told.stdout == "the disk is full. Send it again later\n"
    held = uploads.hold("acme", "till", upload.id)
    assert (held.upload.offset, held.path.stat().st_size) == (100_000, 100_000)
    held.close()


def test_threads_share_it(tmp_path: Path) -> None:
    uploads = spool(tmp_path)
    upload = create(uploads, length=800)
    done: list[int] = []

    def add() -> None:
        for turn in range(20):
            while len(done) <= 80:
                with contextlib.suppress(BusyError):
                    held = uploads.hold("acme", "till", upload.id)
                    held.write(b"0123456789")
                    held.commit(10)
                    held.close()
                    done.append(turn)
                    break

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 80
    held = uploads.hold("acme", "till", upload.id)
    assert held.upload.is_whole and held.path.read_bytes() == b"0123456789" * 80
    held.close()

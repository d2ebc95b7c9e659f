"""Files beside the tables, on a folder and on S3."""

import multiprocessing
from pathlib import Path

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.blob_opening import open_blobs
from superinsight_sync.lake.blobs import BlobStore


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "local":
        return open_blobs(str(tmp_path / "lake"))
    return open_blobs(request.getfixturevalue("s3_root"))


def test_what_is_written_is_read_listed_and_deleted(blobs: BlobStore, tmp_path: Path) -> None:
    assert list(blobs.list("")) == []
    blobs.write("a/b ü.json", b"one")
    blobs.write("a/b ü.json", b"two")
    blobs.write("a/c/d", b"")
    (tmp_path / "file").write_bytes(b"x" * 9_000_000)
    blobs.upload(tmp_path / "file", "e")
    assert blobs.read("a/b ü.json") == b"two"
    assert blobs.read("a/c/d") == b""
    assert len(blobs.read("e")) == 9_000_000
    assert list(blobs.list("")) == ["a/b ü.json", "a/c/d", "e"]
    assert list(blobs.list("a")) == ["a/b ü.json", "a/c/d"]
    assert list(blobs.list("a/c")) == ["a/c/d"]
    assert list(blobs.list("e")) == ["e"]
    assert list(blobs.list("nothing")) == []
    assert (blobs.exists("e"), blobs.exists("a"), blobs.exists("f")) == (True, False, False)
    assert blobs.url("e").endswith("/e")
    blobs.delete("a")
    blobs.delete("a")
    blobs.delete("e")
    assert list(blobs.list("")) == []
    with pytest.raises(FileNotFoundError):
        blobs.read("e")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "a\\..\\b"])
def test_a_path_that_leaves_the_root_is_refused(blobs: BlobStore, path: str, tmp_path: Path) -> None:
    for work in (
        lambda: blobs.read(path),
        lambda: blobs.write(path, b""),
        lambda: blobs.delete(path),
        lambda: blobs.exists(path),
        lambda: list(blobs.list(path)),
        lambda: blobs.url(path),
    ):
        with pytest.raises(ConfigError, match="root"):
            work()
    assert not (tmp_path / "x").exists()


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="leads out"):
        open_blobs(str(tmp_path / "lake")).write("link/x", b"")


def _rewrite(folder: str) -> None:
    store = open_blobs(folder)
    for _ in range(100_000):
        store.write("x", b"a" * 1_000_000)
        store.write("x", b"b" * 1_000_000)


def test_a_killed_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    store = open_blobs(str(tmp_path))
    for _ in range(3):
        writer = spawn.Process(target=_rewrite, args=(str(tmp_path),))
        writer.start()
        while not store.exists("x"):
            assert writer.is_alive()
        for _ in range(20):
            assert store.read("x") in (b"a" * 1_000_000, b"b" * 1_000_000)
        writer.kill()
        writer.join()
        assert store.read("x") in (b"a" * 1_000_000, b"b" * 1_000_000)
        assert list(store.list("")) == ["x"]
        store.delete("x")

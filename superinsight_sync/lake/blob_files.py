"""Blob stores: a local folder, and whatever pyarrow has a file system for (S3, GCS, Azure)."""

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.delta_errors import storage_errors
from superinsight_sync.lake.locations import checked_path

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs

_TEMPORARY = ".sis-tmp-"


class LocalBlobs:
    """A folder. A write is a temporary file, synced, renamed over the old one, and the folder synced."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def url(self, path: str) -> str:
        return str(self._at(path))

    def read(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        at = self._at(path)
        with storage_errors(path):
            temporary = self._temporary(at)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                self._publish(temporary, at)
            finally:
                temporary.unlink(missing_ok=True)

    def upload(self, local: Path, path: str) -> None:
        at = self._at(path)
        with storage_errors(path):
            temporary = self._temporary(at)
            try:
                shutil.copyfile(local, temporary)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                self._publish(temporary, at)
            finally:
                temporary.unlink(missing_ok=True)

    def create(self, path: str) -> "pa.NativeFile":
        import pyarrow as pa

        at = self._at(path)
        with storage_errors(path):
            at.parent.mkdir(parents=True, exist_ok=True)
            return pa.OSFile(str(at), "wb")

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        base = self._at(prefix) if prefix.strip("/") else self._root
        if base.is_file():
            yield base.relative_to(self._root).as_posix()
            return
        found = (p for p in base.rglob("*") if p.is_file() and not p.name.startswith(_TEMPORARY))
        yield from sorted(p.relative_to(self._root).as_posix() for p in found)

    def delete(self, prefix: str) -> None:
        at = self._at(prefix)
        with storage_errors(prefix):
            if at.is_dir():
                shutil.rmtree(at)
            else:
                at.unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        at = self._root / checked_path(path.rstrip("/"))
        if not at.resolve().is_relative_to(self._root.resolve()):
            raise ConfigError(
                f"the path '{path}' leads out of the lake's root", hint="Remove the symbolic link"
            )
        return at

    def _temporary(self, at: Path) -> Path:
        at.parent.mkdir(parents=True, exist_ok=True)
        return at.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"

    def _publish(self, temporary: Path, at: Path) -> None:
        temporary.replace(at)
        folder = os.open(at.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class ObjectBlobs:
    """Objects below a prefix. A put is atomic by the store's own promise.

    Args:
        files: pyarrow's file system.
        root: the prefix in it, ``bucket/folder``.
        root_url: the same for people, ``s3://bucket/folder``.
    """

    def __init__(self, files: "pyarrow.fs.FileSystem", root: str, root_url: str) -> None:
        self._files = files
        self._root = root
        self._root_url = root_url.rstrip("/")

    def url(self, path: str) -> str:
        return f"{self._root_url}/{checked_path(path)}"

    def read(self, path: str) -> bytes:
        with (
            storage_errors(path, keep=FileNotFoundError),
            self._files.open_input_stream(self._at(path)) as stream,
        ):
            return bytes(stream.read())

    def write(self, path: str, data: bytes) -> None:
        with storage_errors(path), self._files.open_output_stream(self._at(path)) as stream:
            stream.write(data)

    def upload(self, local: Path, path: str) -> None:
        with (
            storage_errors(path),
            local.open("rb") as source,
            self._files.open_output_stream(self._at(path)) as stream,
        ):
            shutil.copyfileobj(source, stream, 8 << 20)

    def create(self, path: str) -> "pa.NativeFile":
        with storage_errors(path):
            return self._files.open_output_stream(self._at(path))

    def exists(self, path: str) -> bool:
        return bool(self._files.get_file_info(self._at(path)).is_file)

    def list(self, prefix: str) -> Iterator[str]:
        import pyarrow.fs

        base = self._at(prefix) if prefix.strip("/") else self._root
        with storage_errors(prefix):
            selector = pyarrow.fs.FileSelector(base, recursive=True, allow_not_found=True)
            found = [f.path for f in self._files.get_file_info(selector) if f.is_file]
            if not found and prefix.strip("/") and self.exists(prefix):
                found = [base]
        yield from sorted(p.removeprefix(self._root).lstrip("/") for p in found)

    def delete(self, prefix: str) -> None:
        at = self._at(prefix)
        with storage_errors(prefix):
            info = self._files.get_file_info(at)
            if info.is_file:
                self._files.delete_file(at)
            else:
                self._files.delete_dir_contents(at, missing_dir_ok=True)

    def _at(self, path: str) -> str:
        return f"{self._root}/{checked_path(path.rstrip('/'))}"

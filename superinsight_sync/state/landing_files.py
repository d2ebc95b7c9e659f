"""Big bodies of deliveries, kept as files that are named by their content."""

import hashlib
import os
import time
from collections.abc import Collection, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.core.private import make_private_folder, open_private

_GRACE_S = 3600.0
_PART_BYTES = 1 << 20


class LandingFiles:
    """A folder of files, each named by the SHA-256 of what is in it. Any number of processes may share it.

    Methods raise TransientError where the file system fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, body: bytes, digest: str) -> None:
        """Keeps `body`, whose SHA-256 is `digest`: it is on the disk when this returns."""
        path = self._path(digest)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            make_private_folder(self.folder)
            make_private_folder(path.parent)
            if path.exists() and path.stat().st_size == len(body):
                os.utime(path)  # `forget` leaves what was touched a short while ago
            else:
                _write(temporary, body)
                temporary.rename(path)
            for folder in (path.parent, self.folder):
                _sync_folder(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise TransientError(
                f"a delivery's body cannot be kept: {error.strerror}", where=f"folder {self.folder}"
            ) from error

    def replace(self, body: bytes, name: str) -> None:
        """Puts `body` in the place of what is kept under a name, whole or not at all."""
        path = self._path(name)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            make_private_folder(self.folder)
            make_private_folder(path.parent)
            _write(temporary, body)
            temporary.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise TransientError(
                f"a delivery's body cannot be kept: {error.strerror}", where=f"folder {self.folder}"
            ) from error

    def has(self, name: str) -> bool:
        """Whether something is kept under that name."""
        return self._path(name).exists()

    def open(self, name: str) -> BufferedReader:
        """What is kept under a name, unread. Raises DataError if it is gone."""
        path = self._path(name)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise DataError("a delivery's body is gone", where=str(path)) from None
        except OSError as error:
            raise TransientError(
                f"a delivery's body cannot be read: {error.strerror}", where=str(path)
            ) from error

    def parts(self, digest: str) -> Iterator[bytes]:
        """What was kept, part by part, in the memory of one part. Raises DataError before the first part if it is gone
        or is not what was kept."""
        path, file = self._path(digest), self.open(digest)
        try:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            file.close()
            raise TransientError(
                f"a delivery's body cannot be read: {error.strerror}", where=str(path)
            ) from error
        if found != digest:
            file.close()
            raise DataError("a delivery's body is damaged", where=str(path))
        file.seek(0)
        return _parts(file)

    def forget(self, digests: Collection[str]) -> int:
        """Deletes those that were kept more than an hour ago; how many."""
        count = 0
        for digest in digests:
            path = self._path(digest)
            try:
                if time.time() - path.stat().st_mtime > _GRACE_S:
                    path.unlink()
                    count += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                raise TransientError(f"cannot be deleted: {error.strerror}", where=str(path)) from error
        return count

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART_BYTES):
            yield part


def _write(path: Path, body: bytes) -> None:
    with open_private(path, "xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

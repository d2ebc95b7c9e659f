"""Uploads that may break off: what has come of each, and a note of how much of it is on the disk for certain.

Files are named by ids that are made here. What lies behind the noted offset is cut off before anything is added:
it may be unchecked, or not on the disk.
"""

import fcntl
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.core.private import make_private_folder, open_private
from superinsight_sync.model.push import PushFormat

_log = logging.getLogger(__name__)
_LEAST_FREE = 0.05
_MOST_EACH = 100
_ORPHAN_S = 3600.0
_FINISHED_S = 3600.0


class NoRoomError(TransientError):
    """507: the disk is too full for it, or its tenant has enough on it already."""

    status = 507
    retry_after_s = 60.0


class BusyError(TransientError):
    """423: another process is at this upload."""

    status = 423
    retry_after_s = 1.0


class MissingError(SisError):
    """404: there is no such upload of that tenant and source, or no more."""

    status = 404

    def __init__(self, message: str = "there is no such upload", **at: str) -> None:
        super().__init__(message, **at)


class Upload(msgspec.Struct, frozen=True):
    """What is known of an upload.

    Attributes:
        name: the file's, as its sender calls it. by: whose key it came with.
        key: by which its delivery is known; empty for its content.
        length: bytes of the whole. offset: bytes of it that are on the disk.
        outcome: what became of the whole file; None until that is certain.
    """

    id: str
    tenant: str
    source: str
    stream: str
    form: PushFormat
    name: str
    by: str
    key: str
    metadata: dict[str, Any]
    length: int
    expires_at: datetime
    offset: int = 0
    outcome: dict[str, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self.offset == self.length

    @property
    def still_needs(self) -> int:
        """Bytes of disk: what is missing, and once more the whole, for its delivery."""
        return 0 if self.outcome is not None else 2 * self.length - self.offset


class Held:
    """An upload that nobody else is at. Methods block, and raise NoRoomError or TransientError."""

    def __init__(self, spool: "Uploads", upload: Upload, handle: int | None) -> None:
        self.upload, self._spool, self._handle = upload, spool, handle
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The file with what has come."""
        return self._spool.data(self.upload.id)

    def write(self, part: bytes) -> None:
        """Adds bytes, which count only after `commit`."""
        with self._opened() as handle, _told():
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(handle, rest) :]

    def commit(self, size_bytes: int) -> None:
        """So many bytes that were added are on the disk when this returns."""
        with self._opened() as handle, _told():
            os.fdatasync(handle)
        self._note(offset=self.upload.offset + size_bytes)

    def rollback(self) -> None:
        """Forgets what was added since the last commit."""
        with self._opened() as handle, _told():
            os.ftruncate(handle, self.upload.offset)
            os.lseek(handle, self.upload.offset, os.SEEK_SET)

    def finish(self, outcome: dict[str, Any]) -> None:
        """Notes what became of the file, which is needed no more."""
        self._note(outcome=outcome)
        self.path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forgets the upload."""
        self._spool.forget(self.upload.id)

    def close(self) -> None:
        """Lets others at it. Waits for a thread that is still writing: its number may mean another file later."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with self._lock:
            if self._handle is None:
                raise TransientError("the upload is closed")
            yield self._handle

    def _note(self, **changed: Any) -> None:
        kept = {"expires_at": self._spool.expiry(is_finished="outcome" in changed)}
        self.upload = msgspec.structs.replace(self.upload, **kept, **changed)
        self._spool.note(self.upload)


class Uploads:
    """A folder of uploads. Any number of processes may share it; so may threads.

    Args:
        kept_s: an upload nothing was added to for so long is forgotten.
        disk: (total, used, free) bytes of the file system of a folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kept_s: float = 86_400.0,
        disk: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage,
    ) -> None:
        self.folder, self._kept_s, self._disk = folder, kept_s, disk
        self._lock = threading.Lock()
        self._needs: dict[str, tuple[str, int]] = {}
        make_private_folder(folder)

    def create(self, **facts: Any) -> Upload:
        """Makes an upload of what `Upload` takes, without id, offset and expiry. Raises NoRoomError."""
        upload = Upload(id=secrets.token_hex(16), expires_at=self.expiry(), **facts)
        self._reserve(upload.id, upload.tenant, upload.still_needs)
        try:
            with _told():
                self.data(upload.id).touch(mode=0o600, exist_ok=False)
            self.note(upload)
        except SisError:
            self.forget(upload.id)
            raise
        return upload

    @contextmanager
    def temporary(self, tenant: str, size_bytes: int) -> Iterator[Callable[[], Path]]:
        """Room for files that come all at once; gives what makes their names. They are gone afterwards.

        Args:
            size_bytes: of all of them. Raises NoRoomError.
        """
        name = secrets.token_hex(16)
        made: list[Path] = []

        def make() -> Path:
            made.append(self.folder / f"{name}.{len(made)}.part")
            return made[-1]

        self._reserve(f".{name}", tenant, 2 * size_bytes)
        try:
            yield make
        finally:
            with self._lock:
                self._needs.pop(f".{name}", None)
            for path in made:
                path.unlink(missing_ok=True)

    def find(self, tenant: str, source: str, upload_id: str) -> Upload:
        """The upload, if it is of that tenant and source. Raises MissingError."""
        upload = self._read(upload_id)
        if upload is None or (upload.tenant, upload.source) != (tenant, source):
            raise MissingError()
        if upload.expires_at <= utc_now():
            raise MissingError()
        return upload

    def hold(self, tenant: str, source: str, upload_id: str) -> Held:
        """The upload for oneself; to be closed. Raises MissingError, BusyError, TransientError."""
        self.find(tenant, source, upload_id)
        try:
            handle: int | None = os.open(self.data(upload_id), os.O_RDWR)
        except FileNotFoundError:
            handle = None
        try:
            if handle is not None:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BusyError(
                        "another connection is at this upload", hint="Ask again in a moment"
                    ) from None
            held = Held(self, self.find(tenant, source, upload_id), handle)
            if held.upload.outcome is None:
                if handle is None or os.fstat(handle).st_size < held.upload.offset:
                    raise MissingError()
                held.rollback()
        except SisError:
            if handle is not None:
                os.close(handle)
            raise
        return held

    def sweep(self) -> list[Upload]:
        """Removes what is forgotten; those that are whole and not finished, since their process died."""
        whole: list[Upload] = []
        needs: dict[str, tuple[str, int]] = {}
        now = utc_now()
        for path in self.folder.iterdir():
            upload = self._read(path.stem) if path.suffix == ".json" else None
            if upload is None:
                self._clear(path)
            elif upload.expires_at <= now:
                with suppress(SisError):
                    self.forget(upload.id)
            else:
                needs[upload.id] = (upload.tenant, upload.still_needs)
                if upload.is_whole and upload.outcome is None:
                    whole.append(upload)
        with self._lock:
            temporary = {n: found for n, found in self._needs.items() if n.startswith(".")}
            self._needs = {**temporary, **needs}
        return whole

    def forget(self, upload_id: str) -> None:
        """Removes an upload."""
        with _told():
            self._note_path(upload_id).unlink(missing_ok=True)
            self.data(upload_id).unlink(missing_ok=True)
        with self._lock:
            self._needs.pop(upload_id, None)

    def note(self, upload: Upload) -> None:
        """Writes down what is known of an upload; it is on the disk when this returns."""
        path = self._note_path(upload.id)
        temporary = path.with_suffix(".tmp")
        with _told():
            with open_private(temporary, "wb") as file:
                file.write(msgspec.json.encode(upload))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        with self._lock:
            self._needs[upload.id] = (upload.tenant, upload.still_needs)

    def expiry(self, *, is_finished: bool = False) -> datetime:
        """When an upload that was touched just now is forgotten; one that is finished, after an hour."""
        return utc_now() + timedelta(seconds=min(self._kept_s, _FINISHED_S) if is_finished else self._kept_s)

    def data(self, upload_id: str) -> Path:
        """The file with an upload's bytes."""
        return self.folder / f"{upload_id}.data"

    def _note_path(self, upload_id: str) -> Path:
        return self.folder / f"{upload_id}.json"

    def _read(self, upload_id: str) -> Upload | None:
        try:
            return msgspec.json.decode(self._note_path(upload_id).read_bytes(), type=Upload)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            _log.warning("the note of upload %s is damaged", upload_id)
            return None
        except OSError as error:
            raise TransientError(f"an upload cannot be read: {error.strerror}") from error

    def _clear(self, path: Path) -> None:
        """Deletes what a process that died has left."""
        with suppress(OSError):
            is_orphan = path.suffix != ".data" or not self._note_path(path.stem).exists()
            if is_orphan and time.time() - path.stat().st_mtime > _ORPHAN_S:
                path.unlink()

    def _reserve(self, name: str, tenant: str, needed: int) -> None:
        """Keeps room for something. A tenant gets at most half of all there is. Raises NoRoomError."""
        with _told():
            total, _, free = self._disk(self.folder)
        with self._lock:
            mine = [size for who, size in self._needs.values() if who == tenant and size > 0]
            taken = sum(size for _, size in self._needs.values())
            room = free - int(_LEAST_FREE * total)
            if needed > room - taken or 2 * (sum(mine) + needed) > room or len(mine) >= _MOST_EACH:
                raise NoRoomError("there is no room for it now", hint="Send it again later")
            self._needs[name] = (tenant, needed)


@contextmanager
def _told() -> Iterator[None]:
    """Says in our words what the file system says."""
    import errno

    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoRoomError("the disk is full", hint="Send it again later") from error
        raise TransientError(f"an upload cannot be kept: {error.strerror}", where="uploads") from error

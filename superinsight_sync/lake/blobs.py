"""Files beside the tables (dictionaries, datasets): a protocol over a local folder or an object store."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class BlobStore(Protocol):
    """Paths are relative, with `/`. A path that leaves the root raises ConfigError."""

    def url(self, path: str) -> str:
        """Where a person finds it: an absolute path or `s3://…`."""
        ...

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Atomic: readers see the old file or the new one."""
        ...

    def upload(self, local: Path, path: str) -> None:
        """Copies a local file, atomically per file."""
        ...

    def create(self, path: str) -> "pa.NativeFile":
        """A new file that grows as it is written. Readers may see a part of it: for files that a commit names later.

        Its writes raise OSError.
        """
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths of all files below `prefix`, sorted."""
        ...

    def delete(self, prefix: str) -> None:
        """Removes the file, or everything below the folder. No error if there is nothing."""
        ...

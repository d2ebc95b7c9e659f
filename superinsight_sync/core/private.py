"""Files and folders that only this user may read: they hold customers' bodies, or what keys are known by."""

import os
from pathlib import Path
from typing import IO


def make_private_folder(folder: Path) -> None:
    """Makes the folder, 0700, if it is not there; one that is there stays as it is. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """As `Path.open`, for bytes; a file that is made is 0600. Raises OSError."""
    return open(path, mode, opener=_opener)


def make_private_file(path: Path) -> None:
    """Makes an empty file, 0600, if there is none. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

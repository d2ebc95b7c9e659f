"""Where tests put their files: in memory, if there is enough, since thousands of small ones are made safe on disk."""

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 6 << 30
_PREFIX = "sis-tests-"
_MADE: list[Path] = []


def use_memory() -> None:
    """From now on this process and those it starts put temporary files there. A caller's `TMPDIR` is obeyed."""
    if "TMPDIR" in os.environ or not _MEMORY.is_mount() or shutil.disk_usage(_MEMORY).free < _NEEDED_BYTES:
        return
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX)}").exists():
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed
    folder = _MEMORY / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    _MADE.append(folder)


def give_back() -> None:
    """Removes all of them, in the process that began the run."""
    while _MADE:
        shutil.rmtree(_MADE.pop(), ignore_errors=True)
        del os.environ["TMPDIR"]
        tempfile.tempdir = None

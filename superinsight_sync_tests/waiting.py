"""Waiting for what another thread or process does, and for nothing else."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def until(seen: Callable[[], object], what: str, within_s: float = 300) -> None:
    """Returns when it is seen. Raises AssertionError with what was waited for.

    The bound is for what never happens. It is long, since a busy machine may take ten times longer than yours.
    """
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def stays(holds: Callable[[], object], what: str, looks: int = 20) -> None:
    """Looks so many times whether it holds, and lets others work in between. For what must not happen: it can
    find a fault and never prove that there is none. Raises AssertionError with what should hold."""
    for _ in range(looks):
        assert holds(), what
        time.sleep(0.01)


def next_moment(folder: Path, apart_s: float = 1.1) -> None:
    """Returns when a file written in the folder now is so much newer than one written before the call, which is
    beyond what a file system may take for the same time."""
    probe = folder / ".moment"
    probe.write_bytes(b"1")
    before = probe.stat().st_mtime_ns
    until(
        lambda: os.utime(probe) or probe.stat().st_mtime_ns > before + apart_s * 10**9,  # type: ignore[func-returns-value]
        "the clock of the file system stands still",
    )
    probe.unlink()


def heeds_ctrl_c() -> None:
    """For a child, before it begins: a shell lets what it starts in the background ignore SIGINT, and pytest then
    ignores SIGTERM, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

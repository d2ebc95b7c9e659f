"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable


def until(seen: Callable[[], object], what: str, within_s: float = 300) -> None:
    """Returns when it is seen. Raises AssertionError with what was waited for."""
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)

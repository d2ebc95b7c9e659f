"""Waits end when they are told to, and heed a signal of the system."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from superinsight_sync.core.stopping import ended


def test_futures_are_given_as_they_end_however_late() -> None:
    first, second = Event(), Event()
    with ThreadPoolExecutor(2) as threads:
        late = threads.submit(first.wait)
        early = threads.submit(second.wait)
        second.set()
        found = ended([late, early])
        assert next(found) is early
        first.set()
        assert list(found) == [late]

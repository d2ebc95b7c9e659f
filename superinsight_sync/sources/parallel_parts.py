"""Several reads at once, given as one."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Generic, NamedTuple, TypeVar

from superinsight_sync.core.stopping import submit

T = TypeVar("T")
Part = Callable[[], AbstractContextManager[Iterable[T]]]

_WAIT_S = 0.1


class _End(NamedTuple):
    """A part has been read to its end, or broke."""

    part: int


class _Crew(Generic[T]):
    def __init__(self, parts: Sequence[Part[T]], ahead: int) -> None:
        self._ready: queue.Queue[T | _End] = queue.Queue(max(1, ahead))
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(len(parts))
        self._reads = [submit(self._threads, self._read, n, part) for n, part in enumerate(parts)]

    def _read(self, number: int, part: Part[T]) -> None:
        try:
            with part() as items:
                for item in items:
                    if not self._put(item):
                        return
        finally:
            self._put(_End(number))

    def _put(self, item: T | _End) -> bool:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=_WAIT_S)
                return True
        return False

    def items(self) -> Iterator[T]:
        left = len(self._reads)
        while left:
            found = self._ready.get()
            if not isinstance(found, _End):
                yield found
                continue
            self._reads[found.part].result()
            left -= 1

    def close(self) -> None:
        self._stop.set()
        self._threads.shutdown()


@contextmanager
def side_by_side(parts: Sequence[Part[T]], *, ahead: int) -> Iterator[Iterator[T]]:
    """The items of all parts in the order in which they come, each part read by a thread of its own.

    Args:
        parts: each opens one read.
        ahead: at most so many items wait to be taken; then the reads pause.

    The first error of a part comes out and ends the others; so does leaving the ``with`` block early.
    """
    crew = _Crew(parts, ahead)
    try:
        yield crew.items()
    finally:
        crew.close()

"""Stopping work that waits: a signal, and what ends the waits that the work is in.

Whoever waits for another system says how that wait is ended (`ends_by`); whoever wants the work to stop sets the
signal. Nothing else needs to know of the other: a query is cancelled, a socket closed and a pause ended alike.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakSet

from superinsight_sync.core.errors import StopRequested

P = ParamSpec("P")
T = TypeVar("T")


HEED_S = 0.5
"""How long a thread waits in one piece. A signal of the system that comes as a wait of Python's main thread begins,
or to another thread, is handled when that wait ends."""


class StopSignal:
    """Set once, for good. What is set on a signal is set on all that were made of it by `child`."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._waits: set[_Wait] = set()
        self._children: WeakSet[StopSignal] = WeakSet()

    @property
    def is_set(self) -> bool:
        """Whether the work is to stop."""
        return self._stopped.is_set()

    def child(self) -> "StopSignal":
        """A signal of its own for a part of the work."""
        made = StopSignal()
        with self._lock:
            self._children.add(made)
            if self.is_set:
                made.set()
        return made

    def set(self) -> None:
        """Ends all waits, each by a thread of its own, and makes every further one end at once."""
        with self._lock:
            self._stopped.set()
            waits, self._waits, children = self._waits, set(), list(self._children)
        for each in waits:
            threading.Thread(target=each.end, daemon=True, name="stop").start()
        for child in children:
            child.set()

    def check(self) -> None:
        """Raises StopRequested if it is set."""
        if self.is_set:
            raise StopRequested("it was told to stop", hint="What had landed before is kept; run it again")

    def add(self, wait: "_Wait") -> None:
        """Ends this wait too when it is set."""
        with self._lock:
            if not self.is_set:
                self._waits.add(wait)
                return
        wait.end()

    def discard(self, wait: "_Wait") -> None:
        """Forgets the wait, which is over."""
        with self._lock:
            self._waits.discard(wait)

    def pause(self, seconds: float) -> None:
        """Waits. Raises StopRequested as soon as it is set."""
        self._stopped.wait(seconds)
        self.check()

    @contextmanager
    def obeyed(self) -> Iterator[None]:
        """Inside it `ends_by`, `pause` and `check_stop` of this module are about this signal."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


class _Wait:
    """How one wait is ended; at most once, and never after it is over."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end: Callable[[], object] | None = end
        self._lock = threading.Lock()

    def end(self) -> None:
        with self._lock:
            end, self._end = self._end, None
            if end is not None:
                end()

    def over(self) -> None:
        with self._lock:
            self._end = None


_current: contextvars.ContextVar[StopSignal | None] = contextvars.ContextVar("sis_stop", default=None)


def on_stop(end: Callable[[], object]) -> None:
    """From now on a stop of the work that goes on here calls `end`, in another thread; it raises nothing."""
    signal = _current.get()
    if signal is not None:
        signal.add(_Wait(end))


@contextmanager
def ends_by(end: Callable[[], object]) -> Iterator[None]:
    """While in the block, a stop calls `end`, which makes what the block waits for fail or return at once.

    `end` is called in another thread, once, never after the block, and raises nothing.
    """
    signal = _current.get()
    if signal is None:
        yield
        return
    wait = _Wait(end)
    signal.check()
    signal.add(wait)
    try:
        yield
    finally:
        signal.discard(wait)
        wait.over()


def pause(seconds: float) -> None:
    """Sleeps, unless the work is told to stop: then it raises StopRequested."""
    signal = _current.get()
    if signal is None:
        time.sleep(seconds)
    else:
        signal.pause(seconds)


def check_stop() -> None:
    """Raises StopRequested if the work was told to stop."""
    signal = _current.get()
    if signal is not None:
        signal.check()


def submit(pool: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Hands work to a pool, whose thread obeys the same signal."""
    return pool.submit(contextvars.copy_context().run, partial(work, *args, **kwargs))


def ended(futures: Collection["Future[T]"]) -> Iterator["Future[T]"]:
    """The futures as they end, waited for so that a signal is heeded meanwhile."""
    left = set(futures)
    while left:
        done, left = wait(left, HEED_S, FIRST_COMPLETED)
        yield from done

"""Connections to a database server, kept open for whoever needs one next.

A pool belongs to one declared source of one tenant and one set of resolved credentials, and lives in one process.
Connections are looked at before they are lent, cleaned when they come back, thrown away after an error, and closed
when nobody has used the pool for a minute.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast
from weakref import WeakValueDictionary

from sqlalchemy.pool import QueuePool

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.stopping import check_stop, ends_by

C = TypeVar("C")

IDLE_S = 60.0


@dataclass(frozen=True)
class Driver(Generic[C]):
    """What a pool does with connections.

    Attributes:
        connect: a new one, ready for use.
        is_alive: asks the server whether an idle one can still be used.
        reset: makes it as `connect` gave it. Raises `error` if that cannot be.
        error: base class of what the driver raises.
        cancel: ends what another thread waits for, at the server too; the connection is not used again.
    """

    connect: Callable[[], C]
    is_alive: Callable[[C], bool]
    reset: Callable[[C], None]
    error: type[Exception]
    cancel: Callable[[C], None]


class Pool(Generic[C]):
    """The connections of one source.

    Args:
        streams: how many may be in use by `connection` at once; no more than that are kept while idle.
        wait_s: how long `connection` waits for another user to give one back.
    """

    def __init__(self, driver: Driver[C], streams: int, wait_s: float) -> None:
        self._driver = driver
        self._streams = streams
        self._wait_s = wait_s
        # In use are as many as there are places, so the queue itself sets no limit.
        self._kept = QueuePool(
            cast(Any, driver.connect),
            pool_size=streams + 1,  # with the one of `one_more`
            max_overflow=-1,
            use_lifo=True,
            reset_on_return=None,
        )
        self._places = threading.BoundedSemaphore(streams)
        self._one_more = threading.Lock()
        self._lock = threading.Lock()
        self._used_at_s = 0.0
        self._timer: threading.Timer | None = None

    @contextmanager
    def connection(self) -> Iterator[C]:
        """A connection for a stream. Whoever has one must not ask for another: see `beside` and `one_more`.

        Raises TransientError if none is given back in time, and what the driver raises.
        """
        if not self._places.acquire(timeout=self._wait_s):
            raise TransientError(
                f"all {self._streams} connections of the source are in use",
                hint="Raise max_concurrency of the source",
            )
        try:
            with self.beside() as connection:
                yield connection
        finally:
            self._places.release()

    @contextmanager
    def one_more(self) -> Iterator[C]:
        """A second connection, for a moment: only one caller of the pool has one."""
        with self._one_more, self.beside() as connection:
            yield connection

    @contextmanager
    def beside(self) -> Iterator[C]:
        """A connection that takes no stream's place: for the parts of a stream."""
        lent = self._lent()
        connection = cast(C, lent.dbapi_connection)
        try:
            with ends_by(partial(self._driver.cancel, connection)):
                yield connection
                check_stop()
        except BaseException:
            lent.invalidate()
            raise
        else:
            try:
                self._driver.reset(connection)
            except self._driver.error:
                lent.invalidate()
            else:
                lent.info["idle"] = True
                lent.close()
        finally:
            self._note_use()

    def close(self) -> None:
        """Closes those that are idle."""
        self._kept.dispose()

    def _lent(self) -> Any:
        while True:
            lent = self._kept.connect()
            if not lent.info.pop("idle", False) or self._driver.is_alive(cast(C, lent.dbapi_connection)):
                return lent
            lent.invalidate()

    def _note_use(self) -> None:
        with self._lock:
            self._used_at_s = time.monotonic()
            if self._timer is None:
                self._look_in(IDLE_S)

    def _look_in(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._close_unused)
        self._timer.daemon = True
        self._timer.start()

    def _close_unused(self) -> None:
        with self._lock:
            left_s = self._used_at_s + IDLE_S - time.monotonic()
            self._timer = None
            if left_s > 0:
                self._look_in(left_s)
                return
        self.close()


_pools: "WeakValueDictionary[Hashable, Pool[Any]]" = WeakValueDictionary()
_knowing = threading.Lock()
_of_parents: list[Any] = []
"""After a fork: closing them would end the sessions of the process that opened them."""


def pool_of(key: Hashable, make: Callable[[], Pool[C]]) -> Pool[C]:
    """The pool that all share who ask with the same key; `make` gives it its first time.

    Args:
        key: whose it is, and all that decides what a connection may do: address, credentials, options.
    """
    with _knowing:
        found = _pools.get(key)
        if found is None:
            found = _pools[key] = make()
        return found


def _forget() -> None:
    global _pools, _knowing
    _of_parents.extend(_pools.values())
    _pools, _knowing = WeakValueDictionary(), threading.Lock()


@atexit.register
def _close_all() -> None:
    for pool in list(_pools.values()):
        pool.close()


os.register_at_fork(after_in_child=_forget)

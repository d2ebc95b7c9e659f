"""Exclusive work among processes and machines: time-limited, so that a dead holder blocks nobody for long.

After Gray and Cheriton, "Leases", SOSP 1989: a holder renews in time or has lost it.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import delete, select, update

from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.core.retry import OWN_STORES, with_retry
from superinsight_sync.core.stopping import pause
from superinsight_sync.state.database import Database, insert_into, now
from superinsight_sync.state.tables import leases

_log = logging.getLogger(__name__)
_POLL_S = 0.2


class Lease:
    """A lease that this process holds, until `lost`."""

    def __init__(self, name: str, holder: str, ttl_s: float) -> None:
        self.name = name
        self.holder = holder
        self.ttl_s = ttl_s
        self._taken = threading.Event()
        self._deadline = 0.0

    @property
    def lost(self) -> bool:
        """Whether another process has it, or may have it: then stop, and commit nothing."""
        return self._taken.is_set() or time.monotonic() >= self._deadline

    def extend(self, from_s: float) -> None:
        """It was granted for its time, counted from before the database was asked (monotonic seconds)."""
        self._deadline = from_s + self.ttl_s

    def lose(self) -> None:
        """Another process has it."""
        self._taken.set()


class Leases:
    """Leases by name. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def hold(self, name: str, ttl_s: float = 30.0, *, wait_s: float = 60.0) -> Iterator[Lease]:
        """Holds the lease for the block and renews it meanwhile, three times in `ttl_s`.

        Args:
            ttl_s: after so long without renewal another may take it; time enough for a pause of this process.
            wait_s: how long to wait for another holder.

        Raises:
            TransientError: another process held it all the time; the message names it.
        """
        lease = Lease(name, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}", ttl_s)
        give_up_at = time.monotonic() + wait_s
        while (other := with_retry(lambda: self._take(lease), OWN_STORES)) is not None:
            if time.monotonic() >= give_up_at:
                raise TransientError(
                    f"already running by {other.rsplit(':', 1)[0]} (host:process)",
                    where=f"'{name}'",
                    hint=f"Try again when it has ended; if it is dead, in {ttl_s:g} s at most",
                )
            pause(min(_POLL_S, max(0.0, give_up_at - time.monotonic())))
        done = threading.Event()
        renewal = threading.Thread(
            target=self._renew_until, args=(lease, done), name=f"lease {name}", daemon=True
        )
        renewal.start()
        try:
            yield lease
        finally:
            done.set()
            renewal.join()
            self._release(lease)

    def holder(self, name: str) -> str | None:
        """Who holds it now (``host:process:number``), if anybody."""
        with self._database.read() as connection:
            is_held = (leases.c.name == name, leases.c.expires_at > now(connection))
            return connection.scalar(select(leases.c.holder).where(*is_held))

    def _take(self, lease: Lease) -> str | None:
        """Takes a free or expired lease and gives None, or gives the name of its holder."""
        asked_s = time.monotonic()
        with self._database.write() as connection:
            at = now(connection)
            row = {
                "name": lease.name,
                "holder": lease.holder,
                "expires_at": at + timedelta(seconds=lease.ttl_s),
            }
            statement = insert_into(connection, leases).values(row)
            taken = statement.on_conflict_do_update(
                index_elements=["name"], set_=row, where=leases.c.expires_at <= at
            ).returning(leases.c.holder)
            if connection.scalar(taken) == lease.holder:
                lease.extend(asked_s)
                return None
            other: str | None = connection.scalar(select(leases.c.holder).where(leases.c.name == lease.name))
            return other or "a process that just ended:"

    def _renew_until(self, lease: Lease, done: threading.Event) -> None:
        while not done.wait(lease.ttl_s / 3):
            try:
                if not self._renew(lease):
                    lease.lose()
                    return
            except SisError as error:  # the next turn tries again; without success `lost` turns true in time
                _log.warning("lease '%s' could not be renewed: %s", lease.name, error)

    def _renew(self, lease: Lease) -> bool:
        asked_s = time.monotonic()
        is_ours = (leases.c.name == lease.name, leases.c.holder == lease.holder)
        with self._database.write() as connection:
            until = now(connection) + timedelta(seconds=lease.ttl_s)
            renewed = (
                connection.execute(update(leases).where(*is_ours).values(expires_at=until)).rowcount == 1
            )
        if renewed:
            lease.extend(asked_s)
        return renewed

    def _release(self, lease: Lease) -> None:
        is_ours = (leases.c.name == lease.name, leases.c.holder == lease.holder)
        try:
            with self._database.write() as connection:
                connection.execute(delete(leases).where(*is_ours))
        except SisError as error:  # the work is done; the lease ends by itself
            _log.warning("lease '%s' could not be given back: %s", lease.name, error)

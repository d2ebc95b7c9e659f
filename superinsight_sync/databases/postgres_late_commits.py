"""Rows that are committed late: how far back the next incremental read of PostgreSQL has to reach.

A row gets its cursor value before its transaction commits, so a read may see a later value and not the earlier one.
What cannot be visible yet is bounded by the transactions that run while the read's snapshot is taken.

By time: such a row's cursor was set by this server's clock after its transaction began. The *hold* is how long the
oldest of them had been running when the snapshot was taken; the next read begins that much before the greatest
cursor. It is a duration, since a timestamp without zone may be in any zone.

By version (a sequence): a value at or below the greatest one seen may still be missing if its transaction ran then.
The greatest is final once every transaction that ran when the read's snapshot existed has ended. Those that had an id
are told by a later snapshot's xmin (PostgreSQL documentation, "System Information Functions": all transaction ids less
than xmin are committed or rolled back). Which ids had been given out, `pg_locks` tells: a snapshot's xmax is one past
the highest that has *ended*, and a transaction beyond it may run. Those that had none yet, as it is given at the first
write and a sequence may be asked before, are told by their virtual ids.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import nearest_of
from superinsight_sync.model.read import ReadRequest

UNKNOWN_HOLD = timedelta(minutes=10)
"""For transactions whose start this account may not see, on a standby, and for prepared transactions."""
_CHAIN = 64

_RUNNING = """
    SELECT clock_timestamp(), pg_is_in_recovery(),
      (SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
      (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
         AND query = '<insufficient privilege>'),
      (SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database()),
      pg_snapshot_xmin(pg_current_snapshot())::text::bigint"""
_RUNNING_IDS = """
    SELECT virtualtransaction, transactionid::text::bigint FROM pg_locks l
    WHERE locktype IN ('virtualxid', 'transactionid') AND mode = 'ExclusiveLock' AND granted
      AND (pid IS NULL OR pid <> ALL(%s) AND NOT EXISTS (
        SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.datname <> current_database()))"""
_SIGHT = """SELECT pg_is_in_recovery(), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
    OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"""
_NOW = "SELECT clock_timestamp(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


def blindness(db: psycopg.Connection[Any]) -> str | None:
    """Why increments have to reach back by a fixed time, for the connection test; None if they need not."""
    found = db.execute(_SIGHT).fetchone()
    assert found is not None
    recovery, sees = found
    if recovery:
        return "a standby does not tell what runs on its primary: increments reach back 10 minutes"
    if not sees:
        return (
            "the account may not see when others' transactions began: increments by time reach back 10 minutes;"
            " grant it pg_read_all_stats to make them exact"
        )
    return None


@dataclass(frozen=True)
class _Pending:
    """A version that is not final yet.

    Attributes:
        below: the transactions with ids below this that ran have to end.
        virtual: and those, which had no id.
        at_us: since when, in microseconds since 1970 by the server's clock.
    """

    below: int
    version: int
    virtual: Collection[str] = ()
    at_us: int = 0

    def kept(self) -> list[Any]:
        """As it goes into a position."""
        return [self.below, self.version, sorted(self.virtual), self.at_us]


class Lateness:
    """What one incremental read knows of transactions that ran beside it. Does nothing for other reads.

    Made before the read's snapshot; then `snapshot_taken` if it `watches`, `see` for each batch, `finish` at the end,
    which fills `next_position`.

    Attributes:
        request: the read as it has to be made: reaching back by what the last one left.
    """

    def __init__(self, db: psycopg.Connection[Any], request: ReadRequest) -> None:
        sync = request.stream.sync
        self._request = request
        self._by = sync.by if sync.mode == "incremental" and sync.cursor and not request.window else None
        if request.columns is not None or self._by not in ("timestamp", "version"):
            self._by = None
        self._cursor = sync.cursor or ""
        self._greatest: Any = None
        self.request = request
        if self._by is None:
            return
        db.commit()
        found = db.execute(_RUNNING).fetchone()
        db.commit()
        assert found is not None
        self._at, self._standby, oldest, hidden, self._prepared, xmin = found
        self._xmin = int(xmin)
        self._oldest = min(t for t in (oldest, self._at) if t is not None)
        if self._standby or hidden:
            self._oldest = min(self._oldest, self._at - UNKNOWN_HOLD)
        if self._prepared is not None:
            self._oldest = min(self._oldest, self._prepared - UNKNOWN_HOLD)
        self._ran_before = _running(db, ())[0] if self._by == "version" else frozenset()
        self.request = self._reaching_back()

    def _reaching_back(self) -> ReadRequest:
        before, after = dict(self._request.position or {}), self._request.after
        if after is None or not before or (self._by == "version" and not isinstance(after, int)):
            return self._request
        if self._by == "version":
            safe = before.get("safe")
            after = None if safe is None else min(after, safe)
        elif isinstance(after, date):
            hold = timedelta(microseconds=int(before.get("hold_us", 0)))
            whole_days = not isinstance(after, datetime)
            after -= max(hold, timedelta(days=1)) if whole_days and hold else hold
        return replace(self._request, after=after)

    @property
    def watches(self) -> bool:
        """Whether `snapshot_taken` has to be called."""
        return self._by is not None

    def snapshot_taken(self, db: psycopg.Connection[Any], readers: Collection[int]) -> None:
        """Called when the read's snapshot exists.

        Args:
            db: another connection than those that read.
            readers: the backends that read it.
        """
        # Who runs comes before the snapshot: a transaction that gets its id in between is in the first without one.
        _, without_id, ids = _running(db, [*readers, db.info.backend_pid])
        found = db.execute(_NOW).fetchone()
        db.commit()
        assert found is not None
        now, xmax = found
        self._hold = now - self._oldest
        self._below = max([xmax, *(_whole_id(i, xmax) + 1 for i in ids)])
        self._without_id = without_id

    def see(self, batch: pa.RecordBatch) -> None:
        """Takes a batch's cursor values into account."""
        if self._by == "version" and pa.types.is_integer(batch.schema.field(self._cursor).type):
            greatest = nearest_of(pc.max(batch.column(self._cursor)))
            if greatest is not None and (self._greatest is None or greatest > self._greatest):
                self._greatest = greatest

    def finish(self) -> None:
        """Leaves what the next read needs."""
        if self._by == "timestamp":
            self._request.next_position["hold_us"] = self._hold // timedelta(microseconds=1)
        elif self._by == "version":
            self._request.next_position.update(self._version_position())

    def _version_position(self) -> dict[str, Any]:
        before = dict(self._request.position or {})
        pending = [_Pending(*p) for p in before.get("chain", ())]
        if not before and self._greatest is None:
            return {}
        final = [p.version for p in pending if self._is_final(p)]
        left = [p for p in pending if not self._is_final(p)]
        if self._greatest is not None:
            at_us = int(self._at.timestamp() * 1_000_000)
            own = _Pending(self._below, int(self._greatest), self._without_id, at_us)
            if self._is_final(own) and not own.virtual:
                final, left = [*final, own.version], []
            else:
                left = [*(left[::2] if len(left) >= _CHAIN else left), own]
        known = [v for v in (before.get("safe"), *final) if v is not None]
        return {"safe": max(known) if known else None, "chain": [p.kept() for p in left]}

    def _is_final(self, pending: _Pending) -> bool:
        """Whether whoever could still have written up to the version had ended before this read's snapshot."""
        if self._standby and pending.at_us > (self._at - UNKNOWN_HOLD).timestamp() * 1_000_000:
            return False
        if pending.virtual and (self._prepared is not None or self._ran_before & set(pending.virtual)):
            return False  # a prepared transaction has lost its virtual id
        return pending.below <= self._xmin


def _running(
    db: psycopg.Connection[Any], own: Collection[int]
) -> tuple[frozenset[str], frozenset[str], list[int]]:
    """The virtual ids of the transactions that run now, those of them without an id, and the ids' low 32 bits.

    Args:
        own: backends that are left out.
    """
    found = db.execute(_RUNNING_IDS, [list(own)]).fetchall()
    with_id = {virtual for virtual, xid in found if xid is not None}
    virtual = frozenset(v for v, _ in found)
    return virtual, virtual - with_id, [xid for _, xid in found if xid is not None]


def _whole_id(low: int, near: int) -> int:
    """A transaction's whole id by its low 32 bits and another that is less than 2^31 away."""
    return near + (low - near + 2**31) % 2**32 - 2**31

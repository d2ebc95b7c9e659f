"""Rows that are committed late: how far back the next incremental read of PostgreSQL has to reach.

A row gets its cursor value before its transaction commits, so a read may see a later value and not the earlier one.
What cannot be visible yet is bounded by the transactions that run while the read's snapshot is taken.

By time: such a row's cursor was set by this server's clock after its transaction began. The *hold* is how long the
oldest of them had been running when the snapshot was taken; the next read begins that much before the greatest
cursor. It is a duration, since a timestamp without zone may be in any zone.

By version (a sequence): a value at or below the greatest one seen may still be missing if its transaction ran then.
It is final once every transaction that had begun then has ended: the snapshots' xmin tells (PostgreSQL documentation,
"System Information Functions": all transaction ids less than xmin are committed or rolled back).
"""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.sources.protocol import ReadRequest

UNKNOWN_HOLD = timedelta(minutes=10)
"""For transactions whose start this account may not see, on a standby, and for prepared transactions."""
_CHAIN = 64

_RUNNING = """
    SELECT clock_timestamp(), pg_is_in_recovery(),
      (SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
      (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
         AND query = '<insufficient privilege>'),
      (SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database()),
      pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"""
_SIGHT = """SELECT pg_is_in_recovery(), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
    OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"""
_NOW = """SELECT clock_timestamp(), pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint"""


def blindness(db: psycopg.Connection[Any]) -> str | None:
    """Why increments have to reach back by a fixed time, for the connection test; None if they need not."""
    found = db.execute(_SIGHT).fetchone()
    assert found is not None
    recovery, sees = found
    if recovery:
        return "a standby does not tell what runs on its primary: increments by time reach back 10 minutes"
    if not sees:
        return (
            "the account may not see when others' transactions began: increments by time reach back 10 minutes;"
            " grant it pg_read_all_stats to make them exact"
        )
    return None


class Lateness:
    """What one incremental read knows of transactions that ran beside it. Does nothing for other reads.

    Made before the read's snapshot; then `snapshot_taken`, `see` for each batch, `finish` at the end, which fills
    `next_position`.

    Attributes:
        request: the read as it has to be made: reaching back by what the last one left.
    """

    def __init__(self, db: psycopg.Connection[Any], request: ReadRequest) -> None:
        sync = request.stream.sync
        self._request, self._db = request, db
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
        self._at, recovery, oldest, hidden, prepared, self._xmin, self._xmax = found
        self._oldest = min(t for t in (oldest, self._at) if t is not None)
        if recovery or hidden:
            self._oldest = min(self._oldest, self._at - UNKNOWN_HOLD)
        if prepared is not None:
            self._oldest = min(self._oldest, prepared - UNKNOWN_HOLD)
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

    def snapshot_taken(self) -> None:
        """Called when the read's snapshot exists."""
        if self._by is None:
            return
        found = self._db.execute(_NOW).fetchone()
        self._db.commit()
        assert found is not None
        now, self._xmin_after, self._xmax_after = found
        self._hold = now - self._oldest

    def see(self, batch: pa.RecordBatch) -> None:
        """Takes a batch's cursor values into account."""
        if self._by == "version" and pa.types.is_integer(batch.schema.field(self._cursor).type):
            greatest = pc.max(batch.column(self._cursor)).as_py()
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
        chain = [(int(x), int(v)) for x, v in before.get("chain", ())]
        ended = [v for x, v in chain if x <= self._xmin]
        known = [v for v in (before.get("safe"), *ended) if v is not None]
        safe = max(known) if known else None
        chain = [(x, v) for x, v in chain if x > self._xmin]
        if not before and self._greatest is None:
            return {}
        if self._greatest is not None:
            greatest = int(self._greatest)
            if self._xmin == self._xmax_after:
                return {"safe": max(greatest, safe if safe is not None else greatest), "chain": []}
            if len(chain) >= _CHAIN:
                chain = chain[::2]
            chain.append((self._xmax_after, greatest))
        return {"safe": safe, "chain": chain}

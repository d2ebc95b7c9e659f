"""How many records were set aside, by load and rule. The records themselves are in the lake."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import delete, select

from superinsight_sync.core.clock import utc_now
from superinsight_sync.model.tables import TableRef
from superinsight_sync.state.database import Database, matching, upsert
from superinsight_sync.state.tables import quarantine_counts


@dataclass(frozen=True)
class QuarantineCount:
    """Records of one load and partition (``""`` is the whole stream) that broke one rule."""

    tenant: str
    source: str
    stream: str
    load_id: str
    partition: str
    rule: str
    count: int
    at: datetime


class QuarantineFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    tenant: str
    source: str
    stream: str
    load_id: str
    partition: str
    rule: str


class Quarantine:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, table: TableRef, load_id: str, counts: Mapping[str, int], partition: str = "") -> None:
        """Keeps a load's counts by rule; the same load again replaces its counts."""
        at = utc_now()
        rows = [
            {
                "tenant": table.tenant,
                "source": table.source,
                "stream": table.stream,
                "load_id": load_id,
                "partition": partition,
                "rule": rule,
                "count": count,
                "at": at,
            }
            for rule, count in sorted(counts.items())
        ]
        with self._database.write() as connection:
            upsert(connection, quarantine_counts, rows)

    def forget(self, table: TableRef) -> int:
        """Takes out the counts of a stream; how many."""
        q = quarantine_counts
        where: QuarantineFilter = {"tenant": table.tenant, "source": table.source, "stream": table.stream}
        with self._database.write() as connection:
            return connection.execute(delete(q).where(*matching(q, where))).rowcount

    def list(self, limit: int = 1_000, **where: Unpack[QuarantineFilter]) -> tuple[QuarantineCount, ...]:
        """Those that match, newest first."""
        q = quarantine_counts
        statement = select(q).where(*matching(q, where)).order_by(q.c.at.desc(), q.c.rule).limit(limit)
        with self._database.read() as connection:
            return tuple(QuarantineCount(**row) for row in connection.execute(statement).mappings())

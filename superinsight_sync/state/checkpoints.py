"""A mirror of the lake's checkpoints, to list and look at. The lake's own are the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

from sqlalchemy import RowMapping, delete, select

from superinsight_sync.model.tables import Checkpoint, Stage, TableRef
from superinsight_sync.state.database import Database, matching, upsert
from superinsight_sync.state.tables import checkpoints


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint, and the table and partition (``""`` is the whole stream) it belongs to."""

    table: TableRef
    partition: str
    checkpoint: Checkpoint


class CheckpointFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    tenant: str
    source: str
    stream: str
    stage: Stage
    partition: str


class Checkpoints:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, table: TableRef, partition: str, checkpoint: Checkpoint | None) -> None:
        """Mirrors one checkpoint; None changes nothing. An older one never replaces a newer one."""
        if checkpoint is not None:
            self.record_all(table, {partition: checkpoint})

    def record_all(self, table: TableRef, kept: Mapping[str, Checkpoint]) -> None:
        """Mirrors what a commit carried, by partition, in one transaction."""
        rows = [
            {
                "tenant": table.tenant,
                "source": table.source,
                "stream": table.stream,
                "stage": table.stage,
                "partition": partition,
                "cursor": c.cursor,
                "token": c.token,
                "detail": dict(c.detail),
                "load_id": c.load_id,
                "at": c.at,
            }
            for partition, c in sorted(kept.items())
        ]
        with self._database.write() as connection:
            upsert(connection, checkpoints, rows, newer="at")

    def list(self, **where: Unpack[CheckpointFilter]) -> tuple[KeptCheckpoint, ...]:
        """Those that match, ordered by table and partition."""
        statement = (
            select(checkpoints)
            .where(*matching(checkpoints, where))
            .order_by(*checkpoints.primary_key.columns)
        )
        with self._database.read() as connection:
            return tuple(_kept(row) for row in connection.execute(statement).mappings())

    def forget(self, table: TableRef, partition: str | None = None) -> int:
        """Takes a partition's, or all of the table's, out of the mirror; how many."""
        where: CheckpointFilter = {
            "tenant": table.tenant,
            "source": table.source,
            "stream": table.stream,
            "stage": table.stage,
        }
        if partition is not None:
            where["partition"] = partition
        with self._database.write() as connection:
            return connection.execute(delete(checkpoints).where(*matching(checkpoints, where))).rowcount


def _kept(row: RowMapping) -> KeptCheckpoint:
    table = TableRef(row["tenant"], row["source"], row["stream"], row["stage"])
    checkpoint = Checkpoint(
        load_id=row["load_id"], at=row["at"], cursor=row["cursor"], token=row["token"], detail=row["detail"]
    )
    return KeptCheckpoint(table, row["partition"], checkpoint)

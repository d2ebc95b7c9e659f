"""The Store protocol: where rows land. Every save strategy implements it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from superinsight_sync.model.tables import Checkpoint, Commit, CommitResult, TableRef

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

ReadBatches = Callable[[], "pa.RecordBatchReader"]
"""Opens the rows to land. It is called again when a commit lost a race and has to be done anew."""


@dataclass(frozen=True)
class TableVersion:
    """One entry of a table's history."""

    version: int
    at: datetime
    operation: str
    load_id: str | None
    rows: int | None
    metadata: Mapping[str, str]


class Store(Protocol):
    """Tables with atomic, idempotent commits. Rows and checkpoints become visible together or not at all.

    Every method may raise TransientError (storage or a lost race), AccessError (credentials) and ConfigError
    (a schema the table cannot take). A write whose `commit.load_id` already landed returns the
    earlier result with ``repeated=True`` and writes nothing. Rows arrive with their system columns.
    """

    def replace(
        self, table: TableRef, read: ReadBatches, commit: Commit, *, partitions: Sequence[str] | None = None
    ) -> CommitResult:
        """Replaces the whole table, or exactly the rows of the named partitions (`_sis_partition`).

        A row outside the named partitions raises DataError and nothing is written. An empty read empties
        the partitions. New columns are added; a column the read lacks stays, NULL for the new rows
        (a whole-table replace takes the read's schema).
        """
        ...

    def append(self, table: TableRef, read: ReadBatches, commit: Commit) -> CommitResult:
        """Adds rows. An empty read still commits the checkpoint."""
        ...

    def merge(
        self,
        table: TableRef,
        read: ReadBatches,
        commit: Commit,
        *,
        keys: Sequence[str],
        newest_by: str | None = None,
    ) -> CommitResult:
        """Updates rows with equal keys whose `_sis_hash` differs, inserts the others. NULL keys match NULL.

        Of several rows with one key in the read the one with the greatest `newest_by` wins, a NULL being less than
        any value, and of several of those the last one; if the read has no such column, the last one.
        """
        ...

    def scan(
        self,
        table: TableRef,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        load_ids: Sequence[str] | None = None,
    ) -> "pa.RecordBatchReader":
        """The rows of a version (default: newest), as a stream. Raises ConfigError if there is no table."""
        ...

    def dataset(self, table: TableRef, *, version: int | None = None) -> "pyarrow.dataset.Dataset":
        """The same for engines that push projections and filters down (DuckDB, polars)."""
        ...

    def exists(self, table: TableRef) -> bool: ...

    def schema(self, table: TableRef) -> "pa.Schema": ...

    def version(self, table: TableRef) -> int | None:
        """The newest version's number; None if there is no table."""
        ...

    def count(self, table: TableRef, *, partitions: Sequence[str] | None = None) -> int:
        """Rows of the newest version; 0 if there is no table."""
        ...

    def checkpoint(self, table: TableRef, partition: str = "") -> Checkpoint | None:
        """The stream's (or the partition's) checkpoint in the newest version."""
        ...

    def set_checkpoint(self, table: TableRef, checkpoint: Checkpoint | None, partition: str = "") -> None:
        """Overwrites (or with None removes) a checkpoint in a commit of its own: `sis state set|reset`."""
        ...

    def checkpoints(self, table: TableRef) -> Mapping[str, Checkpoint]:
        """All checkpoints of a table by partition key."""
        ...

    def history(self, table: TableRef, limit: int = 100) -> list[TableVersion]:
        """Newest first."""
        ...

    def loads_since(self, table: TableRef, version: int) -> list[str] | None:
        """Load ids committed after `version`, oldest first; None if that history is gone or rows
        were replaced or restored since, so that only reading everything is right."""
        ...

    def rollback(self, table: TableRef, load_id: str) -> int:
        """Restores the state from before the load. Returns the new version.

        Raises ConfigError if the load is unknown, or is not the newest one that wrote rows (later loads
        would be lost; name them).
        """
        ...

    def tables(self, tenant: str | None = None) -> Iterator[TableRef]:
        """Every table there is."""
        ...

    def maintain(self, table: TableRef, *, retention: timedelta) -> Mapping[str, int]:
        """Compacts small files and removes what is older than `retention`. Returns counts by action."""
        ...

    def expire(self, table: TableRef, *, older_than: datetime) -> int:
        """Deletes rows extracted before `older_than`; the number of rows deleted."""
        ...

    def drop(self, table: TableRef) -> None:
        """Removes the table and its files. No error if there is none."""
        ...

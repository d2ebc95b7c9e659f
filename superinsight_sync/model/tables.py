"""Which table, and what a commit to it carries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from superinsight_sync.model.written import RESERVED_PREFIX

Stage = Literal["raw", "refined", "quarantine", "unreadable", "changes"]
"""`quarantine` holds records that refine set aside, `unreadable` those that could not even be read as records,
`changes` what a captured stream's log told, event after event; its `raw` is the state that they made."""

LOAD_ID = "_sis_load_id"
EXTRACTED_AT = "_sis_extracted_at"
HASH = "_sis_hash"
PARTITION = "_sis_partition"
DELETED_AT = "_sis_deleted_at"
"""Only in streams with `deletes: soft`: when a record was first found gone from the source."""
OP = "_sis_op"
"""Of a change: insert, update, delete, truncate, snapshot (the record as a snapshot found it), or snapshot_end."""
SEQ = "_sis_seq"
"""The number of a change among those of its stream, in the log's order. In a captured raw table: of the last one."""
POSITION = "_sis_position"
"""Where in the source's log a change stands; the texts of one log sort as it does."""
COMMITTED_AT = "_sis_committed_at"
"""When the source committed a change, by its own clock."""
UNCHANGED = "_sis_unchanged"
"""Names of columns that a change did not touch and whose values the log did not repeat."""
SYSTEM_COLUMNS = (LOAD_ID, EXTRACTED_AT, HASH, PARTITION)


def is_system(column: str) -> bool:
    """Whether a column's name is one of ours, in any case: engines do not tell cases apart."""
    return column[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX


@dataclass(frozen=True, order=True)
class TableRef:
    """A stream's table at one stage: ``<lake>/<tenant>/<source>/<stream>/<stage>``."""

    tenant: str
    source: str
    stream: str
    stage: Stage

    @property
    def path(self) -> str:
        return f"{self.tenant}/{self.source}/{self.stream}/{self.stage}"

    def __str__(self) -> str:
        return self.path

    def at(self, stage: Stage) -> "TableRef":
        """The same stream's table at another stage."""
        return TableRef(self.tenant, self.source, self.stream, stage)


@dataclass(frozen=True)
class Checkpoint:
    """How far a stream (or one of its partitions) has landed; committed with the rows.

    Attributes:
        cursor: the greatest cursor value landed: datetime, int, Decimal, str or None.
        token: what the source's data looked like (`Source.token`) when it was read; equal means unchanged.
        load_id: the load that wrote it.
        at: when, aware UTC.
        detail: anything a kind needs to go on, JSON-like.
    """

    load_id: str
    at: datetime
    cursor: Any = None
    token: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """What is committed together with rows.

    Attributes:
        load_id: unique per attempt to land something; repeating a commit with the same id changes nothing.
        checkpoints: by partition key; the key ``""`` is the stream's own.
        metadata: short texts for people (run id, declaration fingerprint), no values of customers.
    """

    load_id: str
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CommitResult:
    """What a commit did. `version` grows by one per commit; rows and bytes are those written."""

    version: int
    rows: int
    size_bytes: int
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    repeated: bool = False

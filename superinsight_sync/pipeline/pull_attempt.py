"""What one attempt of a pull is about: whose rows, into which table, from where on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from superinsight_sync.core.clock import utc_now
from superinsight_sync.lake.store import ReadBatches, Store
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.tables import Checkpoint, Commit, CommitResult, TableRef
from superinsight_sync.pipeline.attended import Motion
from superinsight_sync.pipeline.contract import Conformer
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.landed_as import HOW, how_it_lands
from superinsight_sync.pipeline.unreadable import keep_unreadable
from superinsight_sync.sources.protocol import Source
from superinsight_sync.state.leases import Lease


@dataclass(frozen=True)
class PullAttempt:
    """One attempt's givens.

    Attributes:
        held: the raw table's schema at the start; None if there is no table. points: its checkpoints.
    """

    engine: Engine
    source: SourceSpec
    stream: StreamSpec
    partitions: tuple[str, ...]
    store: Store
    table: TableRef
    connection: Source
    load_id: str
    lease: Lease
    motion: Motion
    held: pa.Schema | None = None
    points: Mapping[str, Checkpoint] = field(default_factory=dict)
    conformer: Conformer | None = None

    def reading(self, request: ReadRequest) -> Reading:
        def progress(rows: int) -> None:
            self.engine.progress(f"{self.source.name}/{self.stream.name}", rows)

        self.motion.on_rows = progress
        return Reading(
            self.connection,
            request,
            load_id=self.load_id,
            conformer=self.conformer,
            keep_unreadable=lambda found: keep_unreadable(
                self.engine, self.table, found, load_id=self.load_id, anew=self.replaces
            ),
            motion=self.motion,
        )

    def merge(self, read: ReadBatches, commit: Commit) -> CommitResult:
        keys, cursor = self.stream.primary_key, self.stream.sync.cursor
        return self.store.merge(self.table, read, commit, keys=keys, newest_by=cursor)

    @property
    def replaces(self) -> bool:
        """Whether the whole table is replaced."""
        return self.stream.disposition == "replace" and not self.partitions

    def commit(self, position: Any = None, warned: str | None = None, **checkpoint: Any) -> Commit:
        drift = self.conformer.drift.mark if self.conformer else None
        detail = {"position": position, "drift": drift, "warned": warned, HOW: how_it_lands(self.stream)}
        kept = {k: v for k, v in detail.items() if v}
        point = Checkpoint(load_id=self.load_id, at=utc_now(), detail=kept, **checkpoint)
        return Commit(
            self.load_id,
            checkpoints=dict.fromkeys(self.partitions or ("",), point),
            metadata={"run_id": self.engine.run_id, "verb": "pull"},
        )

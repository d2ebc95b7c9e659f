"""What the verbs work with: settings, the lake, our state. Made once per process and run, opened when needed."""

import logging
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.lake.blob_opening import open_blobs
from superinsight_sync.lake.blobs import BlobStore
from superinsight_sync.lake.opening import (
    open_change_log,
    open_change_merge,
    open_change_view,
    open_store,
)
from superinsight_sync.lake.store import Store
from superinsight_sync.model.declaration import SaveSpec, SourceSpec, StreamSpec
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.model.tables import SYSTEM_COLUMNS, Stage, TableRef
from superinsight_sync.security.secrets import resolve

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.lake.change_log import ChangeLog
    from superinsight_sync.lake.change_merge import ChangeMerge
    from superinsight_sync.lake.change_view import ChangeView
    from superinsight_sync.security.audit_signing import Checkpoints
    from superinsight_sync.security.mask_keys import Masking
    from superinsight_sync.security.sensitive_file import SensitiveFile
    from superinsight_sync.state import State
    from superinsight_sync.state.inbox import Inbox

_log = logging.getLogger(__name__)

Progress = Callable[[str, int], None]
"""Called with ``<source>/<stream>`` and the number of rows of each batch as it passes."""


def _silent(_stream: str, _rows: int) -> None:
    """Shows nothing."""


@dataclass
class Engine:
    """The rooms the verbs use.

    Args:
        settings: where things are.
        run_id: the run that everything done through this engine belongs to.
        progress: told of each batch that is read.
    """

    settings: Settings
    run_id: str
    progress: Progress = _silent
    stop: StopSignal = field(default_factory=StopSignal)
    """Set, it ends everything that goes on through this engine."""

    @cached_property
    def lake(self) -> Store:
        """The lake itself, whatever a stream's save strategy says."""
        return open_store(self.settings.lake_url, self.settings.scratch_dir)

    @cached_property
    def blobs(self) -> BlobStore:
        return open_blobs(self.settings.lake_url)

    @cached_property
    def change_log(self) -> "ChangeLog":
        """Where changes land that captured streams' logs tell."""
        return open_change_log(self.settings.lake_url)

    @cached_property
    def change_merge(self) -> "ChangeMerge":
        """What makes their raw tables of them."""
        settings = self.settings
        return open_change_merge(settings.lake_url, settings.scratch_dir, settings.memory_limit_bytes)

    @cached_property
    def change_view(self) -> "ChangeView":
        """Their raw tables with what has landed since they were merged."""
        settings = self.settings
        return open_change_view(settings.lake_url, settings.scratch_dir, settings.memory_limit_bytes)

    @cached_property
    def state(self) -> "State":
        from superinsight_sync.state import open_state

        state = open_state(self.settings.database_url)
        try:
            state.executions.sweep_orphans(self._alive_ttl_s)
            state.audit.settle(self._alive_ttl_s)
        except SisError as error:  # whoever works next does it
            _log.warning("what ended without a word is not told: %s", error)
        return state

    @property
    def _alive_ttl_s(self) -> float:
        """Of what was killed, it is over no later than the lease of its work, which is renewed thrice in its time."""
        return self.settings.lease_ttl_s * 2 / 3

    def alive(self, execution: int) -> AbstractContextManager[object]:
        """Says in our state that the process of an execution lives, for the block."""
        from superinsight_sync.state.executions import lease_of

        return self.state.leases.hold(lease_of(execution), self._alive_ttl_s)

    def end_orphans(self) -> int:
        """Marks the executions of dead processes as failed; how many. Their open intents get an outcome too."""
        self.state.audit.settle(self._alive_ttl_s)
        return self.state.executions.sweep_orphans(self._alive_ttl_s)

    @cached_property
    def audit_checkpoints(self) -> "Checkpoints":
        """Where the ends of the audit log's chains are signed."""
        from superinsight_sync.security.audit_signing import Checkpoints

        return Checkpoints(*self.settings.audit_places)

    @cached_property
    def sensitive(self) -> "SensitiveFile":
        """The project's keys of masks and detectors."""
        from superinsight_sync.security.sensitive_file import load_sensitive_file

        return load_sensitive_file(self.settings.project_dir)

    def masking(self, tenant: str) -> "Masking":
        """What masks of a tenant's rows work with."""
        keys = self.sensitive.masking(tenant)
        return replace(keys, vault=lambda texts: self.state.mask_tokens.tokens(keys, texts))

    @cached_property
    def inbox(self) -> "Inbox":
        """What was pushed."""
        from superinsight_sync.state.inbox import Inbox

        return Inbox(self.state.database, self.settings.landing_dir)

    def store(self, source: SourceSpec, stream: StreamSpec, stage: Stage) -> Store:
        """The store that the stream's save plan names for a stage. Quarantine is always in the lake."""
        save = stream.saves.raw if stage == "raw" else stream.saves.refined
        if stage == "quarantine" or save.strategy == "persistent":
            return self.lake
        if save.strategy == "database":
            return self._database(source, stream, save)
        from superinsight_sync.lake.memory import MemoryStore

        memory = MemoryStore.for_run(self.run_id, save.max_memory)
        if save.strategy == "memory":
            return memory
        from superinsight_sync.lake.hybrid import HybridStore

        return HybridStore(memory, self.lake, threshold_bytes=save.max_memory)

    def _database(self, source: SourceSpec, stream: StreamSpec, save: SaveSpec) -> Store:
        from superinsight_sync.lake.database import DatabaseStore

        return DatabaseStore(
            resolve(save.dsn or ""),
            tables={(source.name, stream.name): save.table} if save.table else {},
            scratch_dir=self.settings.scratch_dir,
        )

    def release(self) -> None:
        """Frees what was kept in memory for this run."""
        from superinsight_sync.lake.memory import release_run

        release_run(self.run_id)


def open_engine(run_id: str | None = None, settings: Settings | None = None) -> Engine:
    """The engine of this process's settings; a run id is made up if none is given."""
    return Engine(settings or load_settings(), run_id or f"local-{new_load_id()}")


def new_load_id() -> str:
    """Unique and sortable by time: ``20260131T235959-1a2b3c4d``."""
    return f"{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def columns_of(schema: "pa.Schema") -> tuple[ColumnInfo, ...]:
    """A table's data columns as people see them."""
    return tuple(
        ColumnInfo(f.name, str(f.type), nullable=f.nullable) for f in schema if f.name not in SYSTEM_COLUMNS
    )


def table_of(source: SourceSpec, stream: StreamSpec, stage: Stage) -> TableRef:
    """The stream's table at a stage."""
    return TableRef(source.tenant, source.name, stream.name, stage)

"""What a captured stream's log told, kept event after event; each commit carries how far it came.

Beside a captured stream's raw table lies its change log. Only one writer can go on with it: a commit names the load
that it follows, and fails if another one came in between, so that a writer that was taken for dead does no harm.
"""

from collections import defaultdict, deque
from collections.abc import Mapping

import pyarrow as pa

from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.blob_opening import open_blobs
from superinsight_sync.lake.blobs import BlobStore
from superinsight_sync.lake.delta_compaction import tidy
from superinsight_sync.lake.delta_errors import storage_errors, until_committed
from superinsight_sync.lake.delta_log import CommitLog
from superinsight_sync.lake.delta_table import Address, arrow_schema
from superinsight_sync.lake.delta_write import commit_files, new_files
from superinsight_sync.lake.landing import Landing, fitted_schema
from superinsight_sync.lake.locations import storage_options, table_address
from superinsight_sync.lake.store import ReadBatches
from superinsight_sync.lake.types import storable_schema
from superinsight_sync.model.tables import SEQ, Commit, CommitResult, TableRef

_OLD_CHECKPOINTS = 32
_TIDY_EVERY = 20
"""Commits; looking at all files each time would cost more than a commit of a few changes does."""
_PROPERTIES = {"delta.dataSkippingStatsColumns": SEQ, "delta.logRetentionDuration": "interval 2 days"}
"""Only the number of a change is ever looked up. Commits come every second: their log is kept for less long."""


class ChangeLog:
    """The change logs of a lake.

    Args:
        root_url: a local path or ``s3://bucket/prefix``.
    """

    def __init__(self, root_url: str) -> None:
        self._root_url = root_url
        self._options: Mapping[str, str] = storage_options(root_url)
        self._blobs: BlobStore = open_blobs(root_url, self._options)
        self._old: dict[str, deque[int]] = defaultdict(deque)

    def append(
        self, table: TableRef, read: ReadBatches, commit: Commit, *, following: str | None
    ) -> CommitResult:
        """Adds changes, and the checkpoint, as the next load after `following` (None: as the first).

        Raises TransientError if another load came in between, and what a store's `append` raises.
        """
        address = Address(table_address(self._root_url, table.path), self._options, str(table))
        log = CommitLog(self._blobs, table.path)

        def attempt(landing: Landing) -> CommitResult:
            incoming = landing.open()
            opened = address.open() or address.create(storable_schema(incoming), _PROPERTIES)
            last, pointer = log.checkpoint(opened, ""), log.pointer(opened)
            if last is not None and last.load_id == commit.load_id:
                return CommitResult(opened.version(), 0, 0, repeated=True)
            if (last.load_id if last else None) != following:
                raise TransientError(
                    "another process lands changes of this stream too",
                    where=str(table),
                    hint="Run one `sis capture run` per project; this one begins again where the other stopped",
                )
            schema: pa.Schema = fitted_schema(incoming, arrow_schema(opened), str(table))
            with storage_errors(str(table)):
                made = new_files(opened, self._blobs, table.path, schema)
                files = landing.files(made, where=str(table))
                properties = log.properties("append", commit, rows=landing.rows, serial=True, marked=False)
                commit_files(opened, files, properties)
            landing.keep_files()
            self._forget_old(log, pointer)
            if opened.version() % _TIDY_EVERY == 0:
                tidy(opened, log, str(table))
            return CommitResult(opened.version(), landing.rows, landing.size_bytes)

        with Landing(read) as landing:
            return until_committed(lambda: attempt(landing))

    def _forget_old(self, log: CommitLog, pointer: int) -> None:
        """Deletes checkpoints that many commits have followed; who reads a log reads its newest."""
        old = self._old[log.path]
        old.append(pointer)
        if len(old) > _OLD_CHECKPOINTS:
            log.forget(old.popleft())

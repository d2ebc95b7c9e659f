"""Compaction of a Delta table: by upkeep, and after a commit that leaves many small files.

Delta lets two compactions of the same files both commit, and every row is there twice: it takes what the first one
did for a change of places alone. So whoever compacts claims the table first, in a commit that fails if any other came
in between, and a commit after the compaction gives the claim back. A claim whose owner was killed holds for two hours;
who takes it over changes a property of the table first, so that the commit of an owner that lives after all fails.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction

from superinsight_sync.core.arrow_values import number
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import SisError
from superinsight_sync.lake.delta_errors import LostRaceError, storage_errors
from superinsight_sync.lake.delta_log import AFTER_COMMIT, MAINTAIN, VERB_KEY, CommitLog
from superinsight_sync.lake.delta_write import REWRITING, commit_nothing
from superinsight_sync.model.tables import PARTITION

_log = logging.getLogger(__name__)
_MOST_SMALL_FILES = 50
_SMALL_FILE_BYTES = 16 << 20
"""A commit that leaves more small files than can be joined compacts them. Larger files are left to upkeep, so that
what a commit adds to its own work is bounded, however large the table."""
_CLAIM_APP = "sis.compaction"
_CLAIM_PROPERTY = "sis.compaction_taken_over"
_CLAIM_TIME = timedelta(hours=2)
_FREE = 0
_MAINTAIN = {VERB_KEY: MAINTAIN}


def tidy(table: DeltaTable, log: CommitLog, name: str) -> None:
    """Compacts what small commits left, once they are many, and trims the log. What stands in the way, such as another
    writer, leaves it for the next commit: the rows have landed."""
    try:
        with storage_errors(name):
            log.trim(table.version())
            if _spare_files(table) > _MOST_SMALL_FILES:
                compact(table, name, target_bytes=_SMALL_FILE_BYTES)
    except SisError as error:
        _log.info("%s: small files are left for the next commit: %s", name, error)


def compact(table: DeltaTable, name: str, *, target_bytes: int | None = None) -> Mapping[str, int]:
    """Joins files smaller than `target_bytes`, or than Delta's own target.

    Returns counts by action. Raises LostRaceError if another writer or compaction is in the way.
    """
    with storage_errors(name):
        _claim(table, name)
        try:
            done = table.optimize.compact(
                target_size=target_bytes,
                max_concurrent_tasks=1,
                writer_properties=REWRITING,
                commit_properties=CommitProperties(_MAINTAIN),
                post_commithook_properties=AFTER_COMMIT,
            )
        finally:
            commit_nothing(table, _claimed(_FREE))
    return {"files_compacted": int(done["numFilesRemoved"]), "files_written": int(done["numFilesAdded"])}


def _claim(table: DeltaTable, name: str) -> None:
    held_until_ms = table.transaction_version(_CLAIM_APP) or _FREE
    now_ms = int(utc_now().timestamp() * 1000)
    if held_until_ms > now_ms:
        raise LostRaceError("another compaction is going on", where=name)
    if held_until_ms != _FREE:
        table.alter.set_table_properties({_CLAIM_PROPERTY: str(now_ms)}, raise_if_not_exists=False)
    until_ms = now_ms + int(_CLAIM_TIME.total_seconds() * 1000)
    commit_nothing(table, _claimed(until_ms, serial=True))


def _claimed(until_ms: int, *, serial: bool = False) -> CommitProperties:
    return CommitProperties(_MAINTAIN, 0 if serial else None, [Transaction(_CLAIM_APP, until_ms)])


def _spare_files(table: DeltaTable) -> int:
    """How many small files there are, without the one that each partition keeps."""
    files: pa.Table = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
    small: pa.Table = files.filter(pc.less(files["size_bytes"], number(_SMALL_FILE_BYTES, pa.int64())))
    if PARTITION not in table.metadata().partition_columns:
        return int(small.num_rows) - 1
    return int(small.num_rows) - len(small[f"partition.{PARTITION}"].unique())

"""What keeps a Delta table small and honest: history, rollback, retention, compaction."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import get_args

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.delta_compaction import compact
from superinsight_sync.lake.delta_errors import LostRaceError, storage_errors
from superinsight_sync.lake.delta_log import (
    COLUMNS,
    HASH_PROPERTY,
    MAINTAIN,
    ROLLED_BACK_KEY,
    VERB_KEY,
    CommitLog,
    versions,
)
from superinsight_sync.lake.delta_table import Address
from superinsight_sync.lake.loads import loads_in
from superinsight_sync.lake.locations import filesystem
from superinsight_sync.lake.store import TableVersion
from superinsight_sync.model.tables import EXTRACTED_AT, Stage, TableRef

_LANDING = ("append", "merge", "replace")
_ORPHAN_AGE = timedelta(days=1)
"""Files in no commit may belong to a commit under way; older ones cannot."""


def loads_since(table: DeltaTable, version: int) -> list[str] | None:
    """See `Store.loads_since`. Maintenance and checkpoint commits in between do not matter."""
    newest = table.version()
    if version >= newest:
        return []
    entries = versions(table, newest - version)
    if [e.version for e in entries] != list(range(newest, version, -1)):
        return None
    return loads_in(e for e in entries if e.operation not in (MAINTAIN, COLUMNS))


def rollback(address: Address, log: CommitLog, load_id: str) -> int:
    """Restores rows and checkpoints from before a load; see `Store.rollback`.

    Raises LostRaceError if another commit came in between.
    """
    table = address.opened()
    entries = versions(table, None)
    version = _version_of(entries, load_id, address.name)
    prepared = {e.version for e in entries if e.operation == COLUMNS}
    back_to = next(v for v in range(version - 1, -1, -1) if v not in prepared)
    before = address.open(back_to)
    if before is None:
        raise _gone(address.name, load_id)
    marks = log.undone(before, version, table.version(), load_id)
    properties = CommitProperties({VERB_KEY: "rollback", ROLLED_BACK_KEY: load_id}, 0, marks)
    with storage_errors(address.name):
        try:
            table.restore(back_to, commit_properties=properties)
        except CommitFailedError:
            raise
        except DeltaError as error:
            raise _gone(address.name, load_id) from error
    opened = address.opened()
    return opened.version()


def _version_of(entries: Sequence[TableVersion], load_id: str, name: str) -> int:
    undone = {
        e.metadata[ROLLED_BACK_KEY]: e.version for e in reversed(entries) if ROLLED_BACK_KEY in e.metadata
    }
    landings = [e for e in entries if e.operation in _LANDING and e.load_id]
    loads = [e for e in landings if e.version > undone.get(e.load_id or "", 0)]
    found = next((e for e in loads if e.load_id == load_id), None)
    if found is None:
        raise ConfigError(
            f"the load '{load_id}' is not part of the table", where=name, hint="See its history"
        )
    later = [e.load_id for e in loads if e.version > found.version and (e.rows or e.operation == "replace")]
    if later:
        raise ConfigError(
            f"the loads {later} landed rows after '{load_id}' and would be lost",
            where=name,
            hint="Roll them back first, newest first",
        )
    return found.version


def _gone(name: str, load_id: str) -> ConfigError:
    return ConfigError(
        f"the files from before '{load_id}' are removed by retention",
        where=name,
        hint="Load the partition anew, or restore a backup",
    )


def expire(address: Address, older_than: datetime) -> int:
    """Deletes rows extracted before a time; see `Store.expire`."""
    table = address.open()
    if table is None or EXTRACTED_AT not in {f.name for f in table.schema().fields}:
        return 0
    instant = older_than.astimezone(UTC).isoformat()
    kind = 'Timestamp(Microsecond, Some("UTC"))'
    limit = f"\"{EXTRACTED_AT}\" < arrow_cast('{instant}', '{kind}')"
    with storage_errors(address.name):
        done = table.delete(limit, commit_properties=CommitProperties({VERB_KEY: "expire"}))
    return int(done.get("num_deleted_rows") or 0)


def maintain(address: Address, log: CommitLog, retention: timedelta) -> Mapping[str, int]:
    """Compacts, writes a Delta checkpoint, removes old log files, data files and checkpoint files.

    Rows, checkpoints and versions younger than `retention` stay. A compaction that loses to a writer is left
    for the next time.
    """
    done: Mapping[str, int] = {"files_compacted": 0, "files_written": 0}
    with suppress(LostRaceError):
        done = compact(address.opened(), address.name)
    with storage_errors(address.name):
        removed = _vacuum(address, retention, full=False) + _vacuum(
            address, max(retention, _ORPHAN_AGE), full=True
        )
        table = address.opened()
        table.create_checkpoint()
        table.cleanup_metadata()
    unused = _remove_checkpoints(table, address, log, retention)
    return {**done, "files_removed": removed, "checkpoints_removed": unused}


def _vacuum(address: Address, age: timedelta, *, full: bool) -> int:
    hours = math.ceil(age / timedelta(hours=1))
    table = address.opened()
    properties = CommitProperties({VERB_KEY: MAINTAIN})

    def vacuum(dry_run: bool) -> list[str]:
        return table.vacuum(
            retention_hours=hours,
            dry_run=dry_run,
            enforce_retention_duration=False,
            commit_properties=properties,
            full=full,
        )

    return len(vacuum(dry_run=False)) if vacuum(dry_run=True) else 0


def _remove_checkpoints(table: DeltaTable, address: Address, log: CommitLog, retention: timedelta) -> int:
    """Keeps what the newest version points to, and what a version within the retention time pointed to."""
    since = utc_now() - max(retention, _ORPHAN_AGE)
    old = [v for v in versions(table, None) if v.at < since]
    if not old:
        return 0
    oldest = address.open(old[0].version)
    return log.remove_unused(table, oldest, written_before=since) if oldest else 0


def set_row_hash(table: DeltaTable, algorithm: str) -> None:
    """Notes the algorithm of `_sis_hash` in the table's properties."""
    table.alter.set_table_properties({HASH_PROPERTY: algorithm}, raise_if_not_exists=False)


def tables(root_url: str, options: Mapping[str, str], tenant: str | None) -> Iterator[TableRef]:
    """Every table below the root, found by its folder's place and its log."""
    from pyarrow import fs

    files, root = filesystem(root_url, options)

    def folders(path: str) -> list[str]:
        found = files.get_file_info(fs.FileSelector(f"{root}/{path}" if path else root, allow_not_found=True))
        return sorted(f.base_name for f in found if f.type == fs.FileType.Directory)

    with storage_errors(root_url):
        for owner in [tenant] if tenant else folders(""):
            for source in folders(owner):
                for stream in folders(f"{owner}/{source}"):
                    for stage in get_args(Stage):
                        log = f"{root}/{owner}/{source}/{stream}/{stage}/_delta_log"
                        landed = [f"{log}/_last_checkpoint", f"{log}/{1:020d}.json"]
                        if any(f.is_file for f in files.get_file_info(landed)):
                            yield TableRef(owner, source, stream, stage)

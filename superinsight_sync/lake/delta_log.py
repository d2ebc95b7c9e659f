"""What a commit carries beside rows: load id, verb, checkpoints; and how it is found again.

Where a checkpoint is kept. Its content is written first, to a file of the table's folder named by a hash
of the content (``_checkpoints/<pointer>.json``, never changed afterwards). The commit that lands the rows
then sets a Delta transaction identifier (`txn` action), ``sis.checkpoint/<partition>`` → pointer. So:

- rows and checkpoint become visible in one atomic commit; a kill before it leaves a file nobody points
  to;
- `txn` actions are part of the table's state: they survive log cleanup, compaction and vacuum, and the
  newest of each partition is found without reading history. A commit carries its own partitions only,
  however many there are;
- a commit's metadata would be lost with its log file, and a pointer to a commit's number would not be
  known before the commit is won;
- `restore` does not take `txn` actions back, so a rollback sets those that changed to what they were, in
  its commit;
- two writers of one checkpoint conflict by Delta's own rule for `txn` actions, and one does its commit
  anew.

A load id is such an action too (``sis.load/<id>``: 1 landed, 0 rolled back). It has a time and so expires
by ``delta.setTransactionRetentionDuration``; checkpoints have none and never expire.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction

from superinsight_sync.core.canonical import decode, encode
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.blobs import BlobStore
from superinsight_sync.lake.store import TableVersion
from superinsight_sync.model.tables import Checkpoint, Commit

CHECKPOINT_APP = "sis.checkpoint/"
_LOAD_APP = "sis.load/"
_LANDED, _ROLLED_BACK, _NONE = 1, 0, 0
FOLDER = "_checkpoints"

LOAD_ID_KEY = "sis.load_id"
VERB_KEY = "sis.verb"
MAINTAIN, COLUMNS = "maintain", "columns"
"""The verbs of commits that change no rows: upkeep, and what a load needs in its table before it can land."""
ROWS_KEY = "sis.rows"
ROLLED_BACK_KEY = "sis.rolled_back"
_METADATA_KEY = "sis.metadata"

LOG_RETENTION = "interval 90 days"
HASH_PROPERTY = "sis.row_hash"
_CHECKPOINT_EVERY, _CHECKPOINT_KEPT_EVERY = 10, 100
"""Commits between Delta checkpoints: to open a table reads the commits since the last one, a tenth of a millisecond
each. Of older ones every tenth stays."""
_MOST_COMMITS = 2_000
"""Older commits leave the log before their time: to open a table on a disk lists them all."""
_TRIM_EVERY = 97
"""A prime, so that a table that gets two or more commits a run is trimmed too."""
AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def table_properties(row_hash: str) -> dict[str, str]:
    """The Delta properties of a new table. Only `maintain` removes old log files, never a writer."""
    return {
        "delta.logRetentionDuration": LOG_RETENTION,
        "delta.setTransactionRetentionDuration": LOG_RETENTION,
        "delta.checkpointInterval": str(_CHECKPOINT_EVERY),
        HASH_PROPERTY: row_hash,
    }


def landed(table: DeltaTable, load_id: str) -> bool:
    """Whether the load is part of the table's state."""
    return table.transaction_version(_LOAD_APP + load_id) == _LANDED


class CommitLog:
    """Reads and prepares what the commits of one table carry.

    Args:
        blobs: the lake's files.
        path: the table's folder in them.
    """

    def __init__(self, blobs: BlobStore, path: str) -> None:
        self._blobs = blobs
        self.path = path

    def properties(
        self,
        verb: str,
        commit: Commit,
        *,
        rows: int | None = None,
        serial: bool = False,
        marked: bool = True,
    ) -> CommitProperties:
        """Stages the checkpoints and returns what makes them part of the commit.

        Args:
            rows: how many it adds; None: Delta counts them.
            serial: any commit since the table was opened fails this one instead of being stepped over.
            marked: the load can be found by its id alone. Not for a table that has a commit every second, where the
                checkpoint says what the last load was: the table's state would grow with each.
        """
        marks = [Transaction(_LOAD_APP + commit.load_id, _LANDED, _now_ms())] if marked else []
        marks += self.staged(commit.checkpoints)
        metadata = {
            LOAD_ID_KEY: commit.load_id,
            VERB_KEY: verb,
            _METADATA_KEY: json.dumps(dict(commit.metadata), ensure_ascii=False),
        }
        if rows is not None:
            metadata[ROWS_KEY] = str(rows)
        return CommitProperties(metadata, 0 if serial else None, marks)

    def staged(self, checkpoints: Mapping[str, Checkpoint]) -> list[Transaction]:
        """Writes the checkpoints to a file of their own; the actions that point to it."""
        if not checkpoints:
            return []
        content = {
            partition: {
                "load_id": c.load_id,
                "at": c.at,
                "cursor": c.cursor,
                "token": c.token,
                "detail": c.detail,
            }
            for partition, c in checkpoints.items()
        }
        data = encode(content).encode()
        pointer = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1 or 1
        self._blobs.write(self._file(pointer), data)
        return [Transaction(CHECKPOINT_APP + partition, pointer) for partition in checkpoints]

    def checkpoint(self, table: DeltaTable, partition: str) -> Checkpoint | None:
        pointer = table.transaction_version(CHECKPOINT_APP + partition) or _NONE
        return self._content(pointer)[partition] if pointer != _NONE else None

    def checkpoints(self, version: int) -> dict[str, Checkpoint]:
        """All checkpoints of the version, which must be the newest or nearly."""
        pointers = self.pointers(version)
        files = sorted(set(pointers.values()))
        with ThreadPoolExecutor(16) as pool:
            contents = dict(zip(files, pool.map(self._content, files), strict=True))
        return {partition: contents[pointer][partition] for partition, pointer in sorted(pointers.items())}

    def pointers(self, version: int) -> dict[str, int]:
        """Partition → pointer, read from the last Delta checkpoint and the commits since."""
        found: dict[str, int] = {}
        for app_id, value in self._transactions(version):
            if app_id.startswith(CHECKPOINT_APP):
                found[app_id.removeprefix(CHECKPOINT_APP)] = value
        return {partition: pointer for partition, pointer in found.items() if pointer != _NONE}

    def undone(self, before: DeltaTable, since: int, until: int, load_id: str) -> list[Transaction]:
        """Actions that set each checkpoint changed in `since`..`until` to what it was in `before`."""
        changed = {
            app_id
            for version in range(since, until + 1)
            for app_id, _ in self._commit_transactions(version)
            if app_id.startswith(CHECKPOINT_APP)
        }
        marks = [Transaction(app, before.transaction_version(app) or _NONE) for app in sorted(changed)]
        return [Transaction(_LOAD_APP + load_id, _ROLLED_BACK, _now_ms()), *marks]

    def remove_unused(self, newest: DeltaTable, oldest: DeltaTable, *, written_before: datetime) -> int:
        """Deletes checkpoint files written before a time to which neither of the two versions points."""
        used = set(self.pointers(newest.version()).values())
        removed = 0
        for path in list(self._blobs.list(f"{self.path}/{FOLDER}")):
            pointer = int(path.rpartition("/")[2].removesuffix(".json"), 16)
            if pointer in used:
                continue
            content = self._content(pointer)
            if any(c.at >= written_before for c in content.values()):
                continue
            if all(oldest.transaction_version(CHECKPOINT_APP + p) != pointer for p in content):
                self._blobs.delete(path)
                removed += 1
        return removed

    def pointer(self, table: DeltaTable) -> int:
        """Where the stream's own checkpoint is in this version; 0 if it has none."""
        return table.transaction_version(CHECKPOINT_APP) or _NONE

    def forget(self, pointer: int) -> None:
        """Deletes the checkpoint of a version that nobody will go back to."""
        if pointer != _NONE:
            self._blobs.delete(self._file(pointer))

    def trim(self, newest: int) -> None:
        """Now and then, deletes commits and Delta checkpoints that a long log does not need. The least version that
        can be opened keeps its checkpoint."""
        if newest % _TRIM_EVERY:
            return
        files = {name: int(name[:20]) for name in self._log_files() if name[:20].isdigit()}
        points = {v for name, v in files.items() if ".checkpoint." in name}
        first = max((p for p in points if p <= newest - _MOST_COMMITS), default=0)
        for name, version in files.items():
            spare = version in points and (version + 1) % _CHECKPOINT_KEPT_EVERY and version > first
            recent = version > newest - _CHECKPOINT_KEPT_EVERY
            if version < first or (".checkpoint." in name and spare and not recent):
                self._blobs.delete(f"{self.path}/_delta_log/{name}")

    def _log_files(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self._blobs.list(f"{self.path}/_delta_log")]

    def _file(self, pointer: int) -> str:
        return f"{self.path}/{FOLDER}/{pointer:016x}.json"

    def _content(self, pointer: int) -> dict[str, Checkpoint]:
        try:
            stored = decode(self._blobs.read(self._file(pointer)).decode())
        except FileNotFoundError as error:
            raise TransientError(
                "a checkpoint's file is missing",
                where=self.path,
                hint="Restore it from a backup of the lake",
            ) from error
        return {partition: Checkpoint(**content) for partition, content in stored.items()}

    def _transactions(self, version: int) -> Iterator[tuple[str, int]]:
        """Every (app id, version) up to a table version, older ones first."""
        start = 0
        if self._blobs.exists(f"{self.path}/_delta_log/_last_checkpoint"):
            last = json.loads(self._blobs.read(f"{self.path}/_delta_log/_last_checkpoint"))
            start = int(last["version"]) + 1
            yield from self._checkpoint_transactions(last)
        for number in range(start, version + 1):
            yield from self._commit_transactions(number)

    def _checkpoint_transactions(self, last: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        stem, parts = f"{int(last['version']):020d}.checkpoint", int(last.get("parts") or 1)
        names = [f"{stem}.parquet"]
        if parts > 1:
            names = [f"{stem}.{n:010d}.{parts:010d}.parquet" for n in range(1, parts + 1)]
        for name in names:
            data = self._blobs.read(f"{self.path}/_delta_log/{name}")
            column = pq.read_table(pa.BufferReader(data), columns=["txn"]).column("txn").drop_null()
            yield from ((t["appId"], t["version"]) for t in column.to_pylist())

    def _commit_transactions(self, version: int) -> Iterator[tuple[str, int]]:
        data = self._blobs.read(f"{self.path}/_delta_log/{version:020d}.json")
        for line in data.splitlines():
            if b'"txn"' in line and (mark := json.loads(line).get("txn")):
                yield mark["appId"], mark["version"]


def versions(table: DeltaTable, limit: int | None) -> list[TableVersion]:
    """The table's commits, newest first, as far as the log goes back."""
    return [_version(entry) for entry in table.history(limit)]


def _version(entry: Mapping[str, Any]) -> TableVersion:
    metrics = entry.get("operationMetrics") or {}
    counts = [entry.get(ROWS_KEY), *(metrics.get(k) for k in _ROW_METRICS)]
    known = [int(c) for c in counts if c is not None]
    metadata = {k: str(entry[k]) for k in (ROLLED_BACK_KEY,) if entry.get(k)}
    return TableVersion(
        version=int(entry["version"]),
        at=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
        operation=entry.get(VERB_KEY) or str(entry.get("operation", "")).lower(),
        load_id=entry.get(LOAD_ID_KEY) or None,
        rows=sum(known) if known else None,
        metadata={**metadata, **json.loads(entry.get(_METADATA_KEY) or "{}")},
    )


_ROW_METRICS = ("num_added_rows", "num_target_rows_inserted", "num_target_rows_updated")


def _now_ms() -> int:
    return int(utc_now().timestamp() * 1000)

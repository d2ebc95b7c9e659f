"""Retain: compaction, vacuum, and the removal of what is older than its retention time."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from superinsight_sync.core.clock import utc_now
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import Stage
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.merging import merge_changes
from superinsight_sync.state.audit import INSTALLATION
from superinsight_sync.state.audit_checkpoints import make_checkpoints
from superinsight_sync.state.resealing import reseal

FILE_RETENTION = timedelta(days=7)
"""How long files of old versions stay, so that rollback and reading as of a version work."""

CHANGES_RETENTION = timedelta(days=30)
"""How long a captured stream's change log keeps a change that is in the raw table."""
INBOX_RETENTION = timedelta(days=30)
"""How long a delivery that has landed can be replayed, and is known again if it is sent once more."""
HISTORY_RETENTION = timedelta(days=90)
"""How long executions, their logs and counts stay in our database."""


def maintain_lake(
    engine: Engine, sources: Iterable[SourceSpec] = (), *, file_retention: timedelta = FILE_RETENTION
) -> dict[str, int]:
    """Maintains every table of the lake and expires rows of streams that declare a retention.

    Returns counts by action.
    """
    done: Counter[str] = Counter()
    for source in sources:
        done["rows_expired"] += _expire(engine, source)
    for table in engine.lake.tables():
        done.update(engine.lake.maintain(table, retention=file_retention))
        done["tables"] += 1
    return dict(done)


def maintain_state(engine: Engine) -> dict[str, int]:
    """Ends executions whose process died without a word, and purges history past `HISTORY_RETENTION`.

    The room is given back to the disk where our state is SQLite; PostgreSQL's autovacuum uses it again by itself.
    Bodies that a replaced key sealed are sealed anew. Chains of the audit log that have grown are signed."""
    ended = engine.end_orphans()
    with engine.state.audit.act(INSTALLATION, "state.purge", "history, inbox") as act:
        purged = engine.state.purge(utc_now() - HISTORY_RETENTION)
        forgotten = engine.inbox.purge(utc_now() - INBOX_RETENTION)
        act.detail |= {**purged, "deliveries": forgotten}
    pages = engine.state.database.give_back()
    resealed = 0
    if engine.inbox.bodies.keys.is_on:
        resealed = reseal(engine.state.database, engine.inbox)["sealed"]
    signed = make_checkpoints(engine.state, engine.audit_checkpoints)
    return {
        "orphans_ended": ended,
        "history_rows_purged": sum(purged.values()),
        "deliveries_forgotten": forgotten,
        "pages_given_back": pages,
        "bodies_sealed_anew": resealed,
        "audit_checkpoints": len(signed),
    }


def _expire(engine: Engine, source: SourceSpec) -> int:
    expired = 0
    stages: tuple[Stage, ...] = ("raw", "refined")
    for stream in source.streams:
        if stream.sync.mode == "capture":
            merge_changes(engine, source, stream)  # what is older than that must be in the table
            changes = table_of(source, stream, "changes")
            expired += engine.lake.expire(changes, older_than=utc_now() - CHANGES_RETENTION)
        for stage in stages:
            save = stream.saves.raw if stage == "raw" else stream.saves.refined
            table = table_of(source, stream, stage)
            store = engine.store(source, stream, stage)
            if save.retention is not None and store.exists(table):
                with engine.state.audit.act(table.tenant, "rows.expire", str(table)) as act:
                    act.detail["rows"] = store.expire(table, older_than=utc_now() - save.retention)
                expired += act.detail["rows"]
    return expired

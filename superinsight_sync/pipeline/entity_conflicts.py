"""Every conflict of an entity ever seen, with how it ended; and the queue of those that wait for a person."""

from typing import TYPE_CHECKING

import pyarrow as pa

from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.model.tables import Commit
from superinsight_sync.pipeline.engine import Engine

if TYPE_CHECKING:
    import duckdb

_COLUMNS = "conflict_id, entity_id, field, type, state, claims, agreed, value, decided_by, since, signature, priority"


_ENDED = "CASE WHEN here AND ended_at IS NULL THEN 'ended' ELSE state END"


class ConflictTable:
    """Works on `found_conflicts`, the conflicts that there are now of the entities in `made`."""

    def __init__(self, engine: Engine, spec: EntitySpec, duck: "duckdb.DuckDBPyConnection") -> None:
        self._engine, self._spec, self._duck = engine, spec, duck

    def publish(self, commit: Commit) -> None:
        """Commits the table, then brings the queue up to it."""
        lake, table, at = self._engine.lake, self._spec.conflicts, commit.checkpoints[""].at
        due = at + self._spec.review.due
        if lake.exists(table):
            self._duck.register("past", lake.dataset(table))
        else:
            self._duck.execute(
                """CREATE OR REPLACE TABLE past AS SELECT *, NULL::VARCHAR AS first_load, NULL::TIMESTAMPTZ AS seen_at,
                NULL::TIMESTAMPTZ AS due_at, NULL::TIMESTAMPTZ AS ended_at FROM found_conflicts WHERE false"""
            )
        self._duck.execute(
            f"""CREATE OR REPLACE TABLE conflicts_now AS
            SELECT {", ".join("f." + c.strip() for c in _COLUMNS.split(","))},
                   coalesce(p.first_load, ?) AS first_load, coalesce(p.seen_at, ?::TIMESTAMPTZ) AS seen_at,
                   CASE WHEN f.state = 'waiting' THEN coalesce(p.due_at, ?::TIMESTAMPTZ) END AS due_at,
                   NULL::TIMESTAMPTZ AS ended_at
            FROM found_conflicts f LEFT JOIN past p ON p.conflict_id = f.conflict_id
            UNION ALL
            SELECT {_COLUMNS.replace(" state,", f" {_ENDED} AS state,")},
                   first_load, seen_at, due_at, CASE WHEN here THEN coalesce(ended_at, ?::TIMESTAMPTZ) ELSE ended_at END
            FROM (SELECT p.*, p.entity_id IN (FROM looked_at) AS here FROM past p
                  ANTI JOIN found_conflicts f ON f.conflict_id = p.conflict_id)""".replace(  # noqa: S608 - our own names
                "FROM looked_at", "SELECT entity_id FROM replaced UNION ALL SELECT entity_id FROM made"
            ),
            [commit.load_id, at.isoformat(), due.isoformat(), at.isoformat()],
        )
        lake.replace(table, lambda: self._reader(commit), commit)
        self._tell_queue()

    def _reader(self, commit: Commit) -> pa.RecordBatchReader:
        found = self._duck.cursor().sql("FROM conflicts_now").to_arrow_reader(65_536)
        return add_system_columns(found, load_id=commit.load_id, extracted_at=commit.checkpoints[""].at)

    def _tell_queue(self) -> None:
        """What waits is in the queue, and nothing else of the entities that were made now."""
        tenant, name, reviews = self._spec.tenant, self._spec.name, self._engine.state.reviews
        known = reviews.list(10_000_000, tenant=tenant, entity=name)
        ids = pa.table({"conflict_id": pa.array([r.conflict_id for r in known], pa.string())})
        self._duck.register("_queued", ids)
        over = self._duck.execute(
            "SELECT conflict_id FROM _queued"
            " ANTI JOIN (FROM conflicts_now WHERE state = 'waiting') c USING (conflict_id)"
        ).fetchall()
        self._duck.unregister("_queued")
        reviews.remove(tenant, name, [row[0] for row in over])
        waiting = self._duck.sql(
            "SELECT conflict_id, entity_id, field, type, priority, since, due_at FROM found_conflicts f"
            " JOIN (SELECT conflict_id, due_at FROM conflicts_now) USING (conflict_id) WHERE f.state = 'waiting'"
        )
        for batch in waiting.to_arrow_reader(10_000):
            reviews.keep(tenant, name, batch.to_pylist())

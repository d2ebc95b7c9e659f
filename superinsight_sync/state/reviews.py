"""The review queue: conflicts that wait for a person, and what people decided."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy import delete, func, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state.database import Database, clean, insert_one, matching, upsert
from superinsight_sync.state.tables import decisions, reviews

DecisionKind = Literal["resolve", "split", "undo_load", "trust"]
"""resolve: a value of one field. split: records that are a thing of their own. undo_load: a load that does not count.
trust: the weights of sources, learned and calibrated."""
_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class Review:
    """A conflict that waits. `since` is when its newest claim was made."""

    tenant: str
    entity: str
    conflict_id: str
    entity_id: str
    field: str
    type: str
    priority: float
    since: datetime
    due_at: datetime
    assigned_to: str | None = None


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a person decided. `detail` holds what the kind needs."""

    id: int
    tenant: str
    entity: str
    kind: DecisionKind
    entity_id: str | None
    field: str | None
    decided_by: str
    at: datetime
    note: str = ""
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    undone_by: str | None = None
    undone_at: datetime | None = None


class ReviewFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    tenant: str
    entity: str
    conflict_id: str
    entity_id: str
    field: str
    type: str
    assigned_to: str


class About(TypedDict, total=False):
    """What a decision is about, and why it was made."""

    entity_id: str
    field: str
    note: str


class Reviews:
    """The queue. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, tenant: str, entity: str, waiting: Sequence[Mapping[str, Any]]) -> None:
        """Puts conflicts into the queue; what is there already keeps its due time and whose it is."""
        for start in range(0, len(waiting), _AT_ONCE):
            rows = [{"tenant": tenant, "entity": entity, **row} for row in waiting[start : start + _AT_ONCE]]
            with self._database.write() as connection:
                mine = (reviews.c.tenant == tenant, reviews.c.entity == entity)
                asked = reviews.c.conflict_id.in_([row["conflict_id"] for row in rows])
                known = {r.conflict_id: r for r in connection.execute(select(reviews).where(*mine, asked))}
                for row in rows:
                    if (before := known.get(row["conflict_id"])) is not None:
                        row |= {"due_at": before.due_at, "assigned_to": before.assigned_to}
                    else:
                        row["assigned_to"] = None
                upsert(connection, reviews, rows)

    def remove(self, tenant: str, entity: str, conflicts: Sequence[str]) -> None:
        """Takes conflicts out that wait no longer."""
        for start in range(0, len(conflicts), _AT_ONCE):
            mine = (reviews.c.tenant == tenant, reviews.c.entity == entity)
            ended = reviews.c.conflict_id.in_(conflicts[start : start + _AT_ONCE])
            with self._database.write() as connection:
                connection.execute(delete(reviews).where(*mine, ended))

    def assign(self, tenant: str, entity: str, conflict_id: str, person: str | None) -> bool:
        """Says whose a waiting conflict is. False if it does not wait."""
        where: ReviewFilter = {"tenant": tenant, "entity": entity, "conflict_id": conflict_id}
        with self._database.write() as connection:
            done = connection.execute(
                update(reviews).where(*matching(reviews, where)).values(assigned_to=person)
            )
            return done.rowcount == 1

    def list(self, limit: int = 100, **where: Unpack[ReviewFilter]) -> tuple[Review, ...]:
        """Those that match, the most urgent first."""
        order = (reviews.c.priority.desc(), reviews.c.due_at, reviews.c.conflict_id)
        statement = select(reviews).where(*matching(reviews, where)).order_by(*order).limit(limit)
        with self._database.read() as connection:
            return tuple(Review(**row) for row in connection.execute(statement).mappings())

    def count(self, tenant: str, entity: str) -> int:
        """How many wait."""
        where: ReviewFilter = {"tenant": tenant, "entity": entity}
        with self._database.read() as connection:
            found = connection.scalar(
                select(func.count()).select_from(reviews).where(*matching(reviews, where))
            )
        return int(found or 0)


class Decisions:
    """What people decided. Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        tenant: str,
        entity: str,
        kind: DecisionKind,
        detail: Mapping[str, Any],
        by: str,
        **about: Unpack[About],
    ) -> int:
        """Keeps a decision; its id."""
        row = {
            "tenant": tenant,
            "entity": entity,
            "kind": kind,
            "entity_id": about.get("entity_id"),
            "field": about.get("field"),
            "detail": dict(detail),
            "note": clean(about.get("note", "")),
            "decided_by": clean(by),
            "at": utc_now(),
        }
        with self._database.write() as connection:
            return insert_one(connection, decisions, row)

    def undo(self, decision_id: int, by: str) -> bool:
        """Takes a decision back. False if it was taken back before, or is not there."""
        standing = (decisions.c.id == decision_id, decisions.c.undone_at.is_(None))
        with self._database.write() as connection:
            done = connection.execute(
                update(decisions).where(*standing).values(undone_by=clean(by), undone_at=utc_now())
            )
            return done.rowcount == 1

    def find(self, decision_id: int) -> Decision | None:
        """One decision."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(decisions).where(decisions.c.id == decision_id)).mappings().first()
            )
        return None if row is None else Decision(**row)

    def of(self, tenant: str, entity: str, *, undone: bool = False) -> tuple[Decision, ...]:
        """An entity's decisions that stand, in order; with `undone` all."""
        where = [decisions.c.tenant == tenant, decisions.c.entity == entity]
        if not undone:
            where.append(decisions.c.undone_at.is_(None))
        statement = select(decisions).where(*where).order_by(decisions.c.id)
        with self._database.read() as connection:
            return tuple(Decision(**row) for row in connection.execute(statement).mappings())

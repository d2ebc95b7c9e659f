"""What people do about conflicts: look, decide, take a decision back. The next resolve carries it out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import close_to
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.project import Project
from superinsight_sync.state.reviews import About, Decision

_CHARS_OF_ID = 8


@dataclass(frozen=True)
class Claim:
    """One value that contends for a field. `value` is None for NULL."""

    value: str | None
    streams: str
    loads: tuple[str, ...]
    since: datetime
    choice: str


@dataclass(frozen=True)
class Conflict:
    """A conflict as it is published. `agreed` is what all sources said last; `downstream` the datasets it reaches."""

    conflict_id: str
    entity: str
    entity_id: str
    field: str
    type: str
    state: str
    claims: tuple[Claim, ...]
    agreed: str | None
    value: str | None
    decided_by: str
    since: datetime
    priority: float
    signature: str
    due_at: datetime | None = None
    ended_at: datetime | None = None
    assigned_to: str | None = None
    downstream: tuple[str, ...] = ()


def find_conflict(engine: Engine, project: Project, conflict_id: str) -> tuple[EntitySpec, Conflict]:
    """The conflict with that id, or whose id begins so. Raises ConfigError if there is none, or more than one."""
    found = [
        (spec, row)
        for spec in project.entities.values()
        if engine.lake.exists(spec.conflicts)
        for row in _rows(engine, spec, conflict_id)
    ]
    if len(conflict_id) < _CHARS_OF_ID or len(found) != 1:
        many = f"{len(found)} conflicts begin with" if len(found) > 1 else "there is no conflict"
        raise ConfigError(f"{many} '{conflict_id}'", hint="See `sis conflicts list --state all`")
    spec, row = found[0]
    return spec, _conflict(engine, project, spec, row)


def list_conflicts(
    engine: Engine, project: Project, spec: EntitySpec, *, state: str | None, limit: int
) -> list[Conflict]:
    """An entity's conflicts in a state (None: in any), the most urgent first."""
    import pyarrow.compute as pc

    if not engine.lake.exists(spec.conflicts):
        return []
    rows = engine.lake.dataset(spec.conflicts)
    table = rows.to_table(filter=None if state is None else pc.field("state") == state)
    ordered = table.sort_by(
        [("priority", "descending"), ("since", "ascending"), ("conflict_id", "ascending")]
    )
    return [_conflict(engine, project, spec, row) for row in ordered.slice(0, limit).to_pylist()]


def _rows(engine: Engine, spec: EntitySpec, conflict_id: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    begins = pc.starts_with(pc.field("conflict_id"), conflict_id)
    return list(engine.lake.dataset(spec.conflicts).to_table(filter=begins).to_pylist())


def _conflict(engine: Engine, project: Project, spec: EntitySpec, row: dict[str, Any]) -> Conflict:
    where = {"tenant": spec.tenant, "entity": spec.name}
    waits = engine.state.reviews.list(
        1, tenant=where["tenant"], entity=where["entity"], conflict_id=row["conflict_id"]
    )
    reached = [d.name for d in project.datasets.values() if f"entities/{spec.name}" in d.inputs.values()]
    known = {name: row[name] for name in Conflict.__dataclass_fields__ if name in row}
    claims = tuple(Claim(**{**c, "loads": tuple(c["loads"] or ())}) for c in row["claims"])
    return Conflict(
        **{**known, "claims": claims},
        entity=spec.name,
        assigned_to=waits[0].assigned_to if waits else None,
        downstream=tuple(sorted(reached)),
    )


def decide(
    engine: Engine, spec: EntitySpec, conflict: Conflict, by: str, *, note: str = "", **chosen: str
) -> int:
    """Keeps what a person decided: the decision's number.

    Args:
        chosen: `take`, the stream whose value it is; `value`, one of the values or another; `null=""` for NULL.

    Raises ConfigError if the stream claims nothing, or several of its values contend.
    """
    detail: dict[str, Any] = {
        "signature": conflict.signature,
        "hashes": [c.choice for c in conflict.claims],
        "choice": None,
        "text": None,
    }
    if "take" in chosen:
        claims = [c for c in conflict.claims if chosen["take"] in c.streams.split(", ")]
        if len(claims) != 1:
            streams = sorted({s for c in conflict.claims for s in c.streams.split(", ")})
            what = "claims several values" if claims else "claims none of the values"
            raise ConfigError(f"{chosen['take']} {what}", hint=close_to(chosen["take"], streams))
        detail["choice"] = claims[0].choice
    else:
        wanted = None if "null" in chosen else chosen["value"]
        same = [c for c in conflict.claims if c.value == wanted]
        if len(same) == 1:
            detail["choice"] = same[0].choice
        else:
            detail["text"] = wanted
    about: About = {"entity_id": conflict.entity_id, "field": conflict.field, "note": note}
    return engine.state.decisions.add(spec.tenant, spec.name, "resolve", detail, by, **about)


def split(
    engine: Engine, spec: EntitySpec, records: Sequence[tuple[str, str]], by: str, *, note: str = ""
) -> int:
    """Says that records, each (stream, key as the entity's `records` show it), are a thing of their own.

    Raises ConfigError for a record that is not known.
    """
    import pyarrow.compute as pc

    known = engine.lake.dataset(spec.records)
    found = []
    for stream, key in records:
        mine = (pc.field("stream") == stream) & (pc.field("key") == key)
        rows = known.to_table(filter=mine, columns=["rid"]).to_pylist()
        if not rows:
            raise ConfigError(f"{spec.name} has no such record of {stream}", hint="See the column `records`")
        found.append(rows[0]["rid"])
    return engine.state.decisions.add(spec.tenant, spec.name, "split", {"records": found}, by, note=note)


def undo_load(engine: Engine, spec: EntitySpec, load_id: str, by: str, *, note: str = "") -> int:
    """Says that what a load brought does not count. Raises ConfigError if it brought nothing to the entity."""
    import pyarrow.compute as pc

    rows = engine.lake.dataset(spec.records).count_rows(filter=pc.field("load") == load_id)
    if not rows:
        raise ConfigError(
            f"no record of {spec.name} came with load '{load_id}'", hint="See `sis history <stream>`"
        )
    return engine.state.decisions.add(spec.tenant, spec.name, "undo_load", {"load": load_id}, by, note=note)


def undo(engine: Engine, decision_id: int, by: str) -> Decision:
    """Takes a decision back; it. Raises ConfigError if there is none, or it was taken back before."""
    decision = engine.state.decisions.find(decision_id)
    if decision is None:
        raise ConfigError(f"there is no decision {decision_id}", hint="See `sis conflicts decisions`")
    if not engine.state.decisions.undo(decision_id, by):
        raise ConfigError(f"decision {decision_id} was taken back before")
    return decision

"""Learns how far each stream of an entity can be trusted, from its conflicts and from what people decided."""

from collections import defaultdict

from superinsight_sync.conflict.trust import learn_weights, threshold
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.pipeline.engine import Engine


def learn_trust(engine: Engine, spec: EntitySpec, by: str, *, precision: float = 0.95) -> dict[str, float]:
    """Keeps new weights, as a decision that can be taken back. Gives the fields that `trust` decides, with the
    lead that it needs.

    Raises ConfigError if there are no conflicts to learn from.
    """
    if not engine.lake.exists(spec.conflicts):
        raise ConfigError(f"{spec.name} has no conflicts yet", hint=f"sis run entities/{spec.name}")
    settings = engine.settings
    with open_duckdb(settings.memory_limit_bytes, settings.scratch_dir) as duck:
        duck.register("conflicts", engine.lake.dataset(spec.conflicts))
        duck.execute(
            """CREATE TABLE votes AS
            SELECT field, item, c.choice AS choice, unnest(string_split(c.streams, ', ')) AS stream
            FROM (SELECT field, conflict_id AS item, unnest(claims) AS c FROM conflicts)"""
        )
        learn_weights(duck, "votes")
        weights: dict[str, dict[str, float]] = defaultdict(dict)
        for field, stream, weight in duck.execute("FROM learned ORDER BY ALL").fetchall():
            weights[field][stream] = weight
        scored = duck.execute(
            """SELECT field, item, choice, sum(weight) FROM votes JOIN learned USING (field, stream)
            GROUP BY ALL ORDER BY field, item, sum(weight) DESC, choice"""
        ).fetchall()
    scores: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for field, item, choice, score in scored:
        scores[field, item].append((score, choice))
    thresholds = {
        field: lead
        for field, cases in _reviewed(engine, spec, scores).items()
        if (lead := threshold(cases, precision)) is not None
    }
    detail = {"weights": dict(weights), "thresholds": thresholds, "precision": precision}
    engine.state.decisions.add(spec.tenant, spec.name, "trust", detail, by)
    return thresholds


def _reviewed(
    engine: Engine, spec: EntitySpec, scores: dict[tuple[str, str], list[tuple[float, str]]]
) -> dict[str, list[tuple[float, bool]]]:
    """Field → for each reviewed case, the lead of the value with the greatest score, and whether it was chosen."""
    chosen = {
        (d.field, d.detail["signature"]): d.detail["choice"]
        for d in engine.state.decisions.of(spec.tenant, spec.name)
        if d.kind == "resolve" and d.detail["choice"] is not None
    }
    found: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    rows = engine.lake.scan(spec.conflicts, columns=["conflict_id", "field", "signature"])
    for batch in rows:
        for row in batch.to_pylist():
            right = chosen.get((row["field"], row["signature"]))
            ranked = scores.get((row["field"], row["conflict_id"]), [])
            if right is not None and len(ranked) > 1:
                found[row["field"]].append((ranked[0][0] - ranked[1][0], ranked[0][1] == right))
    return found

"""Learns how far each stream of an entity can be trusted, from its conflicts and from what people decided."""

import pyarrow as pa

from superinsight_sync.conflict.trust import learn, threshold
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
    decided = [
        (d.field, d.detail["signature"], d.detail["choice"])
        for d in engine.state.decisions.of(spec.tenant, spec.name)
        if d.kind == "resolve" and d.detail["choice"] is not None
    ]
    columns = {
        n: pa.array([d[i] for d in decided], pa.string())
        for i, n in enumerate(("field", "signature", "choice"))
    }
    settings = engine.settings
    with open_duckdb(settings.memory_limit_bytes, settings.scratch_dir) as duck:
        duck.register("conflicts", engine.lake.dataset(spec.conflicts))
        duck.register("decided", pa.table(columns))
        duck.execute(
            """CREATE TABLE votes AS
            SELECT field, item, c.choice AS choice, unnest(string_split(c.streams, ', ')) AS stream
            FROM (SELECT field, conflict_id AS item, unnest(claims) AS c FROM conflicts)"""
        )
        duck.execute(
            """CREATE TABLE reviewed AS SELECT field, c.conflict_id AS item, any_value(d.choice) AS choice
            FROM conflicts c JOIN decided d USING (field, signature) GROUP BY ALL HAVING count(DISTINCT d.choice) = 1"""
        )
        learned = learn(duck, "votes", "reviewed")
    leads = {field: threshold(cases, precision) for field, cases in learned.cases.items()}
    thresholds = {field: lead for field, lead in leads.items() if lead is not None}
    weights = {field: dict(of) for field, of in learned.weights.items()}
    detail = {"weights": weights, "thresholds": thresholds, "precision": precision}
    engine.state.decisions.add(spec.tenant, spec.name, "trust", detail, by)
    return thresholds

"""One row for each entity, and one for each conflict, of the versions of its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from superinsight_sync.conflict.decide import settle
from superinsight_sync.conflict.detect import (
    CASES,
    column_of,
    find_deletes,
    find_in_field,
    make_agreed,
    make_current,
)
from superinsight_sync.conflict.protocol import StrategyContext
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.model.entity import EXISTENCE, EntitySpec

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Fields:
    """The entity's fields in order, with their DuckDB types, and what `trust` has learned of them."""

    types: Mapping[str, str]
    thresholds: Mapping[str, float]

    def context(self, spec: EntitySpec, field: str) -> StrategyContext:
        return StrategyContext(
            field,
            self.types.get(field, "BOOLEAN"),
            tuple(self.types),
            tuple(s.stream for s in spec.streams),
            self.thresholds.get(field),
        )


def resolve_entities(duck: "duckdb.DuckDBPyConnection", spec: EntitySpec, fields: Fields) -> str:
    """Makes `found_conflicts`; gives the SELECT of the entities' rows.

    Reads `versions` (see `conflict.detect`), `decisions` (id, field, eid, signature, choice, text, hashes,
    decided_at), and `weights` (field, stream, weight). Raises ConfigError for a wrong strategy.
    """
    names = list(fields.types)
    make_current(duck, names)
    duck.execute(
        """CREATE OR REPLACE TABLE found_conflicts (conflict_id VARCHAR, entity_id VARCHAR, field VARCHAR, type VARCHAR,
        state VARCHAR, claims STRUCT(value VARCHAR, streams VARCHAR, loads VARCHAR[],
        since TIMESTAMPTZ, choice VARCHAR)[],
        agreed VARCHAR, value VARCHAR, decided_by VARCHAR, since TIMESTAMPTZ, signature VARCHAR, priority DOUBLE)"""
    )
    duck.execute("CREATE OR REPLACE TABLE notes (eid VARCHAR, field VARCHAR, how VARCHAR, waits BOOLEAN)")
    disputed = make_agreed(duck, names)
    for number, name in enumerate(names):
        if name in disputed:
            find_in_field(duck, number, name)
            _settle(duck, spec, fields, name)
            duck.execute(f"CREATE OR REPLACE TABLE settled_{number} AS FROM settled")
    if spec.deletes == "any":
        find_deletes(duck, names)
        _settle(duck, spec, fields, EXISTENCE)
    else:
        duck.execute("CREATE OR REPLACE TABLE settled AS SELECT eid, true AS value FROM current WHERE false")
    return _entities(names, disputed)


def _settle(duck: "duckdb.DuckDBPyConnection", spec: EntitySpec, fields: Fields, name: str) -> None:
    settle(duck, fields.context(spec, name), spec.strategies(name))
    duck.execute(
        f"INSERT INTO notes SELECT eid, {literal(name)}, how, coalesce(state = 'waiting', false) FROM settled"  # noqa: S608 - quoted names
    )
    critical = 10 if name == EXISTENCE or (name in spec.fields and spec.fields[name].critical) else 1
    far = "1 - jaro_winkler_similarity(min(o.shown), max(o.shown))"
    duck.execute(
        f"""INSERT INTO found_conflicts
        SELECT md5({literal(spec.name + "/" + name + "/")} || c.eid || '/' || any_value(g.signature)), c.eid,
               {literal(name)}, any_value(c.type), any_value(s.state),
               list(struct_pack(value := o.shown, streams := o.streams, loads := o.loads, since := o.as_of,
                                choice := o.hash) ORDER BY o.hash),
               CAST(any_value(c.base).v AS VARCHAR), CAST(any_value(struct_pack(v := s.value)).v AS VARCHAR),
               any_value(s.how), max(o.as_of), any_value(g.signature), {critical} * (1 + coalesce({far}, 1))
        FROM {CASES} c JOIN (SELECT *, coalesce(text, CAST(value AS VARCHAR)) AS shown FROM options) o ON o.eid = c.eid
        JOIN signed g ON g.eid = c.eid JOIN settled s ON s.eid = c.eid
        WHERE c.type IS NOT NULL GROUP BY c.eid"""  # noqa: S608 - quoted
    )


def _entities(names: Sequence[str], disputed: Sequence[str]) -> str:
    columns, joins = [], []
    for number, name in enumerate(names):
        if name in disputed:
            settled = f"s{number}"
            joins.append(f"LEFT JOIN settled_{number} {settled} ON {settled}.eid = a.eid")
            columns.append(
                f"CASE WHEN {settled}.eid IS NULL THEN a.{column_of(name)} ELSE {settled}.value END AS {quote(name)}"
            )
        else:
            columns.append(f"a.{column_of(name)} AS {quote(name)}")
    return f"""
        SELECT a.eid AS entity_id, {", ".join(columns)},
               CASE WHEN m.gone OR coalesce(d.value, false) THEN m.gone_at END AS deleted_at,
               m.aliases, m.records, coalesce(n.undecided, []) AS undecided, coalesce(n.decided_by, []) AS decided_by
        FROM agreed a {" ".join(joins)} LEFT JOIN settled d ON d.eid = a.eid
        JOIN (SELECT eid, bool_and(gone) AS gone, max(as_of) FILTER (gone) AS gone_at,
                     coalesce(list_sort(list(rid) FILTER (rid <> eid)), []) AS aliases,
                     list_sort(list(stream || ' ' || key)) AS records
              FROM current GROUP BY eid) m ON m.eid = a.eid
        LEFT JOIN (SELECT eid, list(field ORDER BY field) FILTER (waits) AS undecided,
                          list(struct_pack(field := field, how := how) ORDER BY field) AS decided_by
                   FROM notes GROUP BY eid) n ON n.eid = a.eid"""  # noqa: S608 - quoted names

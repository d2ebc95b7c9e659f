"""How a conflict ends: by what a person decided before, by the first strategy that can, or not yet.

Works on the tables `claims` and `cases` of one field (`conflict.detect`), on `decisions` and on `current`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from superinsight_sync.conflict.detect import CASES, CLAIMS, column_of
from superinsight_sync.conflict.protocol import (
    CLAIM_COLUMNS,
    STRATEGIES,
    Combined,
    Scored,
    Stopped,
    StrategyContext,
)
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.model.entity import StrategySpec

if TYPE_CHECKING:
    import duckdb

_HASH = (
    "md5(CASE WHEN {0}text IS NOT NULL THEN 'text ' || {0}text WHEN {0}value IS NULL THEN ''"
    " ELSE '=' || CAST({0}value AS VARCHAR) END)"
)


@dataclass(frozen=True)
class Way:
    """A strategy as it was declared, and compiled."""

    name: str
    compiled: Scored | Combined | Stopped


def ways(specs: Sequence[StrategySpec], context: StrategyContext) -> list[Way]:
    """The strategies of a field, in order. Raises ConfigError for an unknown one or a wrong configuration."""
    return [Way(s.strategy, STRATEGIES.load(s.strategy)(configured(s)).compile(context)) for s in specs]


def configured(spec: StrategySpec) -> PluginConfig:
    """The strategy's configuration. Raises ConfigError for an unknown strategy, key or value."""
    try:
        return STRATEGIES.config(spec.strategy).model_validate(spec.arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"strategy {spec.strategy}: {key}: {first['msg']}") from None


def settle(
    duck: "duckdb.DuckDBPyConnection", context: StrategyContext, specs: Sequence[StrategySpec]
) -> None:
    """Makes `settled` (eid, value, how, state): what the field is and why. `state` is NULL for a plain update, else
    decided, resolved or waiting; what waits has the last agreed value."""
    _group(duck, context)
    duck.execute(
        f"""CREATE OR REPLACE TABLE settled AS
        SELECT c.eid, any_value(struct_pack(v := v.value)).v AS value,
               'update: ' || string_agg(v.streams, ', ' ORDER BY v.hash) AS how, CAST(NULL AS VARCHAR) AS state
        FROM {CASES} c JOIN options v ON v.eid = c.eid WHERE c.type IS NULL GROUP BY c.eid"""  # noqa: S608 - our own names
    )
    duck.execute(f"CREATE OR REPLACE TABLE open AS SELECT eid FROM {CASES} WHERE type IS NOT NULL")  # noqa: S608
    _as_decided(duck, context)
    for way in ways(specs, context):
        if isinstance(way.compiled, Stopped):
            break
        _by_strategy(duck, way, context)
        _close(duck)
    duck.execute(
        f"""INSERT INTO settled SELECT c.eid, c.base.v, 'review', 'waiting'
        FROM {CASES} c SEMI JOIN open o ON o.eid = c.eid"""  # noqa: S608 - our own names
    )


def _close(duck: "duckdb.DuckDBPyConnection") -> None:
    """What was found now is settled."""
    duck.execute("INSERT INTO settled SELECT eid, value, how, state FROM found")
    duck.execute("DELETE FROM open WHERE eid IN (SELECT eid FROM found)")


def _group(duck: "duckdb.DuckDBPyConnection", context: StrategyContext) -> None:
    """Makes `options` (eid, hash, value, text, streams, …), one row for each value, and `signed` (eid, signature)."""
    duck.execute(
        f"""CREATE OR REPLACE TABLE options AS
        SELECT eid, hash, any_value(struct_pack(v := value)).v AS value, any_value(text) AS text,
               string_agg(DISTINCT stream, ', ' ORDER BY stream) AS streams,
               list_sort(list(DISTINCT load)) AS loads, max(as_of) AS as_of
        FROM (SELECT *, {_HASH.format("")} AS hash FROM {CLAIMS}) GROUP BY eid, hash"""  # noqa: S608 - our own names
    )
    duck.execute(
        """CREATE OR REPLACE TABLE signed AS
        SELECT eid, list_sort(list(hash)) AS hashes, md5(string_agg(hash, '' ORDER BY hash)) AS signature
        FROM options GROUP BY eid"""
    )


def _as_decided(duck: "duckdb.DuckDBPyConnection", context: StrategyContext) -> None:
    """What people decided: of these values before; else of others, and only one value is new since."""
    chosen = f"CASE WHEN d.choice IS NULL THEN TRY_CAST(d.text AS {context.type}) ELSE v.value END"
    mine = f"(SELECT * FROM decisions WHERE field = {literal(context.field)})"  # noqa: S608 - quoted names
    duck.execute(
        f"""CREATE OR REPLACE TABLE found AS
        SELECT eid, arg_max(struct_pack(v := value), id).v AS value, 'decision ' || max(id) AS how, 'decided' AS state
        FROM (SELECT s.eid, d.id, {chosen} AS value FROM signed s SEMI JOIN open o ON o.eid = s.eid
              JOIN {mine} d ON d.eid = s.eid AND d.signature = s.signature
              LEFT JOIN options v ON v.eid = s.eid AND v.hash = d.choice
              WHERE d.choice IS NULL OR v.hash IS NOT NULL) GROUP BY eid"""  # noqa: S608 - quoted
    )
    _close(duck)
    duck.execute(
        f"""CREATE OR REPLACE TABLE found AS
        WITH last AS (SELECT d.* FROM {mine} d JOIN {CASES} c ON c.eid = d.eid SEMI JOIN open o ON o.eid = d.eid
                      WHERE c.base_at IS NULL OR d.decided_at > c.base_at
                      QUALIFY row_number() OVER (PARTITION BY d.eid ORDER BY d.id DESC) = 1),
             fresh AS (SELECT v.eid, v.value, v.text, v.streams FROM options v JOIN last d ON d.eid = v.eid
                       WHERE NOT list_contains(d.hashes, v.hash))
        SELECT eid, any_value(struct_pack(v := value)).v AS value,
               'update: ' || any_value(streams) AS how, 'resolved' AS state
        FROM fresh GROUP BY eid HAVING count(*) = 1 AND count(text) = 0"""  # noqa: S608 - quoted
    )
    _close(duck)


def _by_strategy(duck: "duckdb.DuckDBPyConnection", way: Way, context: StrategyContext) -> None:
    """Makes `found`: what one strategy decides of what is open."""
    compiled = way.compiled
    others = [f for f in context.fields if f not in CLAIM_COLUMNS]
    listed = "".join(f", r.{column_of(f)} AS {quote(f)}" for f in others)
    rows = (
        f"(SELECT c.eid, c.rid, c.value, c.stream, c.place, c.as_of, c.version, c.text AS _text, w.weight,"  # noqa: S608
        f" {_HASH.format('c.')} AS _hash{listed}"
        f" FROM {CLAIMS} c SEMI JOIN open o ON o.eid = c.eid JOIN current r ON r.rid = c.rid"
        f" LEFT JOIN (SELECT stream, weight FROM weights WHERE field = {literal(context.field)}) w"
        " ON w.stream = c.stream)"
    )
    if isinstance(compiled, Combined):
        duck.execute(
            f"""CREATE OR REPLACE TABLE found AS
            SELECT eid, CAST({compiled.value} AS {context.type}) AS value, {literal(way.name)} AS how,
                   'resolved' AS state FROM {rows} GROUP BY eid HAVING count(_text) = 0 AND count(value) > 0"""  # noqa: S608 - compiled by strategies
        )
        return
    assert isinstance(compiled, Scored)
    everyone = "count(score) = count(*)" if compiled.everyone else "true"
    duck.execute(
        f"""CREATE OR REPLACE TABLE found AS
        WITH scored AS (SELECT eid, rid, _hash, ({compiled.score}) AS score FROM {rows}),
             summed AS (SELECT eid, _hash AS hash, {compiled.gather}(score) AS score,
                        {everyone} AS complete FROM scored GROUP BY eid, _hash),
             best AS (SELECT eid, arg_max(hash, score) AS hash, max(score, 2) AS top FROM summed
                      WHERE score IS NOT NULL GROUP BY eid)
        SELECT b.eid, v.value, {literal(way.name + ": ")} || v.streams AS how, 'resolved' AS state
        FROM best b JOIN options v ON v.eid = b.eid AND v.hash = b.hash
        WHERE v.text IS NULL AND (len(b.top) = 1 OR b.top[1] - b.top[2] > {compiled.margin})
          AND b.eid NOT IN (SELECT eid FROM summed WHERE NOT complete)"""  # noqa: S608 - compiled by strategies
    )

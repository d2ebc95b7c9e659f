"""What matches what: records with equal keys, and records that are alike within a block."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import close_to, quote, safe_expression
from superinsight_sync.matching.minhash import bands
from superinsight_sync.model.entity import MatchSpec

if TYPE_CHECKING:
    import duckdb

MAX_BLOCK = 200
"""Records of one block that are compared with each other: more take time as their square."""


def group_keys(match: MatchSpec, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """SQL expressions for each key or block of a record: records in which all of one are equal meet.

    Raises ConfigError for a field that is not there, or a block that is no safe expression over the fields.
    """
    used = match.equal if match.equal else (*match.similar, *filter(None, [match.minhash]))
    if missing := [name for name in used if name not in columns]:
        raise ConfigError(f"match: there is no field '{missing[0]}'", hint=close_to(missing[0], columns))
    if match.equal:
        return [tuple(quote(name) for name in match.equal)]
    return [(f"({safe_expression(text, columns)})",) for text in match.block]


def make_groups(
    duck: "duckdb.DuckDBPyConnection",
    matches: Sequence[MatchSpec],
    columns: Sequence[str],
    rows: str,
    into: str,
) -> None:
    """Makes the table `into` (node, match, part, grp): the groups that each record of `rows` is in, by each match.

    A record may have several rows, of which each counts.
    """
    duck.execute(f"CREATE OR REPLACE TABLE {into} (node VARCHAR, match INTEGER, part INTEGER, grp VARCHAR)")
    for number, match in enumerate(matches):
        for part, parts in enumerate(group_keys(match, columns)):
            key = f"CAST(to_json([{', '.join(f'CAST({p} AS VARCHAR)' for p in parts)}]) AS VARCHAR)"
            given = " AND ".join(f"{p} IS NOT NULL" for p in parts)
            duck.execute(
                f"INSERT INTO {into} SELECT DISTINCT _node, {number}, {part}, {key} FROM {rows} WHERE {given}"  # noqa: S608 - quoted names
            )
        if match.minhash is not None:
            bands(duck, rows, quote(match.minhash), number, into)


def make_edges(
    duck: "duckdb.DuckDBPyConnection",
    matches: Sequence[MatchSpec],
    rows: str,
    groups: str,
    sizes: Mapping[int, int],
    into: str,
) -> None:
    """Makes the table `into` (a, b, match) of records that match.

    Args:
        rows: the records, one row each, with `_node`, their fields and `_tag`: records of different tags never match.
        groups: a table (node, match, part, grp, size) of the records' groups; `size` counts all records in one.
        sizes: number of a match → records in a group, at most; a larger group joins nothing.
    """
    duck.execute(f"CREATE OR REPLACE TABLE {into} (a VARCHAR, b VARCHAR, match INTEGER)")
    for number, match in enumerate(matches):
        here = (
            f"(SELECT g.node, g.part, g.grp, r._tag AS tag FROM {groups} g JOIN {rows} r ON r._node = g.node"  # noqa: S608
            f" WHERE g.match = {number} AND g.size <= {sizes[number]})"
        )
        if match.equal:
            duck.execute(
                f"INSERT INTO {into} SELECT node, min(node) OVER (PARTITION BY part, grp, tag), {number} FROM {here}"  # noqa: S608
            )
            continue
        alike, weight = likeness(match.similar)
        duck.execute(
            f"""INSERT INTO {into} SELECT a, b, {number} FROM (
                SELECT DISTINCT x.node AS a, y.node AS b FROM {here} x JOIN {here} y
                ON x.part = y.part AND x.grp = y.grp AND x.tag = y.tag AND x.node < y.node) pairs
            JOIN {rows} l ON l._node = a JOIN {rows} r ON r._node = b
            WHERE ({alike}) >= {match.at_least} * ({weight}) AND ({weight}) * 2 >= {sum(match.similar.values())}"""  # noqa: S608
        )


def likeness(weights: Mapping[str, float]) -> tuple[str, str]:
    """SQL over rows `l` and `r`: the weighted sum of the fields' likeness, and the weight of the fields that both have.

    A field that one of them lacks says nothing; where those that both have weigh less than half, nothing matches.
    """
    alike, weight = [], []
    for name, share in sorted(weights.items()):
        left, right = (f"nullif(lower(trim(CAST({side}.{quote(name)} AS VARCHAR))), '')" for side in "lr")
        alike.append(f"{share} * coalesce(jaro_winkler_similarity({left}, {right}), 0)")
        weight.append(f"CASE WHEN {left} IS NULL OR {right} IS NULL THEN 0 ELSE {share} END")
    return " + ".join(alike), " + ".join(weight)

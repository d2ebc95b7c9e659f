"""How far each stream can be trusted: learned from agreement, calibrated on cases that people decided.

Weights are learned by expectation maximization over who claims what (after Dong, Berti-Équille and Srivastava,
"Integrating conflicting data", VLDB 2009, without its copy detection). Sources copy from each other, so the
probabilities that come out are far too high: they are used as scores only, and a score decides nothing before reviewed
cases have shown from which lead on it was right often enough.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

ROUNDS = 20
FOLDS = 5
LEAST, MOST = 0.05, 0.99
"""Shares of right claims are taken to be between these."""
PRIOR = 3
"""Agreement counts as much as this many reviewed cases."""
FEWEST_CASES = 30
"""Reviewed cases that a threshold needs at least."""
_Z = 1.28


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        weights: field → stream → the logarithm of its odds to be right.
        cases: field → for each reviewed case, by weights that were learned without it: the lead of the value with the
            greatest sum over the next, and whether it was right.
    """

    weights: Mapping[str, Mapping[str, float]]
    cases: Mapping[str, Sequence[tuple[float, bool]]]


def learn(duck: "duckdb.DuckDBPyConnection", votes: str, reviewed: str) -> Learned:
    """Learns from agreement, and from reviewed cases as far as there are some.

    Args:
        votes: a relation (field, item, choice, stream): which value a stream claims for a thing.
        reviewed: a relation (field, item, choice): the right value.
    """
    _from_agreement(duck, votes)
    numbered = f"SELECT *, row_number() OVER (ORDER BY md5(item), item) % {FOLDS} AS fold FROM {reviewed}"  # noqa: S608 - our own names
    duck.execute(f"CREATE OR REPLACE TABLE folds AS {numbered}")
    cases: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for fold in range(FOLDS):
        _from_reviewed(duck, votes, f"(FROM folds WHERE fold <> {fold})")
        found = duck.execute(
            f"""WITH scores AS (SELECT field, item, v.choice, sum(weight) AS score FROM {votes} v
                    SEMI JOIN (FROM folds WHERE fold = {fold}) f USING (field, item)
                    JOIN learned l USING (field, stream) GROUP BY ALL)
            SELECT field, max(score, 2), arg_max(s.choice, score) = any_value(f.choice) FROM scores s
            JOIN folds f USING (field, item) GROUP BY field, item HAVING count(*) > 1"""  # noqa: S608 - our own names
        ).fetchall()
        for field, best, is_right in found:
            cases[field].append((best[0] - best[1], is_right))
    _from_reviewed(duck, votes, "folds")
    weights: dict[str, dict[str, float]] = defaultdict(dict)
    for field, stream, weight in duck.execute(
        "SELECT field, stream, weight FROM learned ORDER BY ALL"
    ).fetchall():
        weights[field][stream] = weight
    return Learned(weights, cases)


def _from_agreement(duck: "duckdb.DuckDBPyConnection", votes: str) -> None:
    """Makes `agreement` (field, stream, share): how often each stream is right, if what most trusted ones say is."""
    begin = f"SELECT DISTINCT field, stream, 0.8 AS share FROM {votes}"  # noqa: S608 - our own names
    duck.execute(f"CREATE OR REPLACE TABLE agreement AS {begin}")
    for _ in range(ROUNDS):
        duck.execute(
            f"""CREATE OR REPLACE TABLE agreement AS
            WITH scores AS (SELECT v.field, v.item, v.choice, sum(ln(share / (1 - share))) AS score
                            FROM {votes} v JOIN agreement USING (field, stream) GROUP BY ALL),
                 chances AS (SELECT field, item, choice, exp(score - max(score) OVER w) AS chance FROM scores
                             WINDOW w AS (PARTITION BY field, item)),
                 shares AS (SELECT *, chance / sum(chance) OVER (PARTITION BY field, item) AS share FROM chances),
                 meant AS (SELECT v.field, v.stream, (sum(s.share) + 4) / (count(*) + 5) AS share
                           FROM {votes} v JOIN shares s USING (field, item, choice) GROUP BY ALL)
            SELECT field, stream, least(greatest(share, {LEAST}), {MOST}) AS share FROM meant"""  # noqa: S608 - our own names
        )


def _from_reviewed(duck: "duckdb.DuckDBPyConnection", votes: str, reviewed: str) -> None:
    """Makes `learned` (field, stream, weight): as in reviewed cases, and by agreement where a stream has few."""
    duck.execute(
        f"""CREATE OR REPLACE TABLE learned AS
        WITH seen AS (SELECT v.field, v.stream, count(*) AS cases, count(*) FILTER (v.choice = r.choice) AS hits
                      FROM {votes} v JOIN {reviewed} r USING (field, item) GROUP BY ALL),
             mixed AS (SELECT a.field, a.stream, least(greatest(
                           (coalesce(hits, 0) + {PRIOR} * a.share) / (coalesce(cases, 0) + {PRIOR}), {LEAST}), {MOST})
                           AS share FROM agreement a LEFT JOIN seen USING (field, stream))
        SELECT field, stream, ln(share / (1 - share)) AS weight FROM mixed"""  # noqa: S608 - our own names
    )


def threshold(cases: Sequence[tuple[float, bool]], precision: float) -> float | None:
    """The lead from which on a decision is right in `precision` of all cases; None if the cases do not show one.

    The lower end of Wilson's interval (one-sided, 90 %) must reach it.

    Args:
        cases: the lead of the winner over the next, and whether it was right.
    """
    found, right = None, 0
    ordered = sorted(cases, reverse=True)
    for number, (lead, is_right) in enumerate(ordered, start=1):
        right += is_right
        if number < len(ordered) and ordered[number][0] == lead:
            continue
        if number >= FEWEST_CASES and _wilson(right, number) >= precision:
            found = lead
    return None if found is None else math.nextafter(found, -math.inf)


def _wilson(right: int, count: int) -> float:
    share, square = right / count, _Z * _Z
    spread = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return (share + square / (2 * count) - spread) / (1 + square / count)

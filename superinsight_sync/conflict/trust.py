"""How far each stream can be trusted: learned from agreement, calibrated on cases that people decided.

Weights are learned by expectation maximization over who claims what (after Dong, Berti-Équille and Srivastava,
"Integrating conflicting data", VLDB 2009, without its copy detection). Sources copy from each other, so the
probabilities that come out are far too high: they are used as scores only, and a score decides nothing before reviewed
cases have shown from which lead on it was right often enough.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

ROUNDS = 20
FEWEST_CASES = 30
"""Reviewed cases that a threshold needs at least."""
_Z = 1.28


def learn_weights(duck: "duckdb.DuckDBPyConnection", votes: str) -> None:
    """Makes the table `learned` (field, stream, weight): the logarithm of a stream's odds to be right.

    Args:
        votes: a relation (field, item, choice, stream): which value a stream claims for a thing.
    """
    duck.execute(
        f"CREATE OR REPLACE TABLE learned AS SELECT DISTINCT field, stream, ln(4) AS weight FROM {votes}"  # noqa: S608 - quoted names
    )
    for _ in range(ROUNDS):
        duck.execute(
            f"""CREATE OR REPLACE TABLE learned AS
            WITH scores AS (SELECT v.field, v.item, v.choice, sum(l.weight) AS score FROM {votes} v
                            JOIN learned l USING (field, stream) GROUP BY ALL),
                 chances AS (SELECT field, item, choice, exp(score - max(score) OVER w) AS chance FROM scores
                             WINDOW w AS (PARTITION BY field, item)),
                 shares AS (SELECT *, chance / sum(chance) OVER (PARTITION BY field, item) AS share FROM chances),
                 right_share AS (SELECT v.field, v.stream, (sum(s.share) + 4) / (count(*) + 5) AS share
                                 FROM {votes} v JOIN shares s USING (field, item, choice) GROUP BY ALL)
            SELECT field, stream, ln(share / (1 - share)) AS weight FROM (
                SELECT field, stream, least(greatest(share, 0.05), 0.99) AS share FROM right_share)"""  # noqa: S608 - our own names
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

"""How often the right value wins where real sources disagree.

python -m benchmarks.agree flights <folder>   flights of three days: claims of 38 web sites, with a hand-checked truth

The folder holds `claims-YYYYMMDD.tsv.gz` (source, flight and six values) and `truth-YYYYMMDD.tsv` (flight and six
values).
The truth of the first day stands for the cases that people reviewed: `trust` and the order of `fixed priority` are
calibrated on it alone. All figures are of the other days. Only items with at least two different values count.
"""

import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from superinsight_sync.conflict.trust import Learned, learn, threshold

FIELDS = (
    "scheduled_departure",
    "departure",
    "departure_gate",
    "scheduled_arrival",
    "arrival",
    "arrival_gate",
)
PRECISION = 0.95
Item = tuple[str, str, str]
"""Day, flight, field."""


@dataclass(frozen=True)
class Claims:
    """What was claimed: item → (source, value) in the order of the file; and what is right."""

    by_item: dict[Item, list[tuple[str, str]]]
    truth: dict[Item, str]


def plain(field: str, text: str) -> str | None:
    """A time as `HH:MM`, a gate without its terminal's name; None for what says nothing."""
    if field.endswith("gate"):
        gate = re.sub(r"^(?:TERMINAL|TERM|GATE|CONCOURSE)\b|[^A-Z0-9]", "", text.upper().split("GATE")[-1])
        return gate if gate and any(c.isdigit() for c in gate) else None
    found = re.search(r"(\d{1,2}):(\d{2})\s*([ap])?", text, re.IGNORECASE)
    if found is None:
        return None
    hour, half = int(found[1]), (found[3] or "").lower()
    return f"{hour % 12 + 12 * (half == 'p') if half else hour:02d}:{found[2]}"


def read(folder: Path) -> Claims:
    """All days in the folder."""
    by_item: dict[Item, list[tuple[str, str]]] = defaultdict(list)
    truth: dict[Item, str] = {}
    for path in sorted(folder.glob("claims-*.tsv.gz")):
        day = path.name[7:15]
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
            for source, flight, *texts in (line.rstrip("\n").split("\t") for line in lines):
                for item, value in _values(day, flight, texts):
                    by_item[item].append((source, value))
        for line in (folder / f"truth-{day}.tsv").read_text(encoding="utf-8", errors="replace").splitlines():
            flight, *texts = line.split("\t")
            truth |= dict(_values(day, flight, texts))
    return Claims(by_item, truth)


def _values(day: str, flight: str, texts: list[str]) -> Iterator[tuple[Item, str]]:
    for field, text in zip(FIELDS, texts, strict=False):
        if (value := plain(field, text)) is not None:
            yield (day, flight, field), value


def learned_of(claims: Claims, reviewed: Iterable[Item]) -> Learned:
    """What `sis conflicts learn` would learn, if the truth of some items were people's decisions."""
    said = [(f, f"{day} {flight}", v, s) for (day, flight, f), c in claims.by_item.items() for s, v in c]
    right = [(i[2], f"{i[0]} {i[1]}", claims.truth[i]) for i in reviewed]
    names = ("field", "item", "choice", "stream")
    with duckdb.connect() as duck:
        for table, rows, width in (("said", said, 4), ("right", right, 3)):
            columns = {n: pa.array([r[i] for r in rows], pa.string()) for i, n in enumerate(names[:width])}
            duck.register(f"{table}_given", pa.table(columns))
            duck.execute(f"CREATE TABLE {table}_rows AS SELECT DISTINCT * FROM {table}_given")
        return learn(duck, "said_rows", "right_rows")


def ranked(said: list[tuple[str, str]], weight: Mapping[str, float]) -> list[tuple[float, str]]:
    """The values with the sum of their sources' weights, the greatest first."""
    scores: dict[str, float] = defaultdict(float)
    for source, value in dict.fromkeys(said):
        scores[value] += weight.get(source, 1.0)
    return sorted(((score, value) for value, score in scores.items()), reverse=True)


def main(folder: Path) -> None:
    """Prints, for each way, which share of the conflicts it decides and how often it is right."""
    claims = read(folder)
    items = {i: s for i, s in claims.by_item.items() if len({v for _, v in s}) > 1 and i in claims.truth}
    first = min(day for day, _, _ in items)
    seen, test = ({i: s for i, s in items.items() if (i[0] == first) is wanted} for wanted in (True, False))
    blind, learned = learned_of(claims, ()), learned_of(claims, seen)
    leads = {f: threshold(learned.cases.get(f, ()), PRECISION) for f in FIELDS}
    order = _order(seen, claims.truth)
    found: dict[str, list[bool]] = defaultdict(list)
    for item, said in test.items():
        right = claims.truth[item]
        votes = ranked(said, {source: 1.0 for source, _ in said})
        found["majority vote"].append(votes[0][1] == right)
        found["newest wins (the last in the file)"].append(said[-1][1] == right)
        found["fixed priority (as right on the first day)"].append(
            min(said, key=lambda c: order.get(c[0], 1e9))[1] == right
        )
        found["weights from agreement alone, always"].append(
            ranked(said, blind.weights[item[2]])[0][1] == right
        )
        best = ranked(said, learned.weights[item[2]])
        found["weights from agreement and reviews, always"].append(best[0][1] == right)
        lead = leads[item[2]]
        if lead is not None and best[0][0] - best[1][0] > lead:
            found[f"trust, calibrated for {PRECISION:.0%}"].append(best[0][1] == right)
    print(
        f"{len(items)} conflicts of {len(claims.by_item)} items; {len(seen)} to calibrate, {len(test)} to test"
    )
    for way, outcomes in found.items():
        print(
            f"{way:45} decides {len(outcomes) / len(test):6.1%}, right {sum(outcomes) / len(outcomes):6.1%}"
        )
    print("decides nothing of:", ", ".join(f for f, lead in leads.items() if lead is None) or "no field")


def _order(seen: dict[Item, list[tuple[str, str]]], truth: dict[Item, str]) -> dict[str, float]:
    """Source → how often it was wrong."""
    right: dict[str, list[bool]] = defaultdict(list)
    for item, said in seen.items():
        for source, value in said:
            right[source].append(value == truth[item])
    return {source: 1 - (sum(r) + 1) / (len(r) + 2) for source, r in right.items()}


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "flights":
        raise SystemExit(__doc__)
    main(Path(sys.argv[2]))

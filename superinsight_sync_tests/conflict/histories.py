"""Labelled histories of things in three sources: what happened, what disagrees at the end, and what is right.

Knows nothing of the engine. Clocks are up to two minutes off; a change that a source makes without knowing of another
one comes at least ten minutes after it. Records come late, twice and in any order.
"""

import random
from dataclasses import dataclass, field

from superinsight_sync_tests.conflict.engine import Version

SOURCES = ("crm/customers", "shop/customers", "erp/customers")
FIELDS = ("name", "phone")
SKEW = 2
APART = 10


@dataclass
class History:
    """What the sources say of one thing, in the order in which it comes, and the truth.

    Attributes:
        conflicts: fields whose values contend at the end; `deleted_at` for a delete that an update contends with.
        values: field → what is right.
        gone: whether the thing is gone.
    """

    email: str
    versions: list[Version]
    conflicts: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    gone: bool = False


def history(seed: int) -> History:
    """One thing's history."""
    chance = random.Random(seed)
    email = f"{seed}@example.com"
    sources = SOURCES[: chance.choice([2, 3, 3])]
    skew = {s: chance.randint(-SKEW, SKEW) for s in sources}
    now = 100
    truth = {f: f"{seed} {f} 0" for f in FIELDS}
    says = {s: dict(truth) for s in sources}
    made = History(email, [])

    def tell(source: str, *, gone: bool = False) -> None:
        values = (email, says[source]["name"], says[source]["phone"])
        made.versions.append(Version(source, f"{seed}{source[0]}", now + skew[source], values, gone))

    for source in sources:
        tell(source)
    for step in range(chance.randint(0, 4)):
        now += APART
        changed, source = chance.choice(FIELDS), chance.choice(sources)
        truth[changed] = says[source][changed] = f"{seed} {changed} {step + 1}"
        tell(source)
        for other in sources:
            if other != source:
                now += APART
                says[other][changed] = truth[changed]
                tell(other)
    _end(chance, now, sources, (truth, says), made, skew)
    made.values = truth
    late = [v for v in made.versions if chance.random() < 0.2]
    made.versions = [*(v for v in made.versions if v not in late), *late, *made.versions[:1]]
    return made


def _end(
    chance: random.Random,
    now: int,
    sources: tuple[str, ...],
    state: tuple[dict[str, str], dict[str, dict[str, str]]],
    made: History,
    skew: dict[str, int],
) -> None:
    """The last thing that happens: nothing, an update that nobody follows, a conflict, or a delete."""
    truth, says = state
    first, second = chance.sample(sources, 2)
    seed = made.email.partition("@")[0]

    def tell(source: str, at: int, *, gone: bool = False) -> None:
        values = (made.email, says[source]["name"], says[source]["phone"])
        made.versions.append(Version(source, f"{seed}{source[0]}", at + skew[source], values, gone))

    kind = chance.choice(["nothing", "update", "conflict", "conflict", "delete", "update and delete"])
    changed = chance.choice(FIELDS)
    if kind in ("update", "conflict", "update and delete"):
        says[first][changed] = truth[changed] = f"{seed} {changed} first"
        tell(first, now + APART)
    if kind == "conflict":
        says[second][changed] = truth[changed] = f"{seed} {changed} second"
        tell(second, now + 2 * APART)
        made.conflicts = {changed}
    if kind in ("delete", "update and delete"):
        made.gone = True
        tell(second, now + 2 * APART, gone=True)
    if kind == "update and delete":
        made.conflicts = {"deleted_at"}

"""What must hold of entities whatever records come in whatever order.

An example holds many small worlds that share nothing, since a resolve takes as long for one of them as for all.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync_tests.conflict.engine import Resolving, Version
from superinsight_sync_tests.conflict.entities import customer

WORLDS = 35
FEW = settings(max_examples=3)
"""3 examples of 35 worlds: 105 histories."""
STREAMS = ("crm/customers", "shop/customers")
SPEC = customer(
    match=[{"equal": ["email"]}, {"similar": {"name": 1.0}, "block": ["left(name, 1)"], "at_least": 0.9}],
    max_group=4,
    strategy=[
        {"strategy": "newest", "tolerance": "1m"},
        {"strategy": "merge_fields", "take": "most_frequent"},
    ],
    fields={"phone": {"strategy": [{"strategy": "manual"}]}},
)
World = list[Version]


@st.composite
def worlds(draw: st.DrawFn) -> list[World]:
    return [draw(world(number)) for number in range(WORLDS)]


def world(number: int) -> st.SearchStrategy[World]:
    sign = chr(0x4E00 + number)

    def of(*texts: str) -> st.SearchStrategy[str | None]:
        return st.sampled_from([*(sign + t for t in texts), None])

    versions = st.builds(
        Version,
        stream=st.sampled_from(STREAMS),
        key=of("1", "2", "3").map(str),
        minute=st.integers(0, 5),
        values=st.tuples(of("m", "n"), of("Anna", "Anne", "Bob"), of("a", "b")),
        gone=st.sampled_from([False, False, False, True]),
        load=st.sampled_from([f"{sign}1", f"{sign}2"]),
    )
    return st.lists(
        versions, min_size=1, max_size=8, unique_by=lambda v: (v.stream, v.key, v.minute, v.values, v.gone)
    )


def resolved(batches: list[World]) -> Resolving:
    made = Resolving(SPEC)
    for batch in batches:
        made.take(batch)
    return made


@FEW
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_in_which_records_come_changes_nothing(some: list[World], chance: Any) -> None:
    batches: list[World] = [[], [], []]
    for one in some:
        for version in one:
            chance.choice(batches).append(version)
    for batch in batches:
        chance.shuffle(batch)
    whole = resolved([[v for one in some for v in one]])
    assert resolved([b for b in batches if b]).entities() == whole.entities()


@FEW
@given(worlds())
def test_every_record_is_in_exactly_one_entity_also_when_it_comes_twice(some: list[World]) -> None:
    everything = [v for one in some for v in one]
    made = resolved([everything[::2], everything[1::2]])
    ids = [rid for row in made.entities() for rid in (row[0], *row[5])]
    assert sorted(ids) == sorted({v.rid for v in everything})


@FEW
@given(worlds(), st.randoms(use_true_random=False))
def test_decisions_that_are_all_taken_back_leave_what_was_before(some: list[World], chance: Any) -> None:
    made = resolved([[v for one in some for v in one]])
    states, done = [], []
    for _ in range(2):
        states.append(made.entities())
        done.append(made.decide([_decision(made, one, chance) for one in some]))
    for decisions in reversed(done):
        made.undo(decisions)
        assert made.entities() == states.pop()


def _decision(made: Resolving, one: World, chance: Any) -> tuple[Any, dict[str, Any]]:
    """Some decision about a world."""
    mine = {v.rid for v in one}
    conflicts = [c for c in made.conflicts() if c["entity_id"] in mine]
    kind = chance.choice(["split", "undo_load", *(["resolve", "resolve"] if conflicts else [])])
    if kind == "split":
        return "split", {"records": sorted(chance.sample(sorted(mine), chance.randint(1, len(mine))))}
    if kind == "undo_load":
        return "undo_load", {"load": chance.choice(one).load}
    conflict = chance.choice(conflicts)
    return "resolve", {
        "entity_id": conflict["entity_id"],
        "field": conflict["field"],
        "signature": conflict["signature"],
        "hashes": [c["choice"] for c in conflict["claims"]],
        "choice": chance.choice(conflict["claims"])["choice"],
        "text": None,
    }

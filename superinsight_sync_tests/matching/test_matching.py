"""Which records are one thing: groups of what matches, likeness within blocks, MinHash."""

import random
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.matching.clusters import cluster
from superinsight_sync.matching.edges import make_edges, make_groups
from superinsight_sync.matching.minhash import BANDS, ROWS, signatures
from superinsight_sync.model.entity import MatchSpec

Edges = list[tuple[int, int]]


def plain(edges: Edges) -> dict[int, int]:
    """Each node's least companion, by walking."""
    label = {n: n for n in range(20)}
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            least = min(label[a], label[b])
            changed = changed or label[a] != least or label[b] != least
            label[a] = label[b] = least
    return label


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "1"}) as made:
        made.execute("CREATE TABLE n AS SELECT unnest(range(20)) AS node")
        yield made


@settings(max_examples=100)
@given(edges=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), min_size=1, max_size=30))
def test_groups_are_what_edges_join_whatever_their_order(
    duck: duckdb.DuckDBPyConnection, edges: Edges
) -> None:
    duck.execute(
        "CREATE OR REPLACE TABLE e AS SELECT unnest(?) AS a, unnest(?) AS b",
        [[e[0] for e in edges], [e[1] for e in edges]],
    )
    cluster(duck, "n", "e", "labels")
    assert dict(duck.execute("SELECT node, label FROM labels").fetchall()) == plain(edges)


def test_a_long_chain_is_one_group() -> None:
    with duckdb.connect(config={"threads": "1"}) as duck:
        order = list(range(3000))
        random.Random(1).shuffle(order)
        duck.execute("CREATE TABLE n AS SELECT unnest(range(3000)) AS node")
        duck.execute("CREATE TABLE e AS SELECT unnest(?) AS a, unnest(?) AS b", [order[:-1], order[1:]])
        cluster(duck, "n", "e", "labels")
        assert duck.execute("SELECT count(DISTINCT label) FROM labels").fetchall() == [(1,)]


def matched(match: MatchSpec, rows: list[tuple[str, str | None]]) -> set[tuple[str, str]]:
    """Pairs of records that match, by number."""
    with duckdb.connect(config={"threads": "1"}) as duck:
        duck.execute("CREATE TABLE rows (_node VARCHAR, name VARCHAR, zip VARCHAR, _tag VARCHAR)")
        duck.executemany("INSERT INTO rows VALUES (?, ?, ?, '')", [(str(i), *r) for i, r in enumerate(rows)])
        make_groups(duck, [match], ["name", "zip"], "rows", "grouped")
        duck.execute("CREATE TABLE sized AS SELECT *, 1 AS size FROM grouped")
        make_edges(duck, [match], "rows", "sized", {0: 100}, "edges")
        return set(duck.execute("SELECT a, b FROM edges WHERE a <> b").fetchall())


def test_records_that_are_alike_match_within_their_block_only() -> None:
    match = MatchSpec(similar={"name": 1.0}, block=("zip",), at_least=0.9)
    rows = [
        ("Anna Schmidt", "1"),
        ("Ana Schmidt", "1"),
        ("Anna Schmidt", "2"),
        ("Bert Brecht", "1"),
        ("", "1"),
    ]
    assert matched(match, list(rows)) == {("0", "1")}


def test_minhash_finds_long_texts_that_are_nearly_the_same() -> None:
    text = "the quick brown fox jumps over the lazy dog while the cat sleeps by the warm fire"
    match = MatchSpec(similar={"name": 1.0}, minhash="name", at_least=0.85)
    rows = [
        (text, None),
        (text.replace("quick", "quiet"), None),
        ("something else entirely, of other words", None),
    ]
    assert matched(match, list(rows)) == {("0", "1")}
    assert (signatures([text]) == signatures([text.upper()])).all()
    assert signatures(["", "é😀"]).shape == (2, BANDS * ROWS)

"""GraphQL: only queries are sent; connections, partial errors, edges."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.http.graphql import checked_query
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.api import FakeApi, answer, fake_api
from superinsight_sync_tests.sources.reading import read, stream


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as served:
        yield served


@pytest.fixture
def source(api: FakeApi, project: Settings) -> Source:
    return open_source({"kind": "graphql", "base_url": api.url, "allow_private": True}, project)


_WRITES = [
    "mutation { drop { ok } }",
    "mutation M($id: ID!) { remove(id: $id) { ok } }",
    "subscription { changes { id } }",
    "query A { a } mutation B { b }",
    "{ a } { b }",
    "type Query { a: Int }",
    "extend schema @link",
    "fragment F on T { a }",
    "",
    "}{",
]
_NOISE = st.sampled_from(["", " ", "\n", ",", "# mutation\n", "\ufeff", "\t\r\n", "#}\n"])


@given(attack=st.sampled_from(_WRITES), before=_NOISE, after=_NOISE, shout=st.booleans())
def test_nothing_but_one_query_is_ever_sent(attack: str, before: str, after: str, shout: bool) -> None:
    text = before + (attack.replace("mutation", "mutation ") if shout else attack) + after
    with pytest.raises(ConfigError, match=r"quer"):
        checked_query(text)


@given(name=st.from_regex(r"[a-z]{1,8}", fullmatch=True), noise=_NOISE, named=st.booleans())
def test_a_query_passes_without_its_comments(name: str, noise: str, named: bool) -> None:
    found = checked_query(f"{noise}{'query Q ' if named else ''}{{ {name} {{ id {noise} }} }}{noise}")
    assert "#" not in found.text
    assert found.records == f"data.{name}"


def test_a_deep_or_long_query_is_refused() -> None:
    for text in ("{a" * 100_000, "{" * 3_000 + "a" + "}" * 3_000, "{ a(" + "b:1," * 20_000 + ") }"):
        with pytest.raises(ConfigError):
            checked_query(text)


def reply(*ids: int, more: bool = False, **extra: Any) -> Any:
    edges = [{"node": {"id": i}} for i in ids]
    info = {"hasNextPage": more, "endCursor": f"c{ids[-1]}" if ids else None}
    return lambda asked: answer({"data": {"found": {"edges": edges, "pageInfo": info}}, **extra})


EDGES = "query($after: String) { found: orders(after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } } }"


def test_a_connection_s_edges_are_walked_to_the_end(api: FakeApi, source: Source) -> None:
    pages = {None: reply(1, 2, more=True), "c2": reply(3, 4, more=True), "c4": reply(5)}

    def serve(asked: Any) -> Any:
        return pages[json.loads(asked.body)["variables"].get("after")](asked)

    api.otherwise = serve
    found = read(source, ReadRequest(stream(query=EDGES)))
    assert found.column("id").to_pylist() == [1, 2, 3, 4, 5]


def test_errors_beside_data_stop_the_read_or_are_set_aside(api: FakeApi, source: Source) -> None:
    api.otherwise = reply(1, 2, errors=[{"message": "order 3 is broken"}])
    with pytest.raises(DataError, match="tells of an error"):
        read(source, ReadRequest(stream(query=EDGES)))
    taking = source.read(ReadRequest(stream(query=EDGES, options={"partial": "take"})))
    taking.set_aside()  # type: ignore[attr-defined]
    with taking as batches:
        assert batches.read_all().column("id").to_pylist() == [1, 2]
    (aside,) = taking.rejects().to_pylist()  # type: ignore[attr-defined]
    assert "errors beside its data" in aside["reason"]
    assert "order 3 is broken" in aside["record"]


def test_an_answer_of_errors_alone_is_told(api: FakeApi, source: Source) -> None:
    api.otherwise = lambda asked: answer({"errors": [{"message": "no such field"}]})
    with pytest.raises(DataError, match="tells of an error at 'errors'"):
        source.describe(stream(query=EDGES))


def test_a_page_that_leads_back_ends_the_read(api: FakeApi, source: Source) -> None:
    api.otherwise = reply(1, 2, more=True)
    with pytest.raises(DataError, match="page 2"):
        read(source, ReadRequest(stream(query=EDGES)))


@pytest.mark.parametrize("said", [None, "?"])
def test_a_page_that_does_not_say_whether_there_is_a_next_fails(
    api: FakeApi, source: Source, said: Any
) -> None:
    api.otherwise = reply(1, more=said)
    with pytest.raises(DataError, match="does not say at 'data.found.pageInfo.hasNextPage'"):
        read(source, ReadRequest(stream(query=EDGES)))


NODES = "query($after: String) { found: orders(after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (NODES, {"nodes": [{"id": 1}, None, {"id": 2}]}),
        (EDGES, {"edges": [{"node": {"id": 1}}, {"node": None}, {"node": {"id": 2}}]}),
        (EDGES, {"edges": [{"node": {"id": 1}}, None, {"node": {"id": 2}}]}),
    ],
)
def test_nodes_that_are_null_are_counted(api: FakeApi, source: Source, query: str, found: Any) -> None:
    info = {"pageInfo": {"hasNextPage": False, "endCursor": None}}
    api.otherwise = lambda asked: answer({"data": {"found": {**found, **info}}})
    declared = stream(query=query)
    with pytest.raises(DataError):
        read(source, ReadRequest(declared))
    taking = source.read(ReadRequest(declared))
    taking.set_aside()  # type: ignore[attr-defined]
    with taking as batches:
        assert batches.read_all().column("id").to_pylist() == [1, 2]
    (aside,) = taking.rejects().to_pylist()  # type: ignore[attr-defined]
    assert (aside["line"], aside["record"]) == (2, "null")

"""Kinds whose columns a sample tells: what an increment lacks changes nothing in the table."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef, is_system
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.records.json_known_types import with_known
from superinsight_sync.records.json_types import Seen
from superinsight_sync_tests.servers.api import answer, fake_api
from superinsight_sync_tests.servers.mongo import MongoServer

Serve = Callable[[list[dict[str, Any]]], pa.Table]
"""Lets the source have these records only, pulls, and gives the table."""


@pytest.fixture(params=["rest", "graphql", "mongodb"])
def serve(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    engine = Engine(load_settings({"SIS_PROJECT_DIR": str(tmp_path)}), "run-1")
    kind = request.param
    places = {"rest": "endpoint", "graphql": "query", "mongodb": "collection"}
    place = "query { things { id } }" if kind == "graphql" else "things"
    stream = {"name": "things", places[kind]: place, "primary_key": ["id"]}
    stream["sync"] = {"mode": "incremental", "cursor": "id", "by": "version"}

    def pulled(connection: dict[str, Any]) -> pa.Table:
        spec = SourceSpec.model_validate({"name": "shop", "connection": connection, "streams": [stream]})
        pull_stream(engine, spec, spec.streams[0])
        found = engine.lake.scan(TableRef("default", "shop", "things", "raw")).read_all().sort_by("id")
        return found.select([n for n in found.column_names if not is_system(n) and n != "_id"])

    if kind == "mongodb":
        server: MongoServer = request.getfixturevalue("mongo_server")
        dsn = server.new_dsn()
        monkeypatch.setenv("SAMPLED_DSN", dsn)
        with MongoClient[dict[str, Any]](dsn) as client:

            def of_documents(records: list[dict[str, Any]]) -> pa.Table:
                things = client.get_default_database().things
                things.delete_many({})
                things.insert_many([{**r, "_id": r["id"]} for r in records])
                return pulled({"kind": kind, "dsn": "{{ env.SAMPLED_DSN }}"})

            yield of_documents
        return
    with fake_api() as api:

        def of_pages(records: list[dict[str, Any]]) -> pa.Table:
            api.otherwise = lambda asked: answer(
                {"data": {"things": records}} if kind == "graphql" else records
            )
            return pulled({"kind": kind, "base_url": api.url, "allow_private": True})

        yield of_pages


FULL = {"id": 1, "n": 5, "x": 1.5, "t": "a", "yes": True, "in": {"a": 1, "b": "c"}, "many": [1]}


def test_an_increment_of_nulls_changes_no_type(serve: Serve) -> None:
    before = serve([FULL]).schema
    assert serve([{**dict.fromkeys(FULL), "id": 2}]).schema == before
    found = serve([{**FULL, "id": 3, "n": 6}])
    assert found.schema == before
    assert found.column("n").to_pylist() == [5, None, 6]
    assert found.column("in").to_pylist() == [FULL["in"], None, FULL["in"]]


def test_an_increment_that_lacks_fields_changes_no_type_and_later_ones_fill_them(serve: Serve) -> None:
    before = serve([FULL]).schema
    assert serve([{"id": 2, "in": {"a": 7}}]).schema == before
    found = serve([{**FULL, "id": 3, "x": 2}])
    assert found.schema == before
    assert found.column("x").to_pylist() == [1.5, None, 2.0]
    assert found.column("in").to_pylist() == [FULL["in"], {"a": 7, "b": None}, FULL["in"]]


def test_a_whole_number_that_later_has_a_fraction_loses_nothing(serve: Serve) -> None:
    """No number type holds all of both, so the contract keeps their text."""
    serve([FULL])
    assert serve([{**FULL, "id": 2, "n": 1.5}]).column("n").to_pylist() == ["5", "1.5"]
    assert serve([{**FULL, "id": 3, "n": 2}]).column("n").to_pylist() == ["5", "1.5", "2"]


def test_a_number_that_becomes_a_list_is_refused_and_told(serve: Serve) -> None:
    serve([FULL])
    with pytest.raises(ConfigError, match="column 'n' was int64 and is now list.* no common type"):
        serve([{**FULL, "id": 2, "n": [1]}])


@pytest.mark.parametrize("serve", ["mongodb"], indirect=True)
def test_a_time_that_is_missing_stays_a_time(serve: Serve) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    before = serve([{"id": 1, "at": at}]).schema
    assert serve([{"id": 2, "at": None}]).schema == before
    assert serve([{"id": 3, "at": at}]).column("at").to_pylist() == [at, None, at]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats(-1e6, 1e6) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_what_a_column_keeps_holds_the_old_and_the_new(old: list[Any], new: list[Any]) -> None:
    table, seen = Seen(), Seen()
    table.add(old)
    seen.add(new)
    held = with_known(seen, table.arrow_type())
    if held is not None:
        kept = held.array(new).to_pylist()
        assert [v is None for v in kept] == [v is None for v in new]
        assert all(k == v for k, v in zip(kept, new, strict=True) if not isinstance(v, list | dict))
    if not seen.kinds and table.kinds and not table.is_json_text:
        assert held is not None and held.arrow_type() == table.arrow_type()

"""A whole pull asks a server that fails four times, whoever repeats it, and not before it may."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.api import Asked, FakeApi, Reply, answer, fake_api

SOURCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rest": ({"kind": "rest", "base_url": "{url}"}, {"endpoint": "x"}),
    "graphql": ({"kind": "graphql", "base_url": "{url}"}, {"query": "{ things { id } }"}),
    "soap": ({"kind": "soap", "wsdl": "{url}/service?wsdl"}, {"operation": "ListThings"}),
    "http": ({"kind": "files", "path": "{url}/"}, {"path": "a.csv"}),
    "s3": (
        {"kind": "files", "path": "s3://bucket/in", "endpoint": "{url}", "region": "x", "anonymous": True},
        {"path": "a.csv"},
    ),
}  # fmt: skip


class Failing:
    """Replies with this status, and keeps when it was asked."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status, self.headers, self.at_s = status, headers, list[float]()

    def __call__(self, asked: Asked) -> Reply:
        self.at_s.append(time.monotonic())
        return answer({}, self.status, **self.headers)

    @property
    def gaps_s(self) -> list[float]:
        return [b - a for a, b in pairwise(self.at_s)]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as fake:
        yield fake


def declared(api: FakeApi, kind: str) -> SourceSpec:
    connection, stream = SOURCES[kind]
    filled = {k: v.replace("{url}", api.url) if isinstance(v, str) else v for k, v in connection.items()}
    return SourceSpec.model_validate(
        {
            "name": "shaky",
            "connection": {**filled, "allow_private": True},
            "streams": [{"name": "things", **stream}],
        }
    )


def fails(engine: Engine, source: SourceSpec) -> None:
    """The pull fails, and leaves a dead letter of four tries."""
    with pytest.raises(TransientError):
        pull_stream(engine, source, source.streams[0])
    assert [letter.attempts for letter in engine.state.dead_letters.list()] == [4]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", SOURCES)
def test_a_server_that_is_down_is_asked_four_times(engine: Engine, api: FakeApi, kind: str) -> None:
    api.otherwise = Failing(503)
    fails(engine, declared(api, kind))
    assert len(api.asked) == 4


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", [k for k in SOURCES if k != "s3"])
def test_a_server_is_asked_again_not_before_its_retry_after(engine: Engine, api: FakeApi, kind: str) -> None:
    api.otherwise = failing = Failing(503, Retry_After="1")
    fails(engine, declared(api, kind))
    assert len(failing.at_s) == 4
    assert min(failing.gaps_s) >= 1


def rest_page(api: FakeApi, failing: Failing) -> Callable[[Asked], Reply]:
    """The first page is there, the second fails."""
    return lambda a: failing(a) if a.params.get("page") == "2" else answer([{"id": 1}])


def http_file(api: FakeApi, failing: Failing) -> Callable[[Asked], Reply]:
    """The file is there, its bytes are not given."""
    there = {"Content_Range": "bytes 0-0/9", "ETag": '"1"', "Accept_Ranges": "bytes"}
    return lambda a: answer(0, 206, **there) if a.headers.get("range") == "bytes=0-0" else failing(a)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("kind", "serve"), [("rest", rest_page), ("http", http_file)])
def test_what_fails_after_a_good_start_is_asked_four_times_in_its_time(
    engine: Engine, api: FakeApi, kind: str, serve: Callable[[FakeApi, Failing], Callable[[Asked], Reply]]
) -> None:
    failing = Failing(429, Retry_After="1")
    api.otherwise = serve(api, failing)
    source = declared(api, kind)
    options = {"pagination": {"type": "page"}, "sample_pages": 1} if kind == "rest" else {}
    stream = source.streams[0].model_copy(update={"options": options})
    source = source.model_copy(update={"streams": (stream,)})
    fails(engine, source)
    assert len(failing.at_s) == 4
    assert min(failing.gaps_s) >= 1

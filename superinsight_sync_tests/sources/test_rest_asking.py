"""What a REST API is asked: credentials, rates, searches, bounds."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from superinsight_sync.core.errors import AccessError, ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.records.json_document import Document
from superinsight_sync_tests.servers.api import Asked, FakeApi, Reply, answer, fake_api
from superinsight_sync_tests.sources.reading import column, open_source, read, stream

START, END = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as fake:
        yield fake


def source(api: FakeApi, project: Settings, **connection: Any) -> Any:
    return open_source({"kind": "rest", "base_url": api.url, "allow_private": True, **connection}, project)


def test_user_and_password_go_with_every_request(
    api: FakeApi, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PASSWORD", "pä:ss")
    wanted = "Basic " + base64.b64encode("me:pä:ss".encode()).decode()
    api.otherwise = lambda a: answer([{"id": 1}], 200 if a.headers.get("authorization") == wanted else 401)
    auth = {"type": "basic", "user": "me", "password": "{{ env.API_PASSWORD }}"}
    found = read(source(api, project, auth=auth), ReadRequest(stream(endpoint="x")))
    assert column(found, "id") == [1]
    with pytest.raises(AccessError, match="answered 401") as caught:
        read(source(api, project, auth={**auth, "user": "you"}), ReadRequest(stream(endpoint="x")))
    assert "pä:ss" not in str(caught.value)


def test_no_more_requests_start_than_the_rate_allows(api: FakeApi, project: Settings) -> None:
    started_s: list[float] = []

    def reply(asked: Asked) -> Reply:
        started_s.append(time.monotonic())
        page = int(asked.params["page"])
        return answer([{"id": page}] if page <= 6 else [])

    api.otherwise = reply
    options = {"pagination": {"type": "page"}, "columns": {"id": "int64"}, "sample_pages": 1}
    opened = source(api, project, max_requests_per_s=20)
    assert column(read(opened, ReadRequest(stream(endpoint="x", options=options))), "id") == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    gaps = [b - a for a, b in pairwise(started_s[1:])]  # the first was the sample's
    assert sum(gaps) / len(gaps) >= 0.9 / 20


@pytest.mark.parametrize("limit", [{"max_concurrency": 1}, {"max_requests_per_s": 25}])
def test_streams_that_are_read_side_by_side_share_the_limits(
    api: FakeApi, project: Settings, limit: dict[str, Any]
) -> None:
    under_way, most, started_s = 0, 0, list[float]()
    counting = threading.Lock()

    def reply(asked: Asked) -> Reply:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
            started_s.append(time.monotonic())
        time.sleep(0.02)
        with counting:
            under_way -= 1
        return answer([{"id": 1}])

    def one(_: int) -> int:
        return int(read(source(api, project, **limit), ReadRequest(stream(endpoint="x"))).num_rows)

    api.otherwise = reply
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(4))) == [1] * 4
    if "max_concurrency" in limit:
        assert most == 1
    else:
        assert started_s[-1] - started_s[0] >= 0.9 * (len(started_s) - 1) / 25


def test_a_search_is_paged_in_its_body(api: FakeApi, project: Settings) -> None:
    records = [{"id": n, "updated_at": f"2026-01-02T0{n}:00:00Z"} for n in range(8)]

    def reply(asked: Asked) -> Reply:
        body = json.loads(asked.body)
        assert (asked.method, asked.params, body["state"]) == ("POST", {}, {"in": ["open"]})
        rows = [r for r in records if r["updated_at"] >= body.get("since", "")]
        return answer({"hits": rows[body["from"] : body["from"] + body["take"]], "total": len(rows)})

    api.otherwise = reply
    pages = {"type": "offset", "param": "from", "size_param": "take", "size": 3, "total_path": "total"}
    options = {
        "method": "POST",
        "body": {"state": {"in": ["open"]}},
        "params_in": "body",
        "records": "hits",
        "pagination": pages,
        "columns": {"updated_at": "timestamp"},
        "increment": {"since_param": "since"},
    }
    declared = stream(
        endpoint="search", options=options, sync={"mode": "incremental", "cursor": "updated_at"}
    )
    found = read(source(api, project), ReadRequest(declared))
    assert column(found, "id") == list(range(8))
    after = datetime(2026, 1, 2, 5, tzinfo=UTC)
    assert column(read(source(api, project), ReadRequest(declared, after=after)), "id") == [5, 6, 7]
    assert json.loads(api.asked[-1].body)["since"] == "2026-01-02T05:00:00Z"
    with pytest.raises(ConfigError, match="a GET has no body"):
        read(source(api, project), ReadRequest(stream(endpoint="x", options={"params_in": "body"})))


BOUNDS = [
    ({}, "2026-01-02T03:04:05.678000Z", "2026-01-03T00:00:00Z"),
    ({"format": "epoch_s"}, "1767323045", "1767398400"),
    ({"format": "epoch_ms"}, "1767323045678", "1767398400000"),
    ({"format": "date"}, "2026-01-02", "2026-01-03"),
    ({"format": "epoch_s", "inclusive": False}, "1767323044", "1767398400"),
    ({"template": "updated >= '{value}'", "until_template": "< {value}", "format": "date"}, "updated >= '2026-01-02'", "< 2026-01-03"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "since", "until"), BOUNDS)
def test_bounds_are_written_as_declared(
    api: FakeApi, project: Settings, form: dict[str, Any], since: str, until: str
) -> None:
    """The server gives what is around the window, too; that is left out here."""
    epochs = {"epoch_s": 1, "epoch_ms": 1000}
    per_s = epochs.get(form.get("format", ""), 0)
    times = [datetime(2026, 1, 1, tzinfo=UTC), START, datetime(2026, 1, 2, 23, tzinfo=UTC), END]
    written = [int(t.timestamp() * per_s) if per_s else t.isoformat() for t in times]
    api.otherwise = lambda a: answer([{"id": n, "at": at} for n, at in enumerate(written)])
    increment = {"since_param": "since", "until_param": "until", **form}
    options = {"increment": increment, "columns": {"at": "timestamp"}}
    declared = stream(endpoint="x", options=options, sync={"mode": "incremental", "cursor": "at"})
    found = read(source(api, project), ReadRequest(declared, window=Window(START, END)))
    assert api.asked[-1].params == {"since": since, "until": until}
    # Seconds hold no milliseconds: the record at the start is written as before it.
    assert column(found, "id") == ([2] if per_s == 1 else [1, 2])


def test_a_time_cannot_be_asked_for_as_a_number(api: FakeApi, project: Settings) -> None:
    api.otherwise = lambda a: answer([{"id": 1, "at": "2026-01-01T00:00:00Z"}])
    options = {"increment": {"since_param": "since", "format": "number"}, "columns": {"at": "timestamp"}}
    declared = stream(endpoint="x", options=options, sync={"mode": "incremental", "cursor": "at"})
    with pytest.raises(ConfigError, match="increment.format is number"):
        read(source(api, project), ReadRequest(declared, after=START))


def test_a_number_is_asked_for_as_a_number(api: FakeApi, project: Settings) -> None:
    api.otherwise = lambda a: answer([{"id": n} for n in range(5)])
    options = {"increment": {"since_param": "above", "format": "number", "inclusive": False}}
    sync = {"mode": "incremental", "cursor": "id", "by": "version"}
    found = read(source(api, project), ReadRequest(stream(endpoint="x", options=options, sync=sync), after=3))
    assert (api.asked[-1].params, column(found, "id")) == ({"above": "2"}, [3, 4])


def test_parts_of_a_response_are_found_whatever_was_asked_before() -> None:
    document = Document(b'{"a": [{"b": 1}, 2], "c": {"0": [3]}}', "here")
    wanted = {
        "a[0].b": 1,
        "a.1": 2,
        "a.x": None,
        "a.9": None,
        "c.0": [3],
        "c.0.0": 3,
        "c.0.y": None,
        "z": None,
        "a.0.b.c": None,
    }
    for _ in range(2):
        assert {path: document.value(path) for path in wanted} == wanted
    assert document.records("a") == [b'{"b": 1}', b"2"]

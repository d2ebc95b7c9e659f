"""APIs that page in every style and that misbehave."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.http import client
from superinsight_sync.sources.http.retry_after import retry_after_s
from superinsight_sync_tests.servers.api import Asked, FakeApi, Reply, answer, fake_api
from superinsight_sync_tests.sources.reading import column, open_source, read, stream

STYLES: list[dict[str, Any]] = [
    {"type": "page", "size_param": "size"},
    {"type": "page", "size_param": "size", "pages_path": "pages"},
    {"type": "offset", "size_param": "size", "total_path": "total"},
    {"type": "offset", "size_param": "size", "stop": "short"},
    {"type": "cursor", "next_path": "next", "size_param": "size"},
    {"type": "link_header"},
    {"type": "link_header", "next_path": "link"},
    {"type": "keyset", "param": "beyond", "field": "id", "size_param": "size"},
    {"type": "none"},
]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)
    with fake_api() as fake:
        yield fake


def ids(
    api: FakeApi, project: Settings, connection: dict[str, Any] | None = None, **options: Any
) -> list[Any]:
    given = {"kind": "rest", "base_url": api.url, "allow_private": True, **(connection or {})}
    source = open_source(given, project)
    request = ReadRequest(stream(endpoint="v1/orders", options={"columns": {"id": "int64"}, **options}))
    return column(read(source, request), "id")


def paged(total: int, size: int) -> Callable[[Asked], Reply]:
    records = [{"id": n + 1} for n in range(total)]

    def reply(asked: Asked) -> Reply:
        p = asked.params
        start = int(p.get("offset", p.get("cursor", p.get("beyond", (int(p.get("page", 1)) - 1) * size))))
        rows = records[start : start + size] if p or asked.path == "/v1/orders" else []
        end = start + size
        link = f"/v1/orders?cursor={end}" if end < total else None
        headers = {"Link": f'<{link}>; rel="next"'} if link else {}
        pages = -(-total // size)
        body = {"rows": rows, "total": total, "pages": pages, "next": end if link else None, "link": link}
        return answer(body, 200, **headers)

    return reply


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(total=st.integers(0, 20), size=st.integers(1, 12), style=st.sampled_from(STYLES))
def test_every_record_arrives_once(
    api: FakeApi, project: Settings, total: int, size: int, style: dict[str, Any]
) -> None:
    single = style["type"] == "none"
    api.otherwise = paged(total, max(total, 1) if single else size)
    sized = {"size": size} if "size_param" in style else {}
    found = ids(api, project, records="rows", pagination={**style, **sized})
    assert found == list(range(1, total + 1))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_page_that_breaks_off_is_asked_for_again(api: FakeApi, project: Settings, cut: int) -> None:
    serve, seen = paged(30, 10), {"n": 0}

    def reply(asked: Asked) -> Reply | None:
        again = asked.params.get("page") == "2" and seen["n"] < cut
        seen["n"] += again
        return None if again else serve(asked)

    api.otherwise = reply
    paging = {"type": "page", "pages_path": "pages"}
    assert ids(api, project, records="rows", pagination=paging) == list(range(1, 31))


def test_a_server_that_never_recovers_is_asked_four_times(api: FakeApi, project: Settings) -> None:
    api.otherwise = lambda asked: answer({}, 500)
    with pytest.raises(TransientError, match="answered 500"):
        ids(api, project)
    assert len(api.asked) == 4


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept_and_capped(
    api: FakeApi, project: Settings, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(client.Api.__init__, "__defaults__", (waits.append,))
    api.script = [
        lambda a: answer({}, status, Retry_After="7"),
        lambda a: answer({}, status, Retry_After="999"),
    ]
    api.otherwise = lambda a: answer([{"id": 1}])
    assert ids(api, project, {"max_retry_after": "1m"}) == [1]
    assert waits == [7, 60]


def test_a_date_says_when_to_try_again() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < (retry_after_s({"retry-after": at}) or 0) <= 90
    assert retry_after_s({"retry-after": "soon"}) is None


HTML = (200, {"Content-Type": "text/html"}, b"<html>login</html>")


@pytest.mark.parametrize(
    ("reply", "options", "error", "text"),
    [
        (answer({}, 401), {}, AccessError, "401"),
        (answer({}, 403), {}, AccessError, "403"),
        (answer({}, 404), {}, ConfigError, "404.*Check base_url"),
        (answer({}, 302, Location="http://169.254.169.254/"), {}, ConfigError, "302"),
        (HTML, {}, ConfigError, "HTML instead of JSON"),
        (answer({"fault": "x"}), {"records": "rows"}, ConfigError, "no list of records at 'rows'"),
        (answer({"rows": [], "fault": "x"}), {"records": "rows", "error": "fault"}, DataError, "'fault'"),
        (answer({"rows": [], "error": "x"}), {"records": "rows"}, DataError, "at 'error'.*{error: false}"),
        (
            answer({"rows": [], "errors": [{"a": 1}]}),
            {"records": "rows"},
            DataError,
            "at 'errors'.*{error: errors}",
        ),
        (answer({"rows": []}), {}, ConfigError, "the response has: rows"),
    ],
)
def test_a_wrong_answer_is_told(
    api: FakeApi, project: Settings, reply: Reply, options: dict[str, Any], error: type[SisError], text: str
) -> None:
    api.otherwise = lambda asked: reply
    with pytest.raises(error, match=text):
        ids(api, project, **options)
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"rows": [], "error": "none, really"}, {"error": False}),
        ({"rows": [], "error": "of another kind"}, {"error": "fault"}),
        *(({"rows": [], "error": empty, "errors": empty}, {}) for empty in (None, False, 0, "", [], {})),
        ({"rows": [{"id": 1}], "error": "of a part of it"}, {}),
    ],
)
def test_no_error_is_told_where_there_is_none(
    api: FakeApi, project: Settings, body: dict[str, Any], options: dict[str, Any]
) -> None:
    api.otherwise = lambda asked: answer(body)
    assert ids(api, project, records="rows", **options) == [r["id"] for r in body["rows"]]


@pytest.mark.parametrize(
    ("paging", "text"),
    [
        ({"type": "page"}, "page 2 has the same records"),
        ({"type": "cursor", "next_path": "next"}, "page 2 has the same records"),
        ({"type": "keyset", "param": "beyond", "field": "id"}, "page 2 has the same records"),
    ],
)
def test_a_page_that_repeats_ends_the_read(
    api: FakeApi, project: Settings, paging: dict[str, Any], text: str
) -> None:
    api.otherwise = lambda asked: answer({"rows": [{"id": 1}], "next": "x"})
    with pytest.raises(DataError, match=text):
        ids(api, project, records="rows", pagination=paging)


def test_endless_and_backward_pages_end(api: FakeApi, project: Settings) -> None:
    def endless(asked: Asked) -> Reply:
        return answer([{"id": len(api.asked)}])

    api.otherwise = endless
    with pytest.raises(DataError, match="more than 7 pages"):
        ids(api, project, pagination={"type": "page"}, max_pages=7)
    api.otherwise = lambda asked: answer([{"id": 100 - len(api.asked)}])
    with pytest.raises(DataError, match="goes backwards"):
        ids(api, project, pagination={"type": "keyset", "param": "beyond", "field": "id"})


@pytest.mark.parametrize(
    "link", ["http://169.254.169.254/x", "//evil.example/x", "https://127.0.0.1/x", "file:///x"]
)
def test_no_link_leads_to_another_host(api: FakeApi, project: Settings, link: str) -> None:
    api.otherwise = lambda asked: answer([{"id": 1}], 200, Link=f'<{link}>; rel="next"')
    with pytest.raises(ConfigError, match="another host"):
        ids(api, project, pagination={"type": "link_header"})


def test_an_address_inside_is_refused_unless_it_is_allowed(api: FakeApi, project: Settings) -> None:
    with pytest.raises(ConfigError, match="inside a private network.*allow_private"):
        ids(api, project, {"allow_private": False})
    assert api.asked == []
    api.otherwise = lambda asked: answer([{"id": 1}])
    assert ids(api, project, {"allow_private": False, "allow_networks": ["127.0.0.1"]}) == [1]


@pytest.mark.parametrize(
    "host",
    ["[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fec0::1]", "192.0.0.192", "[2002:7f00:1::]", "0x7f000001"],
)
@pytest.mark.parametrize("kind", ["rest", "graphql"])
def test_no_spelling_of_an_address_inside_gets_through(project: Settings, kind: str, host: str) -> None:
    source = open_source({"kind": kind, "base_url": f"http://{host}:9", "connect_timeout": "1s"}, project)
    with pytest.raises(ConfigError, match="inside a private network"):
        source.probe()


def test_metadata_addresses_stay_closed_to_who_may_ask_inside(project: Settings) -> None:
    source = open_source(
        {
            "kind": "rest",
            "base_url": "http://169.254.169.254",
            "allow_private": True,
            "connect_timeout": "1s",
        },
        project,
    )
    with pytest.raises(ConfigError, match="inside a private network"):
        source.probe()


def test_a_response_is_bounded_when_decompressed(api: FakeApi, project: Settings) -> None:
    import gzip

    bomb = gzip.compress(json.dumps(["x" * 5_000_000]).encode())
    api.otherwise = lambda asked: (200, {"Content-Encoding": "gzip"}, bomb)
    with pytest.raises(DataError, match="more than 1000000 bytes"):
        ids(api, project, {"max_response": 1_000_000})


def test_a_token_is_renewed_once(api: FakeApi, project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_CLIENT_SECRET", "s3cr3t")
    tokens = iter(["old", "new", "newer", "newest"])

    def reply(asked: Asked) -> Reply:
        if asked.path == "/grant":
            assert b"client_credentials" in asked.body
            return answer({"access_token": next(tokens), "expires_in": 3600})
        return answer([{"id": 1}], 401 if asked.headers["authorization"] == "Bearer old" else 200)

    api.otherwise = reply
    auth = {
        "type": "oauth2",
        "url": f"{api.url}/grant",
        "client_id": "a",
        "client_secret": "{{ env.API_CLIENT_SECRET }}",
    }
    assert ids(api, project, {"auth": auth}) == [1]
    assert [a.path for a in api.asked][:4] == ["/grant", "/v1/orders", "/grant", "/v1/orders"]


def test_records_that_do_not_fit_are_set_aside_unchanged(api: FakeApi, project: Settings) -> None:
    texts = [
        '{"id": 4.5}',
        '{"id": true}',
        '{"id": 1, "id": 2}',
        '{"id": 5, "late": 1}',
        '{"id": "\\ud800"}',
        "7",
    ]
    pages = {"1": '[{"id": 1, "big": 123456789012345678901234567890}]', "2": f"[{', '.join(texts)}]"}
    api.otherwise = lambda a: (200, {}, pages.get(a.params["page"], "[]").encode())
    source = open_source({"kind": "rest", "base_url": api.url, "allow_private": True}, project)
    asked = stream(endpoint="x", options={"pagination": {"type": "page"}, "sample_pages": 1})
    with pytest.raises(DataError, match="cannot be read: 6"):
        read(source, ReadRequest(asked))
    reading = source.read(ReadRequest(asked))
    reading.set_aside()  # type: ignore[attr-defined]
    with reading as batches:
        table = batches.read_all()
    assert [str(v) for v in column(table, "big")] == ["123456789012345678901234567890"]
    assert reading.rejects().column("record").to_pylist() == texts  # type: ignore[attr-defined]


def test_children_are_read_for_each_parent(api: FakeApi, project: Settings) -> None:
    def reply(asked: Asked) -> Reply:
        if asked.path == "/customers":
            return answer([{"key": "a b"}, {"key": 2}, {"key": "../x"}])
        return answer([{"id": len(asked.path)}, {"id": 0}])

    api.otherwise = reply
    source = open_source({"kind": "rest", "base_url": api.url, "allow_private": True}, project)
    parent = {"endpoint": "customers", "fields": {"who": "key"}}
    asked = stream(endpoint="customers/{who}/items", options={"parent": parent, "columns": {"who": "string"}})
    table = read(source, ReadRequest(asked))
    assert column(table, "who") == ["a b", "a b", "2", "2", "../x", "../x"]
    assert {a.path for a in api.asked} >= {"/customers/a%20b/items", "/customers/..%2Fx/items"}


def test_a_key_in_the_query_keeps_the_query_of_the_next_link(
    api: FakeApi, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_QUERY_KEY", "k3y")
    api.otherwise = paged(5, 2)
    auth = {"type": "api_key", "name": "key", "value": "{{ env.API_QUERY_KEY }}", "place": "query"}
    found = ids(
        api, project, {"auth": auth}, records="rows", pagination={"type": "link_header"}, params={"page": 1}
    )
    assert found == [1, 2, 3, 4, 5]
    assert all(a.params["key"] == "k3y" for a in api.asked)


def test_a_busy_server_fails_the_connection_test_with_a_transient_error(
    api: FakeApi, project: Settings
) -> None:
    api.otherwise = lambda asked: answer({}, 503)
    opened = open_source({"kind": "rest", "base_url": api.url, "allow_private": True}, project)
    with pytest.raises(TransientError, match="answered 503"):
        opened.probe()


def numbered(*pages: dict[str, Any], mark: str = "cursor") -> Callable[[Asked], Reply]:
    """The first page, then the one that a mark names."""
    by_mark = {None: pages[0], **{str(p["at"]): p for p in pages if "at" in p}}
    return lambda asked: answer(by_mark[asked.params.get(mark)])


CURSOR = {"type": "cursor", "next_path": "next"}
MORE = {**CURSOR, "more_path": "more"}
PAGES = {"type": "page", "pages_path": "pages"}
TOTAL = {"type": "offset", "total_path": "total"}
LINK = {"type": "link_header", "next_path": "next"}


@pytest.mark.parametrize("mark", [0, "0", -1, 0.5, "false", "null"])
def test_only_nothing_is_no_mark(api: FakeApi, project: Settings, mark: Any) -> None:
    api.otherwise = numbered({"rows": [{"id": 1}], "next": mark}, {"rows": [{"id": 2}], "at": mark})
    assert ids(api, project, records="rows", pagination=CURSOR) == [1, 2]


@pytest.mark.parametrize("end", [None, "", False])
def test_nothing_ends_the_pages(api: FakeApi, project: Settings, end: Any) -> None:
    for paging in (CURSOR, LINK):
        api.otherwise = lambda asked: answer({"rows": [{"id": 1}], "next": end})
        assert ids(api, project, records="rows", pagination=paging) == [1]


def test_a_declared_mark_ends_the_pages(api: FakeApi, project: Settings) -> None:
    api.otherwise = numbered({"rows": [{"id": 1}], "next": 7}, {"rows": [{"id": 2}], "at": 7, "next": 0})
    assert ids(api, project, records="rows", pagination={**CURSOR, "end": [0]}) == [1, 2]


@pytest.mark.parametrize(
    ("last", "paging", "wanted"),
    [
        ({"rows": [], "next": 7}, CURSOR, [1]),  # its own mark again
        ({"rows": [], "next": 7, "more": False}, MORE, [1]),
        ({"rows": None, "next": None}, CURSOR, [1]),
        ({"rows": [{"id": 2}], "next": 9, "more": 0}, MORE, [1, 2]),
        ({"rows": [{"id": 2}], "next": 9, "more": "false"}, MORE, [1, 2]),
        ({"rows": [{"id": 2}]}, MORE, [1, 2]),
        ({"rows": [], "next": 7, "more": True}, MORE, "leads back"),
        ({"rows": [{"id": 2}], "next": 9, "more": None}, MORE, "does not say at 'more'"),
        ({"rows": [{"id": 2}], "next": 9}, MORE, "does not say at 'more'"),
        ({"rows": [{"id": 2}], "next": 9, "more": "maybe"}, MORE, "does not say at 'more'"),
        ({"rows": [{"id": 2}], "more": True}, MORE, "has nothing at 'next'"),
        ({"rows": [{"id": 2}], "next": {"a": 1}}, CURSOR, "has no mark"),
    ],
)
def test_an_end_is_what_declaration_or_protocol_call_one(
    api: FakeApi, project: Settings, last: dict[str, Any], paging: dict[str, Any], wanted: Any
) -> None:
    api.otherwise = numbered({"rows": [{"id": 1}], "next": 7, "more": True}, {**last, "at": 7})
    if isinstance(wanted, list):
        assert ids(api, project, records="rows", pagination=paging) == wanted
    else:
        with pytest.raises(DataError, match=wanted):
            ids(api, project, records="rows", pagination=paging)


@pytest.mark.parametrize("paging", [PAGES, TOTAL])
@pytest.mark.parametrize("said", [None, 0, -1, "many", 1, True, "3", 3])
def test_a_number_that_cannot_be_ends_nothing(
    api: FakeApi, project: Settings, paging: dict[str, Any], said: Any
) -> None:
    """Three pages of one record each."""

    def reply(asked: Asked) -> Reply:
        at = int(asked.params.get("page") or int(asked.params.get("offset", 0)) + 1)
        told = {"pages": said, "total": said} if at > 1 or said != 1 or said is True else {}
        return answer({"rows": [{"id": at}] if at <= 3 else [], **told})

    api.otherwise = reply
    assert ids(api, project, records="rows", pagination=paging) == [1, 2, 3]


def test_an_empty_page_that_links_to_itself_ends_the_read(api: FakeApi, project: Settings) -> None:
    second = {"rows": [], "next": f"{api.url}/orders?n=2"}
    api.otherwise = lambda a: answer(
        second if a.params.get("n") else {"rows": [{"id": 1}], "next": second["next"]}
    )
    assert ids(api, project, records="rows", pagination=LINK) == [1]


def test_null_is_no_record_and_an_object_one_where_declared(api: FakeApi, project: Settings) -> None:
    api.otherwise = lambda asked: answer({"users": None})
    assert ids(api, project, records="users", columns={"id": "int64"}) == []
    api.otherwise = lambda asked: answer({"users": {"id": 7}})
    with pytest.raises(ConfigError, match="one_object: true"):
        ids(api, project, records="users")
    assert ids(api, project, records="users", one_object=True) == [7]
    api.otherwise = lambda asked: answer({"id": 8})
    assert ids(api, project, one_object=True) == [8]
    api.otherwise = lambda asked: answer({"users": None, "error": "x"})
    with pytest.raises(DataError, match="tells of an error"):
        ids(api, project, records="users", columns={"id": "int64"})

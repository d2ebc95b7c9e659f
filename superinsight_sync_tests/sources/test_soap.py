"""SOAP operations: types, faults, paging, and what a service must not make us do."""

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync.sources.soap.wsdl import reads_by_name
from superinsight_sync_tests.servers.soap import SoapServer, running_soap
from superinsight_sync_tests.sources.reading import column, read, stream

ORDER = {"id": 1, "note": "n", "amount": Decimal("1.50"), "updated_at": datetime(2026, 1, 1, tzinfo=UTC)}


@pytest.fixture(scope="module")
def running() -> Iterator[SoapServer]:
    with running_soap() as server:
        yield server


@pytest.fixture
def server(running: SoapServer) -> SoapServer:
    running.orders, running.things, running.answer = [ORDER], [], None
    running.calls.clear()
    return running


@pytest.fixture
def source(server: SoapServer, project: Settings) -> Source:
    return opened(server, project)


def opened(server: SoapServer, project: Settings, **keys: Any) -> Source:
    return open_source({"kind": "soap", "wsdl": server.wsdl, "allow_private": True, **keys}, project)


def rows(source: Source, operation: str, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(
        source, ReadRequest(stream(operation=operation, options=options))
    ).to_pylist()
    return found


def soap(body: str, status: str = "200 OK", kind: str = "text/xml") -> Any:
    """A WSGI application that answers every call so, and leaves the WSDL to the service."""

    def answer(environ: Any, start: Any) -> Any:
        if environ["REQUEST_METHOD"] == "GET":
            return None
        start(status, [("Content-Type", kind)])
        return [body.encode()]

    return answer


def envelope(inner: str) -> str:
    return (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:t="urn:sis:tests"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<e:Body>{inner}</e:Body></e:Envelope>"
    )


def orders(inner: str) -> str:
    return envelope(
        f"<t:ListOrdersResponse><t:ListOrdersResult>{inner}</t:ListOrdersResult></t:ListOrdersResponse>"
    )


def test_every_type_arrives_as_it_is(source: Source, server: SoapServer) -> None:
    server.things = [
        {
            "text": "a <b> & 😀",
            "big": 10**37,
            "long": -(2**63),
            "unsigned": 2**64 - 1,
            "exact": Decimal("0.10000000000000000000000000000001"),
            "ratio": 0.1,
            "flag": False,
            "day": date(2024, 2, 29),
            "at": datetime(2026, 1, 1, 12, 30, 1, 123456, tzinfo=UTC),
            "data": [b"\x00\xff"],
            "color": "red",
            "tags": ["x", "y z"],
            "address": {"street": "S", "lines": ["1", "2"]},
        },
        {"text": ""},
    ]
    full, empty = rows(source, "GetThings")
    expected = {
        **server.things[0],
        "exact": "1E-31" if full["exact"].startswith("1E") else "0.10000000000000000000000000000001",
        "data": b"\x00\xff",
        "address": '{"street": "S", "lines": ["1", "2"]}',
    }
    assert full == expected
    assert {k: v for k, v in empty.items() if v} == {}
    (typed, _) = rows(source, "GetThings", columns={"exact": "decimal(38,32)"})
    assert typed["exact"] == server.things[0]["exact"]


def test_a_time_without_a_zone_is_kept_as_declared(source: Source, server: SoapServer) -> None:
    server.answer = soap(
        orders(
            "<t:Order><t:id>1</t:id><t:updated_at>2026-01-01T10:00:00</t:updated_at></t:Order>"
            "<t:Order><t:id>2</t:id><t:updated_at>2026-01-01T10:00:00+02:00</t:updated_at></t:Order>"
            '<t:Order><t:id>3</t:id><t:note xsi:nil="true"/></t:Order>'
        )
    )
    times = [r["updated_at"] for r in rows(source, "ListOrders")]
    assert times == [datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 1, 8, tzinfo=UTC), None]
    texts = [r["updated_at"] for r in rows(source, "ListOrders", columns={"updated_at": "string"})]
    assert texts == ["2026-01-01T10:00:00", "2026-01-01T10:00:00+02:00", None]
    with pytest.raises(DataError, match="'updated_at' is not"):
        rows(source, "ListOrders", columns={"updated_at": "timestamp_ntz"})


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Client", ConfigError),
        ("Client.NoSuchCustomer", ConfigError),
        ("Server", TransientError),
        ("Client.FailedAuthentication", AccessError),
        ("Client.InvalidSecurity", AccessError),
    ],
)
def test_a_fault_becomes_the_error_it_means(source: Source, code: str, error: type[SisError]) -> None:
    with pytest.raises(error, match=f"GetFault.*fault {code}") as caught:
        rows(source, "GetFault", params={"code": code})
    for private in ("s3cret", "Mary", "4711"):
        assert private not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (soap("oops", "500 Internal Server Error", "text/plain"), TransientError, "HTTP 500"),
        (soap("<html/>", "200 OK", "text/html"), TransientError, "no SOAP"),
        (soap("not <xml"), TransientError, "no XML"),
        (soap("no", "401 Unauthorized"), AccessError, "HTTP 401"),
        (soap("no", "403 Forbidden"), AccessError, "HTTP 403"),
        (soap("slow down", "429 Too Many Requests"), TransientError, "HTTP 429"),
        (soap("gone", "404 Not Found"), ConfigError, "HTTP 404"),
        (soap("moved", "302 Found"), ConfigError, "HTTP 302"),
        (soap('<!DOCTYPE x [<!ENTITY a "b">]>' + orders("&a;")), DataError, "DTD"),
        (soap('<!DOCTYPE x SYSTEM "file:///etc/passwd">' + orders("")), DataError, "DTD"),
        (soap(envelope("")), TransientError, "empty"),
    ],
)
def test_an_answer_that_is_none_is_a_clear_error(
    source: Source, server: SoapServer, answer: Any, error: type[SisError], message: str
) -> None:
    server.answer = answer
    with pytest.raises(error, match=message):
        rows(source, "ListOrders")


def test_records_that_are_no_rows_are_set_aside(source: Source, server: SoapServer) -> None:
    deep = "<t:a>" * 150 + "</t:a>" * 150
    bad = ["<t:id>x</t:id>", "<t:id>1</t:id><t:id>2</t:id>", "<t:id>1</t:id><t:new>?</t:new>", deep]
    server.answer = soap(orders("".join(f"<t:Order>{b}</t:Order>" for b in ["<t:id>7</t:id>", *bad])))
    aside = source.read(ReadRequest(stream(operation="ListOrders")))
    aside.set_aside()
    with aside as batches:
        assert batches.read_all().column("id").to_pylist() == [7]
    kept = aside.rejects().to_pylist()
    assert [(r["file"], r["line"]) for r in kept] == [("ListOrders/page 1", n) for n in (2, 3, 4, 5)]
    assert [r["reason"] for r in kept][:2] == ["'id' is not long", "'id' is there more than once"]


def test_an_answer_without_records_is_no_rows(source: Source, server: SoapServer) -> None:
    server.orders = []
    assert rows(source, "ListOrders") == []
    server.answer = soap(envelope("<t:ListOrdersResponse/>"))
    assert rows(source, "ListOrders") == []


def test_too_long_an_answer_is_refused(server: SoapServer, project: Settings) -> None:
    small = opened(server, project, max_response="20kB")
    server.answer = soap(orders(" " * 100_000))
    with pytest.raises(ConfigError, match="more than 20000 bytes"):
        rows(small, "ListOrders")


def test_a_page_that_repeats_is_an_error(source: Source, server: SoapServer) -> None:
    with pytest.raises(DataError, match="page 2 is the same as one before"):
        rows(source, "ListOrders", page={"param": "page"})


def test_only_operations_that_say_that_they_read_are_called(source: Source, server: SoapServer) -> None:
    with pytest.raises(ConfigError, match="does not say that the operation only reads.*confirmed_read"):
        rows(source, "DeleteOrders")
    assert server.calls == []
    assert rows(source, "DeleteOrders", confirmed_read=True) == []
    assert server.calls == ["DeleteOrders"]


def test_discovery_and_the_connection_test_call_nothing(source: Source, server: SoapServer) -> None:
    assert {f.value for f in source.discover()} >= {"ListOrders", "GetThings"}
    assert "DeleteOrders" not in {f.value for f in source.discover()}
    assert "cannot prove" in source.probe().warnings[0]
    assert server.calls == []


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("GetOrders", True),
        ("listOrders", True),
        ("get_orders", True),
        ("GETOrders", True),
        ("Getaway", False),
        ("SetOrder", False),
        ("DeleteList", False),
        ("", False),
        ("ProcessGet", False),
    ],
)
def test_what_a_name_says(name: str, reads: bool) -> None:
    assert reads_by_name(name) is reads


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "10.0.0.1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "192.88.99.1",
    ],
)
def test_an_address_inside_is_refused(project: Settings, host: str) -> None:
    inside = open_source({"kind": "soap", "wsdl": f"http://{host}:9/?wsdl", "timeout": "2s"}, project)
    with pytest.raises(ConfigError, match="inside a private network.*allow_private"):
        inside.probe()


def saved(server: SoapServer, folder: Path, old: str = "", new: str = "") -> str:
    folder.mkdir(exist_ok=True)
    text = httpx.get(server.wsdl).text
    assert old in text
    (folder / "service.wsdl").write_text(text.replace(old, new) if old else text)
    return str(folder / "service.wsdl")


def test_a_wsdl_outside_cannot_send_calls_inside(
    server: SoapServer, project: Settings, tmp_path: Path
) -> None:
    path = saved(server, tmp_path / "w")
    with pytest.raises(ConfigError, match="inside a private network"):
        rows(open_source({"kind": "soap", "wsdl": path}, project), "ListOrders")
    assert server.calls == []
    assert (
        len(rows(open_source({"kind": "soap", "wsdl": path, "allow_private": True}, project), "ListOrders"))
        == 1
    )


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/x.xsd", "http://localhost:9/x.xsd", "file:///etc/passwd", "../../secret.xsd"],
)
def test_imports_of_a_wsdl_stay_outside_and_in_its_folder(
    server: SoapServer, project: Settings, tmp_path: Path, location: str
) -> None:
    old = '<xs:complexType name="Order">'
    new = f'<xs:include schemaLocation="{location}"/>{old}'
    path = saved(server, tmp_path / "w", old, new)
    with pytest.raises(ConfigError, match="inside a private network|outside its own folder"):
        open_source({"kind": "soap", "wsdl": path}, project).probe()


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE x [<!ENTITY a "b">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
)
def test_a_wsdl_with_a_dtd_is_refused(
    server: SoapServer, project: Settings, tmp_path: Path, head: str
) -> None:
    path = saved(server, tmp_path / "w", "<wsdl:definitions", f"{head}<wsdl:definitions")
    with pytest.raises(ConfigError, match="the WSDL cannot be read"):
        open_source({"kind": "soap", "wsdl": path}, project).probe()


def test_the_account_is_not_sent_to_another_host(
    server: SoapServer, project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_PASSWORD", "s3cret")
    account = {"auth": "basic", "user": "ann", "password": "{{ env.ERP_PASSWORD }}", "allow_private": True}
    heard: list[str | None] = []

    def listen(environ: Any, start: Any) -> None:
        heard.append(environ.get("HTTP_AUTHORIZATION"))

    server.answer = listen
    path = saved(server, tmp_path / "w")
    heard.clear()
    with pytest.raises(ConfigError, match="another host.*connection.address"):
        rows(open_source({"kind": "soap", "wsdl": path, **account}, project), "ListOrders")
    assert heard == []
    address = server.wsdl.removesuffix("?wsdl")
    told = open_source({"kind": "soap", "wsdl": path, "address": address, **account}, project)
    assert len(rows(told, "ListOrders")) == 1
    assert heard == ["Basic " + base64.b64encode(b"ann:s3cret").decode()]


def test_a_token_of_ws_security_is_sent(
    server: SoapServer, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_PASSWORD", "s3cret")
    bodies: list[bytes] = []

    def listen(environ: Any, start: Any) -> Any:
        if environ["REQUEST_METHOD"] != "POST":
            return None
        bodies.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        return soap(orders("<t:Order><t:id>1</t:id></t:Order>"))(environ, start)

    server.answer = listen
    for auth, plain in (("wsse", True), ("wsse_digest", False)):
        told = opened(server, project, auth=auth, user="ann", password="{{ env.ERP_PASSWORD }}")
        assert len(rows(told, "ListOrders")) == 1
        assert b"UsernameToken" in bodies[-1]
        assert (b"s3cret" in bodies[-1]) is plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"records": "Nope"}, "no element in the answer 'Nope'.*ListOrdersResult"),
        ({"records": "ListOrdersResult.Order.id"}, "no record.*ListOrdersResult.Order"),
        ({"columns": {"amunt": "decimal(12,2)"}}, "no column 'amunt'.*amount"),
        ({"service": "Nope"}, "no operation"),
        ({"params": {"nope": 1}}, "does not take these params"),
        ({"page": {"param": "page", "counts": "records"}}, "needs size_param"),
    ],
)
def test_a_wrong_declaration_is_refused(source: Source, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rows(source, "ListOrders", **options)


def test_pages_can_be_counted_in_records(source: Source, server: SoapServer) -> None:
    server.orders = [{**ORDER, "id": n} for n in range(25)]
    paged = {"page": {"param": "page", "size_param": "size", "size": 10, "ends_short": True}}
    found = read(source, ReadRequest(stream(operation="ListOrders", options=paged)))
    assert column(found, "id") == list(range(25))
    assert len(server.calls) == 3


def test_a_network_that_is_named_is_reached(server: SoapServer, project: Settings) -> None:
    named = open_source({"kind": "soap", "wsdl": server.wsdl, "allow_networks": ["127.0.0.0/8"]}, project)
    assert len(rows(named, "ListOrders")) == 1


def test_an_answer_that_ends_in_the_middle_is_no_shorter_answer(source: Source, server: SoapServer) -> None:
    server.orders = [{**ORDER, "id": n} for n in range(25)]
    paged = {"page": {"param": "page", "size_param": "size", "size": 10, "ends_short": True}}
    posts = 0

    def cut(environ: Any, start: Any) -> Any:
        nonlocal posts
        posts += environ["REQUEST_METHOD"] == "POST"
        if environ["REQUEST_METHOD"] != "POST" or posts != 2:
            return None
        whole = b"<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Body>"
        start("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(whole) + 1000))])
        return [whole]

    request = ReadRequest(stream(operation="ListOrders", options=paged))
    source.describe(request.stream)
    server.answer, posts = cut, 0
    with pytest.raises(TransientError, match="cannot be reached .RemoteProtocolError"):
        read(source, request)
    assert column(read(source, request), "id") == list(range(25))


def test_the_test_service_answers_the_same_with_and_without_spyne(server: SoapServer) -> None:
    at = datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=UTC)
    server.orders = [
        {"id": 1, "note": "a<&>\"' 😀\nx", "amount": Decimal("1.50"), "updated_at": ORDER["updated_at"]},
        {"id": 2, "note": None, "amount": Decimal("0E-2"), "updated_at": at},
        {"id": 3, "note": "", "amount": None, "updated_at": at},
    ]
    for inner in ("", "<t:page>2</t:page><t:size>2</t:size>", "<t:since>2026-01-01T01:00:00+00:00</t:since>",
                  "<t:since>2027-01-01T01:00:00Z</t:since>"):  # fmt: skip
        asked = envelope(f"<t:ListOrders>{inner}</t:ListOrders>")
        seen = []
        for server.lean in (True, False):
            answer = httpx.post(f"http://127.0.0.1:{server.port}/", content=asked)
            seen.append((answer.status_code, answer.headers["content-type"], answer.content))
        assert seen[0] == seen[1]
    assert server.calls == ["ListOrders"] * 8

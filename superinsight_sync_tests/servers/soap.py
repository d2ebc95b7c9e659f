"""A real SOAP service (spyne behind wsgiref) on a free loopback port, with orders and every XSD type."""

import decimal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from xml.sax.saxutils import escape

from lxml import etree
from spyne import (
    Application,
    Array,
    Boolean,
    ByteArray,
    ComplexModel,
    Date,
    DateTime,
    Decimal,
    Double,
    Enum,
    Fault,
    Integer,
    Integer64,
    ServiceBase,
    Unicode,
    UnsignedInteger64,
    rpc,
)
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

NAMESPACE = "urn:sis:tests"
Color = Enum("red", "green", type_name="Color")


class Order(ComplexModel):
    __namespace__ = NAMESPACE
    id = Integer64(min_occurs=1)
    note = Unicode
    amount = Decimal
    updated_at = DateTime


class Address(ComplexModel):
    __namespace__ = NAMESPACE
    street = Unicode
    lines = Unicode(max_occurs="unbounded")


class Thing(ComplexModel):
    __namespace__ = NAMESPACE
    text = Unicode
    big = Integer
    long = Integer64
    unsigned = UnsignedInteger64
    exact = Decimal
    ratio = Double
    flag = Boolean
    day = Date
    at = DateTime
    data = ByteArray
    color = Color
    tags = Unicode(max_occurs="unbounded")
    address = Address


@dataclass
class SoapServer:
    """A running service. Tests say what it holds and how it behaves."""

    port: int
    orders: list[dict[str, Any]] = field(default_factory=list)
    things: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    answer: Callable[[Any, Any], Any] | None = None
    """Instead of the service: a WSGI application that returns None for what the service shall answer."""
    lean: bool = False
    """Whether `ListOrders` is answered without spyne, which takes a millisecond an order: by the same bytes."""

    @property
    def wsdl(self) -> str:
        return f"http://127.0.0.1:{self.port}/?wsdl"


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def _service(server: SoapServer) -> Any:
    class Orders(ServiceBase):
        @rpc(Integer, Integer, DateTime, _returns=Array(Order))
        def ListOrders(ctx: Any, page: int | None, size: int | None, since: datetime | None) -> Any:
            server.calls.append("ListOrders")
            found = [o for o in server.orders if since is None or o["updated_at"] >= _utc(since)]
            if page is not None and size is not None:
                found = found[(page - 1) * size : page * size]
            return [Order(**o) for o in found]

        @rpc(_returns=Array(Thing))
        def GetThings(ctx: Any) -> Any:
            return [Thing(**t) for t in server.things]

        @rpc(Unicode, _returns=Array(Order))
        def GetFault(ctx: Any, code: str) -> Any:
            raise Fault(code, "password=s3cret of customer 'Mary' 4711 is wrong")

        @rpc(_returns=Array(Order))
        def GetSame(ctx: Any) -> Any:
            return [Order(**o) for o in server.orders[:2]]

        @rpc(Integer, _returns=Array(Order))
        def DeleteOrders(ctx: Any, page: int) -> Any:
            server.calls.append("DeleteOrders")
            return []

    return Orders


def _listed(orders: list[dict[str, Any]], asked: dict[str, str | None]) -> bytes:
    """What spyne answers."""
    since = asked.get("since")
    first = _utc(datetime.fromisoformat(since)) if since else None
    found = [o for o in orders if first is None or o["updated_at"] >= first]
    if asked.get("page") and asked.get("size"):
        page, size = int(asked["page"] or 1), int(asked["size"] or 1)
        found = found[(page - 1) * size : page * size]
    inner = "".join(
        f"<tns:Order>{''.join(f'<tns:{k}>{_text(v)}</tns:{k}>' for k, v in o.items() if v is not None)}</tns:Order>"
        for o in found
    )
    result = f"<tns:ListOrdersResult>{inner}</tns:ListOrdersResult>" if found else "<tns:ListOrdersResult/>"
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<soap11env:Envelope xmlns:soap11env="http://schemas.xmlsoap.org/soap/envelope/"'
        f' xmlns:tns="{NAMESPACE}"><soap11env:Body><tns:ListOrdersResponse>{result}'
        "</tns:ListOrdersResponse></soap11env:Body></soap11env:Envelope>"
    ).encode()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, decimal.Decimal) else escape(str(value))


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@contextmanager
def running_soap() -> Iterator[SoapServer]:
    """Starts the service; stops it at the end."""
    server = SoapServer(0)
    application = Application(
        [_service(server)],
        NAMESPACE,
        in_protocol=Soap11(validator="lxml"),
        out_protocol=Soap11(),
    )
    wsgi = WsgiApplication(application)

    wsdl: dict[str, bytes] = {}

    def lean(environ: Any, start: Any) -> list[bytes]:
        sent = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        asked = etree.fromstring(sent).find(f".//{{{NAMESPACE}}}ListOrders") if sent else None
        if sent and asked is not None:
            server.calls.append("ListOrders")
            start("200 OK", [("Content-Type", "text/xml; charset=utf-8")])
            return [_listed(server.orders, {etree.QName(e).localname: e.text for e in asked})]
        environ = {**environ, "wsgi.input": BytesIO(sent)}
        if environ["REQUEST_METHOD"] != "GET":
            return list(wsgi(environ, start))
        if not wsdl:
            wsdl[""] = b"".join(wsgi(environ, lambda *_: None))
        start("200 OK", [("Content-Type", "text/xml; charset=utf-8")])
        return [wsdl[""]]

    def answer(environ: Any, start: Any) -> Any:
        own = server.answer(environ, start) if server.answer else None
        if own is not None:
            return own
        return (lean if server.lean else wsgi)(environ, start)

    with make_server("127.0.0.1", 0, answer, server_class=_Threaded, handler_class=_Silent) as httpd:
        server.port = httpd.server_port
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()

"""A real SOAP service (spyne behind wsgiref) on a free loopback port, with orders and every XSD type."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

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
    remembers: bool = False
    """Whether who asks the same again gets the same bytes: spyne takes a third of a second for 700 orders."""

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

    known: dict[Any, tuple[str, Any, bytes]] = {}

    def remembered(environ: Any, start: Any) -> list[bytes]:
        asked = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        key = (environ["REQUEST_METHOD"], environ["QUERY_STRING"], asked)
        if key not in known:
            told: list[tuple[str, Any]] = []
            again = {**environ, "wsgi.input": BytesIO(asked)}
            body = b"".join(wsgi(again, lambda status, headers, *_: told.append((status, headers))))
            known[key] = (*told[-1], body)
        status, headers, body = known[key]
        start(status, headers)
        return [body]

    def answer(environ: Any, start: Any) -> Any:
        own = server.answer(environ, start) if server.answer else None
        if own is not None:
            return own
        return (remembered if server.remembers else wsgi)(environ, start)

    with make_server("127.0.0.1", 0, answer, server_class=_Threaded, handler_class=_Silent) as httpd:
        server.port = httpd.server_port
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()

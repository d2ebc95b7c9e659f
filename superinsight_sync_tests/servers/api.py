"""A JSON API on a loopback port: it pages in every style, asks for a token, and misbehaves when told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Reply = tuple[int, dict[str, str], bytes]


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    return status, {k.replace("_", "-"): v for k, v in headers.items()}, json.dumps(value).encode()


@dataclass
class Asked:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeApi:
    """`script` replies to the first requests, one each (None cuts the connection); then `otherwise` does."""

    url: str = ""
    script: list[Callable[[Asked], Reply | None]] = field(default_factory=list)
    otherwise: Callable[[Asked], Reply | None] = lambda asked: answer([], 404)
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k.lower(): v for k, v in self.headers.items()}
            asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
            fake.asked.append(asked)
            reply = (fake.script.pop(0) if fake.script else fake.otherwise)(asked)
            cut = reply is None
            status, extra, data = reply or (200, {}, b'[{"id": 1}, {"id"')
            try:
                self.send_response(status)
                for key, value in {"Content-Type": "application/json", **extra}.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data) + 100 * cut))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.close_connection = self.close_connection or cut

        do_POST = do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()

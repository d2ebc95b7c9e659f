"""A web server for a folder: index pages, ranges, conditions, ETags; it cuts answers and misbehaves when told to."""

import html
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit


@dataclass
class WebServer:
    """A running server.

    Attributes:
        drops: after how many bytes the bodies of the next answers to whole or open ranges are cut.
        ranges, tags, times, sizes: what it knows of.
        redirects: path → where it sends to.
        wants: the Authorization header without which it answers 401.
    """

    url: str
    folder: Path
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    tags: bool = True
    times: bool = True
    sizes: bool = True
    redirects: dict[str, str] = field(default_factory=dict)
    wants: str | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: set[int] = field(default_factory=set)

    def sessions(self) -> int:
        """How many connections it has now."""
        return len(self.open)


@contextmanager
def running_web() -> Iterator[WebServer]:
    """Starts a server in a thread, for a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="sis-web-"))
    web = WebServer("", folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            web.open.add(id(self))
            super().setup()

        def finish(self) -> None:
            web.open.discard(id(self))
            with suppress(OSError):
                super().finish()

        def do_GET(self) -> None:
            headers = {k.lower(): v for k, v in self.headers.items()}
            web.asked.append((self.path, headers))
            path = folder / unquote(urlsplit(self.path).path).lstrip("/")
            try:
                if self.path in web.redirects:
                    self._answer(302, b"", {"Location": web.redirects[self.path]})
                elif web.wants is not None and headers.get("authorization") != web.wants:
                    self._answer(401, b"", {})
                elif path.is_dir() and not self.path.endswith("/"):
                    self._answer(301, b"", {"Location": self.path + "/"})
                elif path.is_dir():
                    self._answer(200, _index(path), {"Content-Type": "text/html; charset=utf-8"})
                elif not path.exists():
                    self._answer(404, b"", {})
                else:
                    self._file(path, headers)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _file(self, path: Path, headers: dict[str, str]) -> None:
            data, stat = path.read_bytes(), path.stat()
            tag = f'"{stat.st_mtime_ns:x}-{len(data):x}"'
            says = {"ETag": tag} if web.tags else {}
            if web.times:
                says["Last-Modified"] = formatdate(stat.st_mtime, usegmt=True)
            if web.tags and headers.get("if-match", tag) != tag:
                self._answer(412, b"", says)
                return
            wanted = headers.get("range") if web.ranges else None
            if wanted is None:
                self._answer(200, data, says, cut=True)
                return
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or len(data)), len(data) - 1)
            if first >= len(data):
                self._answer(416, b"", {**says, "Content-Range": f"bytes */{len(data)}"})
                return
            says["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            self._answer(206, data[first : last + 1], says, cut=not end)

        def _answer(self, status: int, body: bytes, says: dict[str, str], *, cut: bool = False) -> None:
            most = web.drops.pop(0) if cut and web.drops else len(body)
            self.send_response(status)
            for name, value in says.items():
                self.send_header(name, value)
            if web.sizes or not cut:
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:most])
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for at in range(0, most, 50_000):
                    part = body[at : min(at + 50_000, most)]
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                if most >= len(body):
                    self.wfile.write(b"0\r\n\r\n")
            self.close_connection = self.close_connection or most < len(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that go away are what is tested

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder, ignore_errors=True)


def _index(folder: Path) -> bytes:
    """As web servers write it, with links that lead elsewhere."""
    names = [p.name + "/" * p.is_dir() for p in sorted(folder.iterdir())]
    links = [f'<a href="{quote(n)}">{html.escape(n)}</a>' for n in names]
    others = [
        "?C=M;O=A",
        "../",
        "/",
        "https://example.com/x.csv",
        "mailto:a@b",
        "..%2f..%2fetc%2fpasswd",
        "#x",
    ]
    links += [f'<A HREF="{o}">elsewhere</A>' for o in others]
    return f"<html><body>{'<br>'.join(links)}</body></html>".encode()

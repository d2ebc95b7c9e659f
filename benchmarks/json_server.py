"""Serves the lines of a JSON Lines file as pages, as fast as Python's standard library can, on a loopback port.

    python benchmarks/json_server.py lineitem.jsonl 1000

Prints its port once all pages are made. `GET /lineitem?page=1` answers `{"data": […], "pages": …}`;
`POST /graphql` answers a connection, page by page.
"""

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit


def lists_of(path: Path, page_rows: int) -> Iterator[bytes]:
    """The records of each page, as a JSON list."""
    with path.open("rb") as lines:
        while rows := list(islice(lines, page_rows)):
            yield b"[" + b",".join(row.rstrip(b"\n") for row in rows) + b"]"


class Answers(BaseHTTPRequestHandler):
    """Answers with what is made already, on connections that stay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    media_type: ClassVar[str]

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", self.media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(answers: type[Answers]) -> None:
    """Serves until the process is ended; prints the port first."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


class Pages(Answers):
    """Answers with a page of `lists`, counted from 1."""

    media_type = "application/json"
    lists: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        page = int(parse_qs(urlsplit(self.path).query)["page"][0])
        rows = self.lists[page - 1] if page <= len(self.lists) else b"[]"
        self.answer(b'{"data": %b, "pages": %d}' % (rows, len(self.lists)))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        page = int(asked.get("variables", {}).get("after") or 0)
        more = b"true" if page + 1 < len(self.lists) else b"false"
        info = b'{"hasNextPage": %b, "endCursor": "%d"}' % (more, page + 1)
        self.answer(b'{"data": {"items": {"nodes": %b, "pageInfo": %b}}}' % (self.lists[page], info))


def main() -> None:
    Pages.lists = list(lists_of(Path(sys.argv[1]), int(sys.argv[2])))
    serve(Pages)


if __name__ == "__main__":
    main()

"""A small server that speaks OpenAI's chat completions, well or badly, and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], dict[str, Any]]


def answer(name: str) -> dict[str, Any]:
    return {
        "display_name": f"The {name}",
        "description": f"What {name} means.",
        "semantic_type": "quantity",
        "unit": None,
        "synonyms": ["thing"],
        "sensitivity": "internal",
    }


def answers(body: dict[str, Any]) -> dict[str, Any]:
    """A right answer to the question in a request."""
    asked = json.loads(body["messages"][-1]["content"])["columns"]
    return {key: answer(column["name"]) for key, column in asked.items()}


def completion(content: str | None, finish: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "finish_reason": finish, "message": message, "logprobs": None}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def good(body: dict[str, Any]) -> Reply:
    return 200, {}, completion(json.dumps(answers(body)))


def status(code: int, **headers: str) -> Callable[[dict[str, Any]], Reply]:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda body: (code, named, {"error": {"message": f"HTTP {code}", "type": "x", "code": None}})


def says(
    text: str | None, finish: str = "stop", refusal: str | None = None
) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: (200, {}, completion(text, finish, refusal))


def slow(seconds: float) -> Callable[[dict[str, Any]], Reply]:
    def reply(body: dict[str, Any]) -> Reply:
        time.sleep(seconds)
        return good(body)

    return reply


@dataclass
class FakeLlm:
    """`script` replies to the first requests, one each; then `otherwise` does."""

    url: str = ""
    script: list[Callable[[dict[str, Any]], Reply]] = field(default_factory=list)
    otherwise: Callable[[dict[str, Any]], Reply] = good
    bodies: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)


@contextmanager
def fake_llm() -> Iterator[FakeLlm]:
    fake = FakeLlm()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fake.raw.append(raw)
            fake.bodies.append(json.loads(raw))
            code, headers, reply = (fake.script.pop(0) if fake.script else fake.otherwise)(fake.bodies[-1])
            data = json.dumps(reply).encode()
            try:
                self.send_response(code)
                for key, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()

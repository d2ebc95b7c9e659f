"""How the gateway starts, how much it takes at once, and over which wire."""

import json
import select
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.gateway.app import Bounds, build_app
from superinsight_sync.gateway.middleware import SECURITY_HEADERS
from superinsight_sync.gateway.receivers import Receivers
from superinsight_sync.gateway.serving import open_gateway, server_config
from superinsight_sync.security.access import Access
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync.state import open_state
from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import HOOK, Gateway, gateway, project, signed
from superinsight_sync_tests.gateway.test_hostile import resident_mb
from superinsight_sync_tests.waiting import until


def test_tls_is_1_3_and_nothing_older(tmp_path: Path) -> None:
    door = gateway(tmp_path)
    door.tls = (tmp_path / "cert.pem", tmp_path / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-days", "2", "-out", str(door.tls[0]), "-keyout", str(door.tls[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    door.start()
    body = b'{"type": "order.x"}'
    answer = httpx.post(f"{door.url}{HOOK}/shop", content=body, headers=signed(body, "a"), verify=False)
    assert answer.status_code == 202 and "strict-transport-security" in answer.headers
    for version, works in ((ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", door.port)) as raw:
            if works:
                assert context.wrap_socket(raw).version() == "TLSv1.3"
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(raw)
    door.end()


def test_a_gateway_that_cannot_be_fast_or_has_nothing_to_do_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    settings = load_settings({"SIS_PROJECT_DIR": str(project(tmp_path / "empty", "type: other\n"))})
    with pytest.raises(ConfigError, match="no push source is declared"):
        open_gateway(settings)
    state = open_state(f"sqlite:///{tmp_path}/s.db")
    app = build_app(Inbox(state.database, tmp_path), Receivers([]), access=Access(state.api_keys))
    with pytest.raises(ConfigError, match="TLS needs a certificate and its key"):
        server_config(app, host="127.0.0.1", port=1, cert=tmp_path / "x")
    with pytest.raises(ConfigError, match="there is no file"):
        server_config(app, host="127.0.0.1", port=1, cert=tmp_path / "x", key=tmp_path / "y")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="the gateway needs uvloop"):
        server_config(app, host="127.0.0.1", port=1)


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    door = gateway(tmp_path)
    with socket.socket() as taken:
        # It does not listen: who asks whether the gateway is ready is refused at once.
        taken.bind(("127.0.0.1", door.port))
        with pytest.raises(AssertionError) as told:
            door.start()
    assert f"the gateway cannot listen on 127.0.0.1:{door.port}" in str(told.value)


def send(url: str, name: str) -> httpx.Response:
    body = b'{"type": "order.x", "name": "%s"}' % name.encode()
    return httpx.post(f"{url}{HOOK}/shop", content=body, headers=signed(body, name))


def test_too_much_of_a_source_that_waits_is_told_to_come_later(served) -> None:  # type: ignore[no-untyped-def]
    url = served()
    assert [send(url, f"a{n}").status_code for n in range(2)] == [202, 202]
    until(lambda: send(url, "a0").status_code != 200, "more is taken than may wait")
    answer = send(url, "a0")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")


def test_too_many_requests_at_once_and_too_fast(served) -> None:  # type: ignore[no-untyped-def]
    url = served(bounds=Bounds(requests=2), rate=RateLimit(0.1, 1))
    port = int(url.rsplit(":", 1)[1])
    slow = []
    for _ in range(2):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(f"POST {HOOK}/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{".encode())
        slow.append(connection)
    until(lambda: send(url, "b1").status_code == 503, "they do not count")
    answer = send(url, "b1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{url}/health/live").status_code == 200
    for connection in slow:
        connection.close()
    answers: list[int] = []
    until(
        lambda: answers.append(send(url, "b1").status_code) or answers[-1] != 503, "their places are not free"
    )
    assert answers[-1] == 202
    answer = send(url, "b2")
    assert answer.status_code == 429 and 5 <= int(answer.headers["retry-after"]) <= 10


def test_raw_requests_that_play_tricks_are_refused(served) -> None:  # type: ignore[no-untyped-def]
    url = served()
    port = int(url.rsplit(":", 1)[1])
    body = b'{"type": "order.x"}'
    good = signed(body, "t1")
    base = f"POST {HOOK}/shop HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    named = "".join(f"{k}: {v}\r\n" for k, v in good.items())
    tricks = {
        base + named + "webhook-id: t2\r\ncontent-length: 19\r\n\r\n": 400,
        base + named + "content-type: text/csv\r\ncontent-length: 19\r\n\r\n": 400,
        base + named + "\r\n": 411,
        base + named + "content-length: -1\r\n\r\n": 400,
        base + named + "content-length: 999999999999\r\n\r\n": 413,
        base + named + "content-length: 19\r\ntransfer-encoding: chunked\r\n\r\n": 400,
        base + named + "content-length: 19\r\ncontent-length: 20\r\n\r\n": 400,
    }
    for head, status in tricks.items():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body)
            connection.settimeout(5)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 %d " % status), (head, answer[:200])


@pytest.mark.parametrize("kind", ["many", "one line", "trailers", "one trailer"])
def test_headers_without_end_are_cut_off(door: Gateway, kind: str) -> None:
    assert door.process is not None
    before_mb, sent = resident_mb(door.process.pid), 0
    head = f"POST {HOOK}/shop HTTP/1.1\r\nhost: x\r\n"
    if "trailer" in kind:
        head += "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    line = b"x: " + b"y" * 8_000 + b"\r\n" if kind in ("many", "trailers") else b"y" * 8_000
    with socket.create_connection(("127.0.0.1", door.port)) as connection:
        connection.settimeout(5)
        with suppress(ConnectionError):
            connection.sendall(head.encode() + (b"x: " if "one" in kind else b""))
            while sent < 4_000:
                connection.sendall(line)
                sent += 1
    assert sent < 4_000, "it was read to the end"
    assert resident_mb(door.process.pid) - before_mb < 10


def test_long_heads_and_bodies_that_come_in_small_parts_are_taken(door: Gateway) -> None:
    body = b'{"type": "order.x", "pad": "' + b"x" * 300_000 + b'"}'
    headers = {**signed(body, "long-head"), "x-long": "y" * 50_000}
    parts = (body[n : n + 100] for n in range(0, len(body), 100))
    assert httpx.post(f"{door.url}{HOOK}/shop", content=parts, headers=headers).status_code == 202


def test_bodies_that_come_slowly_do_not_fill_the_memory(served) -> None:  # type: ignore[no-untyped-def]
    """A webhook's signature is known only when all of it is there: until then anybody may send it."""
    url = served(bounds=Bounds(bodies_bytes=8 << 20))
    port, part = int(url.rsplit(":", 1)[1]), b"x" * (3 << 20)
    head = f"POST {HOOK}/shop HTTP/1.1\r\nhost: x\r\ncontent-length: {4 << 20}\r\n\r\n".encode()
    slow = []
    for _ in range(3):
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        with suppress(OSError):
            connection.sendall(head + part)
        slow.append(connection)
    # which of the three comes first, and is waited for, is chance
    until(lambda: len(select.select(slow, [], [], 0)[0]) == 2, "two are not answered")
    answers = [connection.recv(4096) for connection in select.select(slow, [], [], 0)[0]]
    assert len(answers) == 2 and all(
        a.startswith(b"HTTP/1.1 503 ") and b"retry-after: 2" in a for a in answers
    )
    assert send(url, "small").status_code == 202
    for connection in slow:
        connection.close()
    body = b'{"type": "order.big", "pad": "%s"}' % (b"x" * (3 << 20))

    def big() -> int:
        return httpx.post(f"{url}{HOOK}/shop", content=body, headers=signed(body, "big")).status_code

    # 503 until the server has seen that they are gone
    until(lambda: big() == 202, "what was held is not given back", within_s=10)


def test_who_outlasts_the_shutdown_is_told_to_come_again(served) -> None:  # type: ignore[no-untyped-def]
    url = served(lambda config: setattr(config, "timeout_graceful_shutdown", 1))
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=300) as connection:
        connection.sendall(f"POST {HOOK}/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{".encode())
        for _ in range(20):
            assert httpx.get(f"{url}/health/live").status_code == 200
        served.stop()
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: " in answer
    assert b"application/problem+json" in answer and b"x-request-id: " in answer


def problem_of(answer: bytes) -> dict[str, object]:
    """The problem in an answer, which has the headers that all have."""
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    told: dict[str, object] = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == told["request_id"] and len(body) == int(headers["content-length"])
    for name, value in SECURITY_HEADERS:
        assert headers[name.decode()] == value.decode()
    return told


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GARBAGE\r\n\r\n", "the request is no HTTP that can be read"),
        (
            b"GET / HTTP/1.1\r\nx-request-id: mine\r\nx: " + b"y" * 70_000,
            "the request has more than 65536 bytes",
        ),
    ],
)
def test_what_is_no_request_is_told_as_all_problems_are(door: Gateway, sent: bytes, reason: str) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    assert answer.startswith(b"HTTP/1.1 400 ") and b"\r\nconnection: close\r\n" in answer
    told = problem_of(answer)
    assert told["status"] == 400 and str(told["detail"]).startswith(reason)
    assert told["request_id"] == "mine" or b"x-request-id" not in sent


def test_an_error_nobody_foresaw_has_an_id_that_is_in_the_log(
    served, caplog: pytest.LogCaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    async def broken(scope: object, receive: object, send: object) -> None:
        raise ZeroDivisionError("a secret")

    port = int(served(api=broken).rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nhost: x\r\nx-request-id: seen\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    told = problem_of(answer)
    assert (told["status"], told["request_id"], told["title"]) == (500, "seen", "Internal error")
    assert "secret" not in answer.decode() and "request seen failed: ZeroDivisionError" in caplog.text

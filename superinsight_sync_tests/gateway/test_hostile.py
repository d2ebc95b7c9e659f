"""Ten thousand broken and hostile requests: none is answered by a 5xx, none hangs, and memory stays flat."""

import gzip
import http.client
import random
import socket
import zlib
from collections import Counter
from pathlib import Path

from superinsight_sync_tests.gateway.doors import HOOK, PUSH, Gateway, signed

REQUESTS = 8_000
ON_THE_WIRE = 2_000
SLOW = 40
SEEDS = [
    b'{"type":"order.x","a":[1,{"b":null}]}',
    b'[{"a":1},{"b":"\\ud83d\\ude00"}]',
    b'a,b\n1,"x\n2"\n',
    b'<r><i a="1">x</i></r>',
    b'{"a":1}\n{"a":2}\n',
    b"[" * 5_000,
    b'{"source":"till","data":[{"a":1}]}',
    b"\x1f\x8b" + b"x" * 50,
]
PIECES = [b'"', b"{", b"[", b"\\u0000", b"\xff", b"1e999", b"&x;", b"<!DOCTYPE r>", b"\n", b"\xef\xbb\xbf"]
TYPES = [
    *("application/json", "text/csv", "application/xml", "application/x-ndjson", ""),
    *("application/json; charset=\xff", "x/y"),
]
BOMBS = [gzip.compress(b"[" + b"0," * 40_000_000 + b"0]"), zlib.compress(b'"' + b"x" * 70_000_000 + b'"')]
HEADS = [
    *(
        "Content-Length: 5",
        "Content-Length: -1",
        "Content-Length: 5, 6",
        "Content-Length: 18446744073709551616",
    ),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: \x0bchunked"),
    *(
        "Host: a",
        "Host: a\r\nHost: b",
        " folded: x",
        "X: y\r\n z",
        "X-\xff: \xff",
        ": none",
        "X" * 9_000 + ": y",
    ),
    *(
        "Expect: 100-continue",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Sec-WebSocket-Key: x",
        "Cookie: \x00",
    ),
    *(
        "Upload-Offset: -1",
        "Upload-Length: 99999999999999999999",
        "Tus-Resumable: 0.2.2",
        "Upload-Metadata: a b c",
    ),
    *(
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: multipart/form-data",
        "Content-Encoding: gzip",
    ),
]
LINES = [
    *(
        "POST {} HTTP/1.1",
        "GET {} HTTP/1.1",
        "PATCH {} HTTP/1.1",
        "HEAD {} HTTP/1.1",
        "{} HTTP/1.1",
        "POST {}",
    ),
    *(
        "POST {} HTTP/9.9",
        "\x16\x03\x01{}",
        "POST  {}  HTTP/1.1",
        "PRI * HTTP/2.0",
        "post {} http/1.1",
        "DELETE {} HTTP/1.0",
    ),
]
BODIES = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nx",
    "--x\r\n\r\n--x--",
    "0\r\nA: b\r\n",
    "\x81\xfe\xff\xff",
]
PATHS = [
    *("/batch", "/batch?source=till", "/stream?source=till", "/stream?source=till&line=2"),
    *("/batch?source=%00", "/stream?source=%ff", "/batch?source=till&stream=%f0"),
]


def broken(rng: random.Random) -> bytes:
    body = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(0, 6)):
        if not body:
            break
        at, how = rng.randrange(len(body)), rng.randrange(4)
        if how == 0:
            body[at] = rng.randrange(256)
        elif how == 1:
            del body[at]
        elif how == 2:
            body[at:at] = rng.choice(PIECES)
        else:
            body = body[:at] + body[at:] * 2
    return bytes(body)


def request(rng: random.Random, key: dict[str, str], number: int) -> tuple[str, bytes, dict[str, str]]:
    body, headers = broken(rng), {"content-type": rng.choice(TYPES)}
    if rng.random() < 0.1:
        headers["content-encoding"] = rng.choice(["gzip", "deflate", "br", "gzip, gzip", ""])
    if rng.random() < 0.1:
        headers["idempotency-key"] = rng.choice(['"x"', "x" * 300, "\xe9", '""'])
    if rng.random() < 0.3:
        return f"{HOOK}/shop", body, {**signed(body, f"h{number}"), **headers}
    if rng.random() < 0.3:
        headers["x-batch-id"] = rng.choice(["b1", "b2", "\xff", "a" * 200])
    return PUSH + rng.choice(PATHS), body, {**headers, **key}


def resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def on_the_wire(rng: random.Random) -> bytes:
    """A request as no library would send it."""
    path = PUSH + rng.choice(
        [*PATHS, "/ws?source=till", "/file?source=till", "/file/x", "/webhook/shop", "/../../x", "/%2e%2e/"]
    )
    heads = rng.sample(HEADS, rng.randint(0, 5))
    lines = [rng.choice(LINES).format(path), *heads, "", rng.choice(BODIES)]
    request = bytearray("\r\n".join(lines).encode("latin-1"))
    for _ in range(rng.choice([0, 0, 1, 3])):
        request[rng.randrange(len(request))] = rng.randrange(256)
    return bytes(request)


def answered(port: int, request: bytes) -> int | None:
    """The status, or None if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.makefile("rb").readline()
        except ConnectionResetError:
            return None
    return int(answer.split()[1]) if answer else None


def test_hostile_requests_are_refused_and_leave_nothing_behind(door: Gateway, key: dict[str, str]) -> None:
    rng = random.Random(5)
    assert door.process is not None
    client = http.client.HTTPConnection("127.0.0.1", door.port, timeout=300)
    codes: Counter[int] = Counter()
    warm_mb = 0.0
    for number in range(REQUESTS):
        path, body, headers = request(rng, key, number)
        client.request("POST", path, body, {k: v.encode("latin-1") for k, v in headers.items()})
        answer = client.getresponse()
        answer.read()
        codes[answer.status] += 1
        if answer.status >= 400:
            assert answer.getheader("content-type") == "application/problem+json"
        if number == REQUESTS // 3:
            warm_mb = resident_mb(door.process.pid)
    assert set(codes) <= {200, 202, 400, 401, 404, 409, 411, 413, 415, 422, 429}, codes
    assert codes[202] > 10 and codes[400] > 100 and codes[422] > 100
    assert resident_mb(door.process.pid) - warm_mb < 20


def test_hostile_bytes_on_the_wire_do_no_harm(door: Gateway, key: dict[str, str]) -> None:
    rng = random.Random(7)
    assert door.process is not None
    codes: Counter[int | None] = Counter()
    warm_mb = 0
    for number in range(ON_THE_WIRE):
        codes[answered(door.port, on_the_wire(rng))] += 1
        if number == ON_THE_WIRE // 3:
            warm_mb = resident_mb(door.process.pid)
    assert not [c for c in codes if c is not None and c >= 500], codes
    assert len(codes) > 5, codes
    assert resident_mb(door.process.pid) - warm_mb < 20


def test_packed_bombs_are_refused_unpacked_no_further_than_allowed(
    door: Gateway, key: dict[str, str]
) -> None:
    assert door.process is not None
    client = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    before_mb = resident_mb(door.process.pid)
    for number in range(20):
        bomb, how = BOMBS[number % 2], ("gzip", "deflate")[number % 2]
        headers = {**key, "content-type": "application/json", "content-encoding": how}
        client.request("POST", f"{PUSH}/batch?source=till", bomb, headers)
        answer = client.getresponse()
        answer.read()
        assert answer.status == 413
    assert resident_mb(door.process.pid) - before_mb < 150


def test_slow_senders_keep_nobody_waiting(door: Gateway, key: dict[str, str]) -> None:
    head = f"POST {PUSH}/batch?source=till HTTP/1.1\r\nhost: x\r\nauthorization: {key['authorization']}\r\n"
    slow = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(SLOW)]
    for number, connection in enumerate(slow):
        started = (
            head + "content-type: application/json\r\ncontent-length: 1000\r\n\r\n["
            if number % 2
            else head[:-9]
        )
        connection.sendall(started.encode())
    client = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
    for number in range(100):
        for connection in slow:
            connection.sendall(b" ")
        body = b'[{"slow": %d}]' % number
        client.request("POST", f"{PUSH}/batch?source=till", body, {**key, "content-type": "application/json"})
        answer = client.getresponse()
        answer.read()
        assert answer.status == 202
    for connection in slow:
        connection.close()

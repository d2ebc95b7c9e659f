"""Thousands of broken and hostile requests: each is answered, none by a 5xx, and memory stays flat."""

import http.client
import random
import time
from collections import Counter
from pathlib import Path

from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.doors import HOOK, PUSH, Gateway, signed

REQUESTS = 10_000 if LONG else 3_000
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


def test_hostile_requests_are_refused_and_leave_nothing_behind(door: Gateway, key: dict[str, str]) -> None:
    rng = random.Random(5)
    assert door.process is not None
    client = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
    codes: Counter[int] = Counter()
    worst_s = warm_mb = 0.0
    for number in range(REQUESTS):
        path, body, headers = request(rng, key, number)
        began = time.monotonic()
        client.request("POST", path, body, {k: v.encode("latin-1") for k, v in headers.items()})
        answer = client.getresponse()
        answer.read()
        worst_s = max(worst_s, time.monotonic() - began)
        codes[answer.status] += 1
        if answer.status >= 400:
            assert answer.getheader("content-type") == "application/problem+json"
        if number == REQUESTS // 3:
            warm_mb = resident_mb(door.process.pid)
    assert set(codes) <= {200, 202, 400, 401, 404, 409, 411, 413, 415, 422}, codes
    assert codes[202] > 10 and codes[400] > 100 and codes[422] > 100
    assert worst_s < 5
    assert resident_mb(door.process.pid) - warm_mb < 20

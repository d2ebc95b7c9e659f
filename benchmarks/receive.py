"""What a webhook and a batch cost the gateway, beside the same framework that stores nothing and a plain ORM handler.

.venv/bin/python benchmarks/receive.py [--requests 16000] [--rounds 3]

All take the same signed bodies over the same number of connections, in turns; medians of the rounds count. CPU is user
+ system of the server's process. The raw limit: the same bytes appended to a file, as many for each fdatasync as there
are connections: a group commit without HTTP, checks and a database. Half load: senders that send at half of the speed
just measured, whatever is answered; a request's time is from when it was due.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync_tests.gateway.doors import DECLARED, HOOK, PUSH, gateway, signed
from superinsight_sync_tests.servers.ports import free_port

HERE = Path(__file__).parent
BODY = json.dumps({"type": "order.paid", "id": 1, "pad": "x" * 850}).encode()
# Nothing lands here, so that what waits may be more than usual.
ENDLESS = DECLARED.replace("  event_type: type", "  limits: {waiting: 10000000}\n  event_type: type")
CONNS = (32, 128)
GATEWAY, FRAMEWORK, ORM = "gateway, SQLite", "framework, no storage", "FastAPI + ORM, SQLite"
USED = ("uvicorn", "starlette", "uvloop", "httptools", "fastapi", "sqlalchemy", "pydantic")


@dataclass
class Server:
    """A server that listens. `share` is how many of the requests it gets, of which a slow one needs fewer."""

    name: str
    port: int
    pid: int
    share: float = 1.0
    runs: dict[int, list["Run"]] = field(default_factory=dict)

    def median(self, connections: int, what: Callable[["Run"], float]) -> float:
        return statistics.median(what(run) for run in self.runs[connections])

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """`cost_us` is CPU of a request, `half_ms` the 99th percentile at half of `per_s`."""

    cost_us: float
    per_s: float
    p99_ms: float
    half_ms: float


def requests(count: int, tag: str) -> list[bytes]:
    """Webhooks as they go over the wire."""

    def one(delivery_id: str) -> bytes:
        named = {**signed(BODY, delivery_id), "host": "x", "content-length": str(len(BODY))}
        head = "".join(f"{k}: {v}\r\n" for k, v in named.items())
        return f"POST {HOOK}/shop HTTP/1.1\r\n{head}\r\n".encode() + BODY

    return [one(f"{tag}_{n}") for n in range(count)]


def send(
    port: int, bodies: list[bytes], took_s: list[float], start: threading.Barrier, pause_s: float
) -> None:
    """One connection: a request after the other's answer, or one each `pause_s`."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = connection.makefile("rb")
        start.wait()
        due = time.perf_counter()
        for body in bodies:
            if pause_s:
                due += pause_s
                time.sleep(max(0.0, due - time.perf_counter()))
            began = due if pause_s else time.perf_counter()
            connection.sendall(body)
            status, length = answers.readline(), 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
            took_s.append(time.perf_counter() - began)
            if b" 202 " not in status:
                raise SystemExit(f"refused: {status!r}")


def load(server: Server, connections: int, count: int, per_s: float = 0.0) -> tuple[float, float, float]:
    """CPU microseconds of a request, requests a second, and the 99th percentile in milliseconds."""
    took_s: list[float] = []
    start = threading.Barrier(connections + 1)
    tag, each = time.monotonic_ns(), max(1, count // connections)
    pause_s = connections / per_s if per_s else 0.0
    threads = [
        threading.Thread(
            target=send, args=(server.port, requests(each, f"{tag}_{k}"), took_s, start, pause_s)
        )
        for k in range(connections)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    used_s, began = server.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.join()
    wall_s, used_s = time.perf_counter() - began, server.cpu_s() - used_s
    took_s.sort()
    if len(took_s) < each * connections:
        raise SystemExit(f"{server.name}: some requests were refused")
    return used_s / len(took_s) * 1e6, len(took_s) / wall_s, took_s[int(len(took_s) * 0.99)] * 1e3


def measure(server: Server, connections: int, count: int) -> None:
    """One run, and one at half of its speed; both are printed and kept."""
    cost_us, per_s, p99_ms = load(server, connections, int(count * server.share))
    _, _, half_ms = load(server, connections, int(count * server.share / 2), per_s / 2)
    server.runs.setdefault(connections, []).append(Run(cost_us, per_s, p99_ms, half_ms))
    speed = f"{cost_us:6.0f} µs CPU {per_s:8.0f}/s  p99 {p99_ms:6.1f} ms, at half load {half_ms:6.1f} ms"
    print(f"{server.name:22} {connections:4} connections {speed}", flush=True)


def show(servers: list[Server], raw: dict[int, tuple[float, float]]) -> None:
    """The medians as a table, with the raw limit, and the ratios."""
    for connections in servers[0].runs:
        print(f"\n| {connections} connections | CPU µs | requests/s | p99 ms | p99 ms at half load |")
        print("|---|---|---|---|---|")
        for server in servers:
            told = (server.median(connections, what) for what in (_cost, _speed, _p99, _half))
            print("| {} | {:.0f} | {:,.0f} | {:.1f} | {:.1f} |".format(server.name, *told))
        print("| {} | {:.1f} | {:,.0f} | | |".format("raw limit: fdatasync alone", *raw[connections]))
        cost = {s.name: s.median(connections, _cost) for s in servers}
        print(
            f"\nThe gateway: {cost[FRAMEWORK] / cost[GATEWAY]:.0%} of what the framework does per CPU second without "
            f"storage, {cost[ORM] / cost[GATEWAY]:.1f} times what the ORM handler does."
        )


def _cost(run: Run) -> float:
    return run.cost_us


def _speed(run: Run) -> float:
    return run.per_s


def _p99(run: Run) -> float:
    return run.p99_ms


def _half(run: Run) -> float:
    return run.half_ms


def batches(server: Server, key: str, count: int, rounds: int) -> None:
    """Batches of 1,000 records over one connection."""
    speeds = []
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    for turn in range(rounds):
        records = [
            [{"id": k * 1000 + n, "name": f"customer {n}", "amount": 12.5, "city": "雪"} for n in range(1000)]
            for k in range(turn * count, (turn + 1) * count)
        ]
        bodies = [json.dumps(r).encode() for r in records]
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        used_s, began = server.cpu_s(), time.perf_counter()
        for body in bodies:
            client.request("POST", f"{PUSH}/batch?source=till", body, headers)
            answer = client.getresponse()
            answer.read()
            if answer.status != 202:
                raise SystemExit(f"refused: {answer.status}")
        wall_s, used_s = time.perf_counter() - began, server.cpu_s() - used_s
        speeds.append((count * 1000 / used_s, count * 1000 / wall_s))
    per_cpu_s, per_s = sorted(speeds)[rounds // 2]
    print(f"\nBatches of 1,000 records: {per_cpu_s:,.0f} records per CPU second, {per_s:,.0f} records/s.")


def raw_limit(folder: Path, connections: int, seconds: float = 2.0) -> tuple[float, float]:
    """The same bytes appended to a file, as many for each fdatasync as there are connections: CPU microseconds of one,
    and how many a second."""
    handle = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    count, began, used_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        os.write(handle, BODY * connections)
        os.fdatasync(handle)
        count += connections
    os.close(handle)
    return (time.process_time() - used_s) / count * 1e6, count / (time.perf_counter() - began)


@contextmanager
def peer(name: str, share: float, environment: dict[str, str], program: str, *more: str) -> Iterator[Server]:
    """A server of a program beside this one, until the block ends."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(HERE / program), str(port), *more], env=environment)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(f"{name} did not start")
        yield Server(name, port, process.pid, share)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=16_000, help="webhooks of a run")
    parser.add_argument("--rounds", type=int, default=3, help="how many times each is measured, in turns")
    given = parser.parse_args()
    print("  ".join(f"{name} {version(name)}" for name in USED), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        raw = {connections: raw_limit(Path(folder), connections) for connections in CONNS}
        door = gateway(Path(folder), declared=ENDLESS)
        door.environment |= {"SIS_GATEWAY_TENANT_RATE_PER_S": "1e9", "SIS_GATEWAY_KEY_RATE_PER_S": "1e9"}
        environment = {**os.environ, "KEY": door.environment["SHOP_SECRET"].removeprefix("whsec_")}
        door.start()
        assert door.process is not None
        ours = Server(GATEWAY, door.port, door.process.pid)
        try:
            with (
                peer(FRAMEWORK, 1.0, environment, "receive_framework.py") as framework,
                peer(ORM, 0.05, environment, "receive_orm.py", f"{folder}/orm.db") as orm,
            ):
                servers = [framework, ours, orm]
                for server in servers:  # until all is imported and compiled
                    load(server, 32, int(given.requests * server.share / 2))
                for connections in CONNS:
                    for _ in range(given.rounds):
                        for server in servers:
                            measure(server, connections, given.requests)
                show(servers, raw)
            state = open_state(load_settings(door.environment).database_url)
            key = state.api_keys.create("benchmark", "pusher", tenant="acme").text
            batches(ours, key, given.requests // 100, given.rounds)
        finally:
            door.end()


if __name__ == "__main__":
    main()

"""What a webhook and a batch cost the gateway, beside the same framework that stores nothing.

.venv/bin/python benchmarks/receive.py [--seconds 3]

CPU is user + system of the server's process. The framework: Starlette on uvicorn (uvloop, httptools) that reads the
body, checks its HMAC and answers 202. The raw limit: the same bytes appended to a file, 32 for each fdatasync.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync_tests.gateway.doors import HOOK, PUSH, gateway, signed
from superinsight_sync_tests.servers.ports import free_port

BODY = json.dumps({"type": "order.paid", "id": 1, "pad": "x" * 850}).encode()
FRAMEWORK = """
import base64, hmac, os, sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

KEY = base64.b64decode(os.environ["KEY"])

async def hook(request):
    body, h = await request.body(), request.headers
    digest = hmac.digest(KEY, f"{h['webhook-id']}.{h['webhook-timestamp']}.".encode() + body, "sha256")
    holds = hmac.compare_digest(base64.b64decode(h["webhook-signature"][3:]), digest)
    return JSONResponse({"status": "stored"}, 202 if holds else 401)

app = Starlette(routes=[Route("/api/v1/sync/push/webhook/{id}", hook, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
"""


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(port: int, requests: list[bytes], took_s: list[float], start: threading.Barrier) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = connection.makefile("rb")
        start.wait()
        for request in requests:
            began = time.perf_counter()
            connection.sendall(request)
            status, length = answers.readline(), 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
            took_s.append(time.perf_counter() - began)
            assert b" 202 " in status, status


def webhooks(name: str, port: int, pid: int, connections: int, each: int) -> float:
    """CPU microseconds of a request."""

    def request(delivery_id: str) -> bytes:
        named = {**signed(BODY, delivery_id), "host": "x", "content-length": str(len(BODY))}
        head = "".join(f"{k}: {v}\r\n" for k, v in named.items())
        return f"POST {HOOK}/shop HTTP/1.1\r\n{head}\r\n".encode() + BODY

    took_s: list[float] = []
    start = threading.Barrier(connections + 1)
    tag = time.monotonic_ns()
    threads = [
        threading.Thread(
            target=send, args=(port, [request(f"{tag}_{k}_{n}") for n in range(each)], took_s, start)
        )
        for k in range(connections)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    used_s, began = cpu_s(pid), time.perf_counter()
    for thread in threads:
        thread.join()
    wall_s, used_s = time.perf_counter() - began, cpu_s(pid) - used_s
    took_s.sort()
    count = len(took_s)
    cost_us = used_s / count * 1e6
    p99_ms = took_s[int(count * 0.99)] * 1e3
    print(
        f"{name:22} {connections:4} connections  {cost_us:6.0f} µs CPU  {count / wall_s:7.0f}/s  p99 {p99_ms:6.1f} ms"
    )
    return cost_us


def batches(port: int, pid: int, key: str, count: int) -> None:
    records = [
        [{"id": k * 1000 + n, "name": f"customer {n}", "amount": 12.5, "city": "雪"} for n in range(1000)]
        for k in range(count)
    ]
    bodies = [json.dumps(r).encode() for r in records]
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    client = http.client.HTTPConnection("127.0.0.1", port)
    used_s, began = cpu_s(pid), time.perf_counter()
    for body in bodies:
        client.request("POST", f"{PUSH}/batch?source=till", body, headers)
        answer = client.getresponse()
        answer.read()
        assert answer.status == 202
    wall_s, used_s = time.perf_counter() - began, cpu_s(pid) - used_s
    rows = count * 1000
    speed = f"{rows / used_s:,.0f} records per CPU second, {rows / wall_s:,.0f}/s"
    print(f"batches of 1,000 records ({len(bodies[0])} bytes): {speed}")


def raw_limit(folder: Path, seconds: float) -> None:
    handle = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        os.write(handle, BODY * 32)
        os.fdatasync(handle)
        count += 32
    os.close(handle)
    print(f"raw limit: {count / seconds:,.0f} bodies/s, 32 for each fdatasync")


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the framework's server did not start")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each measurement takes")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        raw_limit(Path(folder), seconds)
        door = gateway(Path(folder))
        door.start()
        port = free_port()
        environment = {**os.environ, "KEY": door.environment["SHOP_SECRET"].removeprefix("whsec_")}
        framework = subprocess.Popen([sys.executable, "-c", FRAMEWORK, str(port)], env=environment)
        _until_listening(port)
        assert door.process is not None
        try:
            for connections in (32, 128):
                each = int(seconds * 4_000 / connections)
                bare_us = webhooks("framework, no storage", port, framework.pid, connections, 2 * each)
                ours_us = webhooks("gateway, SQLite", door.port, door.process.pid, connections, each)
                print(f"  {bare_us / ours_us:.0%} of what the framework does per CPU second")
            state = open_state(load_settings(door.environment).database_url)
            key = state.api_keys.create("benchmark", "pusher", tenant="acme").text
            batches(door.port, door.process.pid, key, int(seconds * 100))
        finally:
            framework.terminate()
            framework.wait()
            door.end()


if __name__ == "__main__":
    main()

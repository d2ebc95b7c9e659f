"""Starts the gateway, pushes the departures of 31 December 2013 to it in five ways by HTTP, and stops it.

    python examples/push_demo.py

The secret is in TOWER_SECRET. A second call sends the very same deliveries: the gateway knows them.
"""

import base64
import hashlib
import hmac
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

ROOT = Path(__file__).parents[1]
SIS = [sys.executable, "-c", "from superinsight_sync.cli.entry import sis; sis()"]
COLUMNS = ("time_hour", "carrier", "flight", "origin", "dest", "tailnum", "dep_delay")
PUSH = "/api/v1/sync/push"
TO = "source=tower&stream=departures"

Record = dict[str, Any]


def departures() -> list[Record]:
    """What the towers tell, in the order of the day."""
    with closing(sqlite3.connect(ROOT / ".sis" / "demo" / "airline.db")) as db:
        rows = db.execute(
            "SELECT time_hour, carrier, flight, origin, dest, tailnum, dep_delay FROM flights"
            " WHERE month = 12 AND day = 31 AND dep_time IS NOT NULL"
            " ORDER BY sched_dep_time, carrier, flight, origin"
        )
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@contextmanager
def gateway() -> Iterator[str]:
    """Its address, while it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*SIS, "gateway", "--port", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{url}/health/ready").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
            if process.poll() is not None:
                raise SystemExit("the gateway ended: see what `make gateway` says")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=40)


@contextmanager
def key() -> Iterator[str]:
    """A key that may push, for as long as it is needed."""

    def keys(*arguments: str) -> Any:
        done = subprocess.run(
            [*SIS, "keys", *arguments, "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        return json.loads(done.stdout)

    made = keys("create", "--name", "demo", "--role", "pusher", "--tenant", "demo", "--source", "tower")
    try:
        yield made["key"]
    finally:
        keys("revoke", made["id"])


def signed(body: bytes, delivery: str) -> dict[str, str]:
    """The headers of Standard Webhooks (standardwebhooks.com)."""
    now = str(int(time.time()))
    secret = base64.b64decode(os.environ["TOWER_SECRET"].removeprefix("whsec_"))
    digest = hmac.digest(secret, f"{delivery}.{now}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": delivery,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        "content-type": "application/json",
    }


def webhooks(client: httpx.Client, records: list[Record]) -> str:
    """A signed delivery for each."""
    answers: Counter[int] = Counter()
    for number, record in enumerate(records):
        body = json.dumps(record).encode()
        answer = client.post(f"{PUSH}/webhook/tower", content=body, headers=signed(body, f"evt_{number}"))
        answers[answer.status_code] += 1
    return ", ".join(f"{count} × {code}" for code, count in answers.items())


def batch(client: httpx.Client, records: list[Record]) -> str:
    """One delivery."""
    answer = client.post(f"{PUSH}/batch?{TO}", json=records, headers={"idempotency-key": "morning"})
    return f"{answer.status_code} {answer.json()['status']}"


def stream(client: httpx.Client, records: list[Record]) -> str:
    """A line for each, and one that is cut off: kept with its reason."""
    lines = [json.dumps(r) for r in records]
    lines.insert(100, lines[100][:40])
    answer = client.post(
        f"{PUSH}/stream?{TO}",
        content="\n".join(lines).encode(),
        headers={"x-batch-id": "noon", "content-type": "application/x-ndjson"},
    )
    told = answer.json()
    return f"{answer.status_code}, stored up to line {told['committed']}, {len(told['rejected'])} set aside"


def file(client: httpx.Client, records: list[Record]) -> str:
    """A CSV file in a form."""
    lines = [",".join(COLUMNS), *(",".join(str(r[c]) for c in COLUMNS) for r in records)]
    form = {"file": ("evening.csv", "\n".join(lines).encode(), "text/csv")}
    answer = client.post(f"{PUSH}/file?{TO}", files=form)
    return f"{answer.status_code} {answer.json()['files'][0]['status']}"


def messages(url: str, token: str, records: list[Record]) -> str:
    """A numbered message for each on a WebSocket; those that are acknowledged already are not sent again."""
    address = f"{url.replace('http', 'ws', 1)}{PUSH}/ws?{TO}&session=night"
    with connect(address, additional_headers={"authorization": f"Bearer {token}"}) as connection:
        known = acknowledged = json.loads(connection.recv())["last"]
        for number in range(known + 1, len(records) + 1):
            connection.send(json.dumps({"n": number, "data": records[number - 1]}))
        while acknowledged < len(records):
            acknowledged = json.loads(connection.recv())["n"]
    return f"{acknowledged} acknowledged, {acknowledged - known} of them now"


def main() -> None:
    told = departures()
    with gateway() as url, key() as token:
        client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30)
        print(f"pushed to the gateway ({len(told)} departures):")
        print(f"  webhook    {webhooks(client, told[:40])}")
        print(f"  batch      {batch(client, told[40:300])}")
        print(f"  stream     {stream(client, told[300:500])}")
        print(f"  file       {file(client, told[500:700])}")
        print(f"  WebSocket  {messages(url, token, told[700:])}")


if __name__ == "__main__":
    main()

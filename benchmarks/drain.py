"""How long a push takes from its acceptance until it is in the lake, by `sis drain`.

.venv/bin/python benchmarks/drain.py [--rate 75] [--seconds 30]

One realtime stream on the embedded default (SQLite, a local lake), a gateway and a drain as processes of their own.
Pushes of one record each, at even times, over as many connections as are free. From acceptance (`received_at`, written
with the delivery before its answer) to the note that it is in the lake (`marked_at`, written after the commit).
"""

import argparse
import http.client
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync_tests.gateway.doors import PUSH, SIS, gateway
from superinsight_sync_tests.waiting import until

CONNECTIONS = 16
DECLARED = """
type: superinsight_sync.PushSource
attributes:
  name: till
  tenant: acme
  streams:
    - {name: clicks, realtime: true, columns: {n: int64}}
"""


def send(port: int, key: str, due: "queue.SimpleQueue[tuple[float, int] | None]", refused: list[int]) -> None:
    """One connection: sends what is due until None comes."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    while (next_one := due.get()) is not None:
        at, n = next_one
        time.sleep(max(0.0, at - time.monotonic()))
        client.request("POST", f"{PUSH}/batch?source=till", json.dumps({"n": n}).encode(), headers)
        answer = client.getresponse()
        answer.read()
        if answer.status != 202:
            refused.append(answer.status)
    client.close()


def push(port: int, key: str, numbers: range, per_s: float) -> None:
    """A push for each number, at even times. Raises SystemExit if one is refused."""
    due: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
    refused: list[int] = []
    threads = [threading.Thread(target=send, args=(port, key, due, refused)) for _ in range(CONNECTIONS)]
    began = time.monotonic() + 0.2
    for place, n in enumerate(numbers):
        due.put((began + place / per_s, n))
    for _ in threads:
        due.put(None)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise SystemExit(f"{len(refused)} pushes were refused: {sorted(set(refused))}")


def show(engine: Engine, count: int, per_s: float) -> None:
    """The times as a table. Raises SystemExit unless all are in the lake, once."""
    table = TableRef("acme", "till", "clicks", "raw")
    numbers = sorted(engine.lake.scan(table).read_all().column("n").to_pylist())
    if numbers != list(range(-1, count)):
        raise SystemExit(
            f"{count + 1} were pushed, and the lake has {len(numbers)}, {len(set(numbers))} different"
        )
    took_s = sorted(
        (d.marked_at - d.received_at).total_seconds()
        for d in engine.inbox.list(limit=count)
        if d.marked_at is not None
    )
    print("\n| pushes | pushes/s | median s | 99 % within s | at most s |")
    print("|---|---|---|---|---|")
    told = statistics.median(took_s), took_s[int(len(took_s) * 0.99)], took_s[-1]
    print("| {:,} | {:g} | {:.2f} | {:.2f} | {:.2f} |".format(count, per_s, *told))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=75.0, help="pushes a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long is pushed")
    given = parser.parse_args()
    count = max(1, int(given.rate * given.seconds))
    with tempfile.TemporaryDirectory() as folder:
        door = gateway(Path(folder), declared=DECLARED)
        door.start()
        engine = open_engine("benchmark", load_settings(door.environment))
        log = Path(folder) / "drain.log"
        drain = subprocess.Popen(
            [*SIS, "drain"],
            cwd=folder,
            env={**os.environ, **door.environment, "DAGSTER_HOME": folder},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: "draining" in log.read_text(), "the drain did not start")
            key = engine.state.api_keys.create("benchmark", "pusher", tenant="acme").text
            push(door.port, key, range(-1, 0), 1.0)  # until all is imported and the table is there
            until(lambda: engine.inbox.backlog().deliveries == 0, log.read_text())
            push(door.port, key, range(count), given.rate)
            until(lambda: engine.inbox.backlog().deliveries == 0, log.read_text())
            show(engine, count, given.rate)
        finally:
            drain.terminate()
            drain.wait()
            door.end()
            engine.state.close()


if __name__ == "__main__":
    main()

"""What landing sets aside by the declaration, the answer says, on every way in."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.gateway.doors import PUSH, Gateway, gateway
from superinsight_sync_tests.gateway.test_sockets import await_ack, message

DECLARED = """
type: superinsight_sync.PushSource
attributes:
  name: till
  tenant: acme
  streams:
    - name: sales
      primary_key: [id]
      columns: {id: int64, amount: "decimal(12,2)", tags: "list<int64>", at: timestamp}
"""
RECORDS: list[Any] = [
    {"id": 1, "amount": "12.34", "tags": [1], "at": "2026-01-31T00:00:00Z"},
    {"id": 2, "amount": "free"},
    {"id": 3, "tags": ["a"]},
    {"amount": 1},
    {"id": 5, "at": "never"},
    {"id": 6, "_sis_hash": 1},
    7,
    {"id": 8, "amount": 0.1},
]
BAD = [2, 3, 4, 5, 6, 7]


@pytest.fixture(scope="module")
def till(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = gateway(tmp_path_factory.mktemp("till"), declared=DECLARED)
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def engine(till: Gateway) -> Engine:
    return open_engine("run", load_settings(till.environment))


@pytest.mark.parametrize("way", ["batch", "stream", "file", "socket"])
def test_the_answer_tells_what_landing_sets_aside(till: Gateway, engine: Engine, way: str) -> None:
    key = {"authorization": f"Bearer {engine.state.api_keys.create(way, 'pusher', tenant='acme').text}"}
    lines = "\n".join(json.dumps(r) for r in RECORDS).encode() + b"\n" * len(way)
    ndjson = {**key, "content-type": "application/x-ndjson"}
    with httpx.Client(base_url=till.url + PUSH, params={"source": "till"}) as client:
        if way == "batch":
            told = client.post("/batch", content=lines, headers=ndjson).json()
        elif way == "stream":
            told = client.post("/stream", content=lines, headers=ndjson).json()
        elif way == "file":
            told = client.post("/file", files={"file": ("a.jsonl", lines)}, headers=key).json()["files"][0]
        else:
            url = f"{till.url.replace('http', 'ws', 1)}{PUSH}/ws?source=till&session=s"
            with connect(url, additional_headers=key) as connection:
                connection.recv(20)
                for number, record in enumerate(RECORDS, start=1):
                    connection.send(message(number, record))
                told = {"records": 2, "rejected_count": 6, "rejected": await_ack(connection, len(RECORDS))}
    assert [r.get("place") or r.get("line") or r["n"] for r in told["rejected"]] == BAD
    assert (told["records"], told["rejected_count"]) == (2, 6)
    push = load_project(engine.settings).push_sources["till"]
    pull_stream(engine, push.landed, push.landed.stream("sales"))
    table = TableRef("acme", "till", "sales", "raw")
    newest = max(engine.lake.scan(table).read_all().column("_sis_seq").to_pylist())
    delivery = next(d for d in engine.inbox.list() if d.seq == newest)
    aside = engine.lake.scan(table.at("unreadable")).read_all().to_pylist()
    mine = {a["line"]: a["reason"] for a in aside if a["file"] == f"delivery {delivery.id}"}
    if way != "socket":
        assert sorted(mine) == BAD
        assert mine == {r.get("place") or r["line"]: r["reason"] for r in told["rejected"]} | {7: mine[7]}
    assert len([a for a in aside if a["_sis_load_id"]]) % 6 == 0

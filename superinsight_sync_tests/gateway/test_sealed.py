"""With a master key nothing that is pushed rests in plain text, and it lands as it came."""

from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.security.master_keys import new_master_key
from superinsight_sync_tests.gateway.doors import PUSH, gateway

CANARY = "canary-4711"


def resting(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file() and "lake" not in p.parts)


def test_pushes_rest_sealed_and_land_as_they_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = gateway(tmp_path)
    door.environment["SIS_MASTER_KEY"] = new_master_key()
    monkeypatch.setenv("SIS_MASTER_KEY", door.environment["SIS_MASTER_KEY"])
    monkeypatch.setenv("SHOP_SECRET", door.environment["SHOP_SECRET"])
    settings = load_settings(door.environment)
    engine = open_engine(settings=settings)
    headers = {"authorization": f"Bearer {engine.state.api_keys.create('n', 'admin', tenant='acme').text}"}
    door.start()
    try:
        small, big = [{"a": CANARY}], [{"a": f"{CANARY} {n} {'x' * 100}"} for n in range(1_000)]
        for rows in (small, big):
            answer = httpx.post(f"{door.url}{PUSH}/batch?source=till", json=rows, headers=headers, timeout=60)
            assert answer.status_code == 202, answer.text
        again = httpx.post(f"{door.url}{PUSH}/batch?source=till", json=small, headers=headers, timeout=60)
        assert again.status_code == 200
        shown = httpx.get(
            f"{door.url}/api/v1/inbox/deliveries/{again.json()['id']}/body", headers=headers, timeout=60
        )
        assert shown.json() == small
    finally:
        door.end()
    assert CANARY.encode() not in resting(settings.home)
    monkeypatch.delenv("SIS_MASTER_KEY")
    blind = open_engine(settings=settings)
    spec = load_project(settings).source("till")
    with pytest.raises(ConfigError, match="master key"):
        pull_stream(blind, spec, spec.streams[0])
    monkeypatch.setenv("SIS_MASTER_KEY", door.environment["SIS_MASTER_KEY"])
    pull_stream(open_engine(settings=settings), spec, spec.streams[0])
    table = TableRef("acme", "till", spec.streams[0].name, "raw")
    landed = engine.lake.scan(table).read_all().column("a").to_pylist()
    assert sorted(landed) == sorted(row["a"] for row in [*small, *big])

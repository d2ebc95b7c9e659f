"""`sis receive show`, whose commands really push, and `sis inbox`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.project import load_folder, load_project
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.gateway.doors import PUSH, SECRET, Gateway, gateway

RAW = TableRef("acme", "till", "sales", "raw")
SCHEMES = {
    "standard": "scheme: standard",
    "svix": "scheme: svix",
    "github": "scheme: github",
    "stripe": "scheme: stripe",
    "plain": "scheme: hmac, signature_header: X-Sign, timestamp_header: X-At, id_header: X-Id, "
    'template: "{timestamp}:{id}:{body}", encoding: base64, prefix: "v9="',
    "bare": "scheme: hmac, signature_header: X-Sign",
}
DECLARED = (
    "---".join(
        f"""
type: superinsight_sync.PushSource
attributes:
  name: {name}
  tenant: acme
  signature: {{{scheme}, secrets: "{{{{ env.SHOP_SECRET }}}}"}}
  event_type: event.type
  streams:
    - {{name: orders, events: ["order.*"], record: data.object}}
    - {{name: others}}
"""
        for name, scheme in SCHEMES.items()
    )
    + """---
type: superinsight_sync.PushSource
attributes:
  name: till
  tenant: acme
  streams:
    - {name: sales, formats: [csv, ndjson], columns: {amount: "decimal(12,2)"}}
    - {name: live, realtime: true}
"""
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = gateway(tmp_path_factory.mktemp("inbox"), declared=DECLARED)
    made.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made
    made.end()


@pytest.fixture
def engine(door: Gateway) -> Engine:
    return open_engine(settings=load_settings())


@pytest.fixture(scope="module")
def key(door: Gateway) -> str:
    text: str = sis(
        "keys", "create", "--name", "t", "--role", "pusher", "--tenant", "acme", "--json"
    ).document["key"]
    return text


def run(command: list[str], key: str) -> str:
    environment = {**os.environ, "PUSH_KEY": key, "SHOP_SECRET": SECRET}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("source", [*SCHEMES, "till"])
def test_the_commands_that_are_shown_push(source: str, door: Gateway, engine: Engine, key: str) -> None:
    shown = sis("receive", "show", source, "--url", door.url, "--json").document
    assert set(shown["examples"]) == {"curl", "python"} | (
        set() if source == "till" else {"openssl", "python webhook"}
    )
    assert SECRET not in str(shown) and SECRET.removeprefix("whsec_") not in str(shown)
    before = len(engine.inbox.list(source=source))
    for name, command in shown["examples"].items():
        shell = [sys.executable, "-c"] if name.startswith("python") else ["bash", "-ec"]
        assert '"status":"stored"' in run([*shell, command], key) or name == "python"
    assert len(engine.inbox.list(source=source)) >= before + (1 if source == "till" else 3)


def test_what_is_shown_for_people_names_addresses_and_an_unknown_source_ends_with_2(door: Gateway) -> None:
    done = sis("receive", "show", "standard", "--url", "https://push.example.com/")
    assert done.code == 0
    assert "https://push.example.com/api/v1/sync/push/webhook/standard" in done.out
    for address in ("batch?", "stream?", "file?"):
        assert f"https://push.example.com/api/v1/sync/push/{address}source=standard" in done.out
    assert "wss://push.example.com/api/v1/sync/push/ws?source=standard&session=" in done.out
    wrong = sis("receive", "show", "nobody", "--json")
    assert wrong.code == 2 and "till" in wrong.document["error"]["message"]


def test_deliveries_are_listed_shown_and_replayed(door: Gateway, engine: Engine, key: str) -> None:
    body = b"id,amount\n1,5.00\n2,x\n"
    answer = httpx.post(
        f"{door.url}{PUSH}/batch?source=till&stream=sales",
        content=body,
        headers={"authorization": f"Bearer {key}", "content-type": "text/csv"},
    )
    name = answer.json()["id"]
    listed = sis("inbox", "list", "--source", "till", "--json").document
    assert listed["waiting"]["deliveries"] >= 1
    assert "body" not in listed["deliveries"][0] and listed["deliveries"][0]["id"] == name
    waiting = sis("inbox", "replay", name, "--json")
    assert waiting.code == 2 and "waits" in waiting.document["error"]["message"]
    source = load_project(load_settings()).source("till")
    pull_stream(engine, source, source.stream("sales"))
    shown = sis("inbox", "show", name, "--json").document
    assert shown["state"] == "landed" and shown["set_aside"] == [3] and "body" not in shown
    assert sis("inbox", "show", name, "--body").out.encode() == body
    assert sis("inbox", "show", name, "--body", "--json").document["body"].encode() == body
    assert "5.00" not in sis("inbox", "show", name).out
    count = engine.lake.count(RAW)
    new = sis("inbox", "replay", name, "--json").document["replayed"][name]
    again = pull_stream(engine, source, source.stream("sales"))
    assert (again.stats.rows, again.unreadable) == (0, 1) and engine.lake.count(RAW) == count
    assert sis("inbox", "replay", name, "--all").code == 0
    assert pull_stream(engine, source, source.stream("sales")).stats.rows == 1
    assert sis("inbox", "show", new, "--json").document["replay_of"] == shown["seq"]
    assert sis("quarantine", "till.sales", "--json").document["records"]


def test_wrong_usage_ends_with_2(door: Gateway) -> None:
    for command in (["inbox", "show", "none"], ["inbox", "replay", "none"]):
        done = sis(*command, "--json")
        assert done.code == 2 and done.document["error"]["message"], command


def test_checks_name_wrong_declarations(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "defs.yaml").write_text(
        "type: superinsight_sync.PushSource\n"
        "attributes:\n  name: shop\n  streams:\n    - {name: a, columns: {x: decimal}}\n"
        "---\ntype: superinsight_sync.PushSource\n"
        "attributes:\n  name: till\n  streams:\n    - {name: a, save: {raw: memory}}\n"
    )
    found = [str(p) for p in load_folder(folder).problems]
    assert len(found) == 2
    assert "columns.x" in found[0] and "needs a durable raw table" in found[1]

"""The guide's examples do what it says, as they stand there."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

from superinsight_sync.state.inbox import Inbox
from superinsight_sync_tests.gateway.doors import Gateway

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "receive-pushes.md").read_text()


def example(language: str, holding: str) -> str:
    """The one block of code with those words in it."""
    (found,) = [
        b for b in re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL) if holding in b
    ]
    return str(found)


def run(door: Gateway, key: dict[str, str], code: str, program: list[str], folder: Path) -> str:
    there = door.url.removeprefix("http://")
    code = code.replace("https://push.example.com:8443", f"http://{there}")
    code = code.replace("wss://push.example.com:8443", f"ws://{there}")
    env = {**os.environ, "PUSH_KEY": key["authorization"].removeprefix("Bearer ")}
    done = subprocess.run([*program, code], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_form(door: Gateway, inbox: Inbox, key: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "monday.csv").write_bytes(b"day\nmonday\n")
    (tmp_path / "tuesday.jsonl.gz").write_bytes(gzip.compress(b'{"day": "tuesday"}\n'))
    told = run(door, key, example("sh", "-F file=@monday.csv"), ["bash", "-c"], tmp_path)
    assert told.count('"status":"stored"') == 2
    files = [d.metadata.get("file") for d in inbox.list(source="shop")]
    assert (files.count("monday.csv"), files.count("tuesday.jsonl.gz")) == (1, 1)


def test_the_upload(door: Gateway, inbox: Inbox, key: dict[str, str], tmp_path: Path) -> None:
    body = b"n\n" + b"".join(b"%d%s\n" % (n, b"x" * 1_000) for n in range(9_000))
    (tmp_path / "year.csv").write_bytes(body)
    run(door, key, example("python", "tusclient"), [sys.executable, "-c"], tmp_path)
    (found,) = [d for d in inbox.list(source="shop") if d.metadata.get("file") == "year.csv"]
    assert inbox.body(found.id) == body and found.metadata["metadata"] == {"shift": "3"}


def test_the_messages(door: Gateway, inbox: Inbox, key: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        run(door, key, example("python", "websockets"), [sys.executable, "-c"], tmp_path)
    mine = [d for d in inbox.list(source="shop") if d.metadata.get("session") == "till-7"]
    assert sum(d.records for d in mine) == 5_000 and {d.stream for d in mine} == {"others"}

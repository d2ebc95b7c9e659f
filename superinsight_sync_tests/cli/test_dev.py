"""`sis dev` as a user starts it: all of it runs, and all of it ends."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync_tests.gateway.doors import SIS, project
from superinsight_sync_tests.gateway.test_drain import DECLARED
from superinsight_sync_tests.servers.deaf import mute_port
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.waiting import until


class Dev:
    """The command, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.ports = {"web": free_port(), "gateway": free_port()}
        numbers = ["--port", str(self.ports["web"]), "--gateway-port", str(self.ports["gateway"])]
        self.log = folder / "dev.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SIS_", "DAGSTER_"))}
        self.process = subprocess.Popen(
            [*SIS, "dev", "--json", *numbers],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=(folder / "dev.json").open("wb"),
            stderr=self.log.open("wb"),
        )

    def answers(self, which: str, path: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.ports[which]}{path}").is_success
        except httpx.TransportError:
            return False

    def until_all_serve(self) -> None:
        until(lambda: self.process.poll() is not None or self.pushes_are_served(), "they do not start")
        until(lambda: self.process.poll() is not None or self.answers("web", "/server_info"), "no web UI")
        assert self.process.poll() is None, self.log.read_text()

    def pushes_are_served(self) -> bool:
        return b"draining" in self.log.read_bytes() and self.answers("gateway", "/health/ready")

    def children(self) -> dict[int, str]:
        """The commands of the processes that it started and that live."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(parent) == self.process.pid:
                    found[int(folder.name)] = command
        return found


@pytest.fixture
def deaf_port(tmp_path: Path) -> Iterator[int]:
    """Declares a source there, which never answers."""
    (tmp_path / "shop" / "defs" / "slow").mkdir(parents=True)
    with mute_port() as port:
        (tmp_path / "shop" / "defs" / "slow" / "defs.yaml").write_text(SLOW.format(port=port))
        yield port


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    project(tmp_path, DECLARED)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "definitions.py").write_text(
        "from pathlib import Path\n\nimport dagster as dg\n\n\n@dg.definitions\ndef defs() -> dg.Definitions:\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (tmp_path / "workspace.yaml").write_text(
        "load_from:\n  - python_module: {module_name: shop.definitions, working_directory: .}\n"
    )
    started = Dev(tmp_path)
    yield started
    for pid in started.children():
        os.killpg(pid, signal.SIGKILL)
    started.process.kill()
    started.process.wait(timeout=10)


SLOW = """type: superinsight_sync.SyncSource
attributes:
  name: slow
  connection: {{kind: rest, base_url: "http://127.0.0.1:{port}", allow_private: true}}
  streams: [{{name: things, endpoint: things}}]
"""
REPOSITORIES = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
LAUNCH = "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { ... on LaunchRunSuccess { run { runId } } } }"
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def asked(dev: Dev, query: str, **variables: object) -> Any:
    address = f"http://127.0.0.1:{dev.ports['web']}/graphql"
    answer = httpx.post(address, json={"query": query, "variables": variables}, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


def launched(dev: Dev) -> str:
    """The id of a new run of the slow stream."""
    (place,) = asked(dev, REPOSITORIES)["repositoriesOrError"]["nodes"]
    selector = {
        "repositoryName": place["name"],
        "repositoryLocationName": place["location"]["name"],
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["slow", "raw_things"]}],
    }
    made = asked(dev, LAUNCH, p={"selector": selector, "runConfigData": {}})
    return str(made["launchRun"]["run"]["runId"])


def test_the_ui_stops_a_pull_that_waits_and_ctrl_c_stops_that_and_all(
    deaf_port: int, dev: Dev, tmp_path: Path
) -> None:
    dev.until_all_serve()
    assert json.loads((tmp_path / "dev.json").read_text()) == {
        "web_ui": f"http://127.0.0.1:{dev.ports['web']}",
        "gateway": f"http://127.0.0.1:{dev.ports['gateway']}",
    }
    started = dev.children()
    assert len(started) == 3
    state = open_state(load_settings({"SIS_PROJECT_DIR": str(tmp_path)}).database_url)

    def pulls(status: str) -> int:
        return len(state.executions.recent(source="slow", status=status))

    run = launched(dev)
    until(lambda: pulls("running"), "the pull does not begin")
    asked(dev, TERMINATE, id=run)
    until(lambda: pulls("stopped"), "it is not stopped")
    until(lambda: asked(dev, STATUS, id=run)["runOrError"]["status"] == "CANCELED", "the run goes on")
    assert state.leases.holder("pull default/slow/things") is None
    launched(dev)
    until(lambda: pulls("running"), "the pull does not begin")
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(timeout=300) == 0, dev.log.read_text()
    assert not [command for pid, command in started.items() if Path(f"/proc/{pid}").exists()]
    assert not dev.answers("gateway", "/health/live") and not dev.answers("web", "/server_info")
    assert (pulls("stopped"), pulls("running")) == (2, 0)
    assert state.leases.holder("pull default/slow/things") is None


def test_when_one_ends_the_others_are_stopped_and_it_is_named(dev: Dev) -> None:
    until(dev.pushes_are_served, "they do not start")
    gateway = next(pid for pid, command in dev.children().items() if " gateway " in command)
    os.kill(gateway, signal.SIGKILL)
    assert dev.process.wait(timeout=300) == 1
    assert "error: the gateway has ended with code -9, so the others were stopped" in dev.log.read_text()
    assert not dev.answers("web", "/server_info")

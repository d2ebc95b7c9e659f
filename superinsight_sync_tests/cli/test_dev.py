"""`sis dev` as a user starts it: all of it runs, and all of it ends."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from superinsight_sync_tests.gateway.doors import SIS, project
from superinsight_sync_tests.gateway.test_drain import DECLARED
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


def test_ctrl_c_stops_all_of_it(dev: Dev, tmp_path: Path) -> None:
    dev.until_all_serve()
    assert json.loads((tmp_path / "dev.json").read_text()) == {
        "web_ui": f"http://127.0.0.1:{dev.ports['web']}",
        "gateway": f"http://127.0.0.1:{dev.ports['gateway']}",
    }
    started = dev.children()
    assert len(started) == 3
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(timeout=300) == 0, dev.log.read_text()
    assert not [command for pid, command in started.items() if Path(f"/proc/{pid}").exists()]
    assert not dev.answers("gateway", "/health/live") and not dev.answers("web", "/server_info")


def test_when_one_ends_the_others_are_stopped_and_it_is_named(dev: Dev) -> None:
    until(dev.pushes_are_served, "they do not start")
    gateway = next(pid for pid, command in dev.children().items() if " gateway " in command)
    os.kill(gateway, signal.SIGKILL)
    assert dev.process.wait(timeout=300) == 1
    assert "error: the gateway has ended with code -9, so the others were stopped" in dev.log.read_text()
    assert not dev.answers("web", "/server_info")

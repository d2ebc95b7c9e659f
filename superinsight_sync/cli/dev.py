"""``sis dev``: everything that serves a project, as one command."""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

import click

from superinsight_sync.cli.output import FAILED, OK, errors_shown, json_option, show_json, tell
from superinsight_sync.core.settings import load_settings

if TYPE_CHECKING:
    from superinsight_sync.pipeline.project import Project

_SIS = [sys.executable, "-c", "from superinsight_sync.cli.entry import sis; sis()"]
_LOOK_S = 0.2
_END_S = 60


@click.command("dev")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Web UI's port.")
@click.option(
    "--gateway-port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Gateway's port."
)
@json_option
@errors_shown
def dev_command(host: str, port: int, gateway_port: int, as_json: bool) -> None:
    """Runs Dagster's web UI and daemon; where something is pushed, the gateway and the drain; where a log is
    followed, the capture.

    Ctrl-C stops all of them and the runs that they have under way. If one of them ends, so do the others.

    \b
    Example:
        sis dev --port 3001
    """
    from superinsight_sync.orchestration.running import instance, stop_served_runs
    from superinsight_sync.pipeline.project import load_project

    settings = load_settings()
    commands = _commands(load_project(settings), host, port, gateway_port)
    addresses = {"web_ui": f"http://{host}:{port}"}
    if "the gateway" in commands:
        addresses["gateway"] = f"http://{host}:{gateway_port}"
    if as_json:
        show_json(addresses)
    for name, address in addresses.items():
        tell(f"{name.replace('_', ' ')}: {address}")
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    with instance():
        pass  # makes Dagster's storage, which does not bear to be made by several processes at once
    environment = {
        "DAGSTER_HOME": str(settings.project_dir),
        "SIS_WEB_URL": addresses["web_ui"],
        **os.environ,
    }
    # Sessions of their own: Ctrl-C reaches this process alone, which tells each once.
    running = {
        name: subprocess.Popen(
            command, cwd=settings.project_dir, env=environment, stdout=sys.stderr, start_new_session=True
        )
        for name, command in commands.items()
    }
    try:
        ended = _first_to_end(running, stop)
        stop_served_runs(_END_S)
    finally:
        _end(running)
    if ended is not None:
        tell(f"error: {ended} has ended with code {running[ended].returncode}, so the others were stopped")
    raise SystemExit(OK if ended is None else FAILED)


def _commands(project: "Project", host: str, port: int, gateway_port: int) -> dict[str, list[str]]:
    """What to start, by name."""
    web = [sys.executable, "-m", "dagster", "dev", "--host", host, "--port", str(port)]
    commands = {"dagster dev": web}
    if project.push_sources:
        commands["the gateway"] = [*_SIS, "gateway", "--host", host, "--port", str(gateway_port)]
    if any(stream.realtime for source in project.push_sources.values() for stream in source.streams):
        commands["the drain"] = [*_SIS, "drain"]
    if any(stream.sync.mode == "capture" for source in project.sources.values() for stream in source.streams):
        commands["the capture"] = [*_SIS, "capture", "run"]
    return commands


def _first_to_end(running: dict[str, "subprocess.Popen[bytes]"], stop: threading.Event) -> str | None:
    """The name of the first that ended; None if `stop` was set before."""
    while not stop.wait(_LOOK_S):
        for name, process in running.items():
            if process.poll() is not None:
                return name
    return None


def _end(running: dict[str, "subprocess.Popen[bytes]"]) -> None:
    """Tells each to stop, and waits."""
    for process in running.values():
        process.send_signal(signal.SIGINT)
    for process in running.values():
        try:
            process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started

"""Servers end with the run that started them, whatever ends it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.waiting import heeds_ctrl_c, until

RUN = """
import json, os, threading
from pathlib import Path
from superinsight_sync_tests.servers.postgres import running_postgres

def test_it(postgres_server, valkey_server, tmp_path):
    with running_postgres() as own:
        told = Path(os.environ["TOLD"])
        folders = [str(s.folder) for s in (postgres_server, valkey_server, own)]
        told.with_suffix(".part").write_text(json.dumps([os.getpid(), *folders]))
        told.with_suffix(".part").rename(told)
        threading.Event().wait()
"""


def processes_of(folder: str) -> list[int]:
    """Those that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
@pytest.mark.parametrize(("how", "workers"), [(signal.SIGINT, 1), (signal.SIGTERM, 0), (signal.SIGKILL, 1)])
def test_no_server_outlives_its_run(tmp_path: Path, how: signal.Signals, workers: int) -> None:
    (tmp_path / "test_it.py").write_text(RUN)
    told = tmp_path / "told.json"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SIS_", "PYTEST_"))}
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-c", os.devnull, "--rootdir", str(tmp_path),
         "-p", "superinsight_sync_tests.conftest", "-p", "no:cacheprovider", str(tmp_path)],
        env={**environment, "TOLD": str(told), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=heeds_ctrl_c,
    )  # fmt: skip
    try:
        until(lambda: told.exists() or run.poll() is not None, "the run starts its servers")
        assert told.exists(), (tmp_path / "log").read_text()
        worker, *folders = json.loads(told.read_text())
        assert all(processes_of(folder) for folder in folders)
        if how == signal.SIGINT:
            os.killpg(run.pid, how)  # as a terminal does
        else:
            run.send_signal(how)
        run.wait()
        until(lambda: not any(processes_of(folder) for folder in folders), "the servers end")
        until(lambda: not Path(f"/proc/{worker}").exists(), "the worker ends")
        if how != signal.SIGKILL:
            until(lambda: not Path(folders[0]).exists(), "their folders are removed")
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


def test_a_server_that_others_use_cannot_be_stopped(postgres_server: PostgresServer) -> None:
    with pytest.raises(AssertionError, match="others use this server"):
        postgres_server.restart()

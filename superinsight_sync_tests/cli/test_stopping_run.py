"""Ctrl-C and SIGTERM on `sis run` end a pull that waits for its source."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state import open_state
from superinsight_sync_tests.servers.deaf import mute_port
from superinsight_sync_tests.waiting import heeds_ctrl_c, until

SLOW = """type: superinsight_sync.SyncSource
attributes:
  name: slow
  connection: {{kind: rest, base_url: "http://127.0.0.1:{port}", allow_private: true}}
  streams:
    - {{name: things, endpoint: things}}
    - {{name: others, endpoint: others}}
"""
SIS = [sys.executable, "-c", "from superinsight_sync.cli.entry import sis; sis()"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_for_its_source_is_stopped(project: Path, how: signal.Signals) -> None:
    declared = project / project.name / "defs" / "slow"
    declared.mkdir(exist_ok=True)
    state = open_state(load_settings({"SIS_PROJECT_DIR": str(project)}).database_url)
    before = {row.id for row in state.executions.recent(source="slow")}
    with mute_port() as port:
        (declared / "defs.yaml").write_text(SLOW.format(port=port))
        running = subprocess.Popen(
            [*SIS, "run", "slow"],
            cwd=project,
            env=dict(os.environ),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heeds_ctrl_c,
        )
        try:
            until(lambda: len(state.executions.recent(source="slow", status="running")) == 2, "both wait")
            running.send_signal(how)
            _, told = running.communicate(timeout=60)
        finally:
            running.kill()
    ended = [row for row in state.executions.recent(source="slow") if row.id not in before]
    assert [row.status for row in ended] == ["stopped", "stopped"], told
    assert all(state.leases.holder(f"pull default/slow/{n}") is None for n in ("things", "others"))
    assert running.returncode == 1, told
    assert "stopped" in told

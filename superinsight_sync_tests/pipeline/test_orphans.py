"""What a killed process was at does not stay "running", and what lives is never taken for dead."""

import subprocess
import sys
from pathlib import Path

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.state.executions import ORPHANED
from superinsight_sync_tests.servers.deaf import mute_port
from superinsight_sync_tests.shop import make_shop, order
from superinsight_sync_tests.waiting import until


def slow(port: int) -> SourceSpec:
    return SourceSpec.model_validate(
        {
            "name": "shop",
            "connection": {"kind": "rest", "base_url": f"http://127.0.0.1:{port}", "allow_private": True},
            "streams": [{"name": "orders", "endpoint": "orders"}],
        }
    )


def quick(path: Path) -> SourceSpec:
    return SourceSpec.model_validate(
        {
            "name": "shop",
            "connection": {"kind": "sqlite", "path": str(path)},
            "streams": [{"name": "orders", "table": "orders"}],
        }
    )


def engine_at(folder: Path, run_id: str) -> Engine:
    return open_engine(run_id, load_settings({"SIS_PROJECT_DIR": str(folder), "SIS_LEASE_TTL_S": "1"}))


def test_what_a_killed_process_was_at_has_failed_for_whoever_comes_next(tmp_path: Path) -> None:
    """Both who takes the lease of the same work and who only looks see it; what lives goes on."""
    looks = engine_at(tmp_path, "looks")
    work = {"verb": "pull", "source": "shop", "stream": "orders"}
    with mute_port() as port:
        command = [sys.executable, "-m", f"{__package__}.{Path(__file__).stem}", str(tmp_path), str(port)]
        child = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        try:
            until(lambda: looks.state.leases.holder("pull default/shop/orders") is not None, "it pulls")
        finally:
            child.kill()
            child.wait()
    (dead,) = looks.state.executions.running()
    lives = looks.state.executions.start(run_id="looks", **work)
    with looks.alive(lives):
        pull_stream(
            engine_at(tmp_path, "next"),
            quick(make_shop(tmp_path / "shop.db", [order(1)])),
            quick(tmp_path / "shop.db").streams[0],
        )
        ended = looks.state.executions.get(dead.id)
        assert ended is not None and (ended.status, ended.error_text) == ("failed", ORPHANED)
        assert ended.ended_at is not None
        until(lambda: looks.state.executions.sweep_orphans(grace_s=0.0) == 0, "nothing is left to end")
        assert [row.id for row in looks.state.executions.running()] == [lives]
    until(lambda: not engine_at(tmp_path, "later").state.executions.running(), "who only looks ends it")


if __name__ == "__main__":
    source = slow(int(sys.argv[2]))
    pull_stream(engine_at(Path(sys.argv[1]), "killed"), source, source.streams[0])

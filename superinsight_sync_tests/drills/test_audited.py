"""Kill -9 at any moment: no action without its record, or its intent, which the next start settles."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from superinsight_sync.security.audit_signing import Checkpoints
from superinsight_sync.state import State, open_state
from superinsight_sync.state.audit_checkpoints import make_checkpoints, verify_log
from superinsight_sync_tests.conftest import LONG

KILLS = 100 if LONG else 6


def act_and_kill(url: str, folder: Path, actions: int) -> None:
    """Kills a process that has told of so many actions and is somewhere behind them."""
    command = [sys.executable, "-m", "superinsight_sync_tests.drills.audited", url, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(actions):
        assert process.stdout.readline()
    process.kill()
    process.communicate()


def bodies(state: State) -> list[dict[str, object]]:
    return [json.loads(body) for _, body, _ in state.audit.chain("acme")]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_action_is_without_its_record_or_settled_intent(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng, files = random.Random(20270131), tmp_path / "files"
    files.mkdir()
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/home/state.db"
    else:
        url = str(request.getfixturevalue("postgres_server").create_database())
    state, kept = open_state(url), Checkpoints(tmp_path / "apart", tmp_path / "audit.pem")
    for _ in range(KILLS):
        act_and_kill(url, files, rng.randrange(1, 6))
        with (
            state.database.write() as connection
        ):  # in place of waiting until the dead process's leases run out
            connection.execute(text("DELETE FROM sis_leases"))
        state.audit.settle(0)
        make_checkpoints(state, kept)
        assert verify_log(state, kept).findings == [] and state.audit.open() == ()
    records = bodies(state)
    noted = {
        action: {r["object"] for r in records if r["action"] == action}
        for action in ("key.make", "key.revoke")
    }
    keys = state.api_keys.list("acme")
    assert noted["key.make"] == {key.id for key in keys}
    assert noted["key.revoke"] == {key.id for key in keys if key.revoked_at}
    intents = {r["seq"]: r["object"] for r in records if r["phase"] == "intent"}
    outcomes = {r["ref"]: r["result"] for r in records if r["phase"] == "outcome"}
    made = {path.name for path in files.iterdir()}
    assert outcomes.keys() == intents.keys() and made <= set(intents.values())
    assert {intents[n] for n, result in outcomes.items() if result == "ok"} <= made
    assert set(outcomes.values()) <= {"ok", "interrupted"}
    state.close()

"""Several processes at once, killed holders, forks: on both databases."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.state import State, open_state
from superinsight_sync.state.leases import Lease
from superinsight_sync_tests.waiting import until

PROCESSES = "superinsight_sync_tests.state.processes"


def spawn(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", PROCESSES, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_four_processes_migrate_at_once_and_write_without_losing_anything(url: str) -> None:
    processes = [spawn("write", url, "25") for _ in range(4)]
    for process in processes:
        ended(process)
    state = open_state(url)
    found = state.executions.recent(1_000)
    assert len(found) == 100 and {e.status for e in found} == {"succeeded"}
    assert {(e.run_id, e.stream) for e in found} == {
        (str(p.pid), f"s{n}") for p in processes for n in range(25)
    }
    assert all([line.message for line in state.logs.list(e.id)][1:-1] == ["🛬"] for e in found)
    answer = state.semantic_cache.get("shared")
    assert answer is not None and answer.value == 24


def test_only_one_of_four_processes_replays_a_dead_letter(state: State, url: str) -> None:
    key = state.dead_letters.add(verb="pull", target="t", payload={}, error=ValueError("x"))
    processes = [spawn("claim", url, str(key)) for _ in range(4)]
    assert sorted(ended(p).strip() for p in processes) == ["False", "False", "False", "True"]


def test_a_lease_excludes_other_processes(state: State, url: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [spawn("compete", url, str(counter), "10") for _ in range(4)]
    for process in processes:
        ended(process)
    assert counter.read_text() == "40"
    assert state.leases.holder("counter") is None


def test_a_killed_holders_lease_is_taken_when_it_expires_and_not_before(state: State, url: str) -> None:
    ttl_s = 3.0
    holder = spawn("hold", url, "60", str(ttl_s))
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(TransientError, match=rf"already running by .*:{holder.pid} \(host:process\)"):
        state.leases.hold("work", wait_s=0.5).__enter__()
    holder.kill()
    holder.communicate()
    with pytest.raises(TransientError, match="already running"):
        state.leases.hold("work", wait_s=0.0).__enter__()
    with state.leases.hold("work", ttl_s, wait_s=300.0) as lease:
        assert not lease.lost
        assert state.leases.holder("work") == lease.holder


def expires_at(state: State) -> datetime:
    from superinsight_sync.state.tables import leases

    with state.database.read() as connection:
        found: datetime = connection.execute(leases.select()).one().expires_at
        return found


def test_a_lease_is_renewed_while_it_is_held(state: State) -> None:
    with state.leases.hold("work", 1.0) as lease:

        def until_renewed() -> None:
            before = expires_at(state)
            until(lambda: expires_at(state) > before, "it is not renewed")

        until_renewed()
        until_renewed()
        until_renewed()
        assert not lease.lost
        with pytest.raises(TransientError, match="already running"):
            state.leases.hold("work", wait_s=0.0).__enter__()
    with state.leases.hold("work", wait_s=0.0):
        pass


def test_a_holder_whose_lease_was_taken_learns_it_and_leaves_the_others_alone(state: State) -> None:
    from superinsight_sync.state.tables import leases

    with state.leases.hold("work", 1.5) as lease:
        with state.database.write() as connection:
            connection.execute(leases.update().values(holder="other:1:x"))
        until(lambda: lease.lost, "it is not noticed")
    assert state.leases.holder("work") in ("other:1:x", None)
    with state.database.read() as connection:
        assert connection.execute(leases.select()).one().holder == "other:1:x", "not ours to give back"


def test_a_holder_that_cannot_renew_in_time_has_lost_its_lease() -> None:
    lease = Lease("work", "me", ttl_s=0.2)
    assert lease.lost, "not granted yet"
    lease.extend(time.monotonic())
    assert not lease.lost
    until(lambda: lease.lost, "time passes")


def test_a_lease_is_given_back_when_the_work_raises(state: State) -> None:
    with pytest.raises(ValueError, match="work"), state.leases.hold("work"):
        raise ValueError("work")
    assert state.leases.holder("work") is None
    assert not [t for t in threading.enumerate() if t.name == "lease work"]


def test_threads_share_a_state(state: State) -> None:
    def work(n: int) -> int:
        return state.executions.start(run_id="r", verb="pull", source="crm", stream=f"s{n}")

    with ThreadPoolExecutor(32) as pool:
        keys = list(pool.map(work, range(100)))
    assert len(set(keys)) == 100 == len(state.executions.running())


def test_a_forked_child_goes_on_with_its_parents_state(state: State) -> None:
    state.executions.start(run_id="parent", verb="pull", source="crm", stream="s")
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(5):
                    state.executions.start(run_id="child", verb="pull", source="crm", stream="s")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    for _ in range(5):
        state.executions.start(run_id="parent", verb="pull", source="crm", stream="s")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert len(state.executions.recent(run_id="child")) == 15
    assert len(state.executions.recent(run_id="parent")) == 6

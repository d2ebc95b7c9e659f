"""Work that stands still is told of, and ended where nobody could be waited for."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.pipeline.attended import Motion, Watch, attended
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.state.leases import Lease
from superinsight_sync_tests.pipeline.test_stopping import declared
from superinsight_sync_tests.servers.deaf import mute_port


def lease() -> Lease:
    found = Lease("work", "me", 60)
    found.extend(float("inf"))
    return found


def test_our_own_part_that_stands_still_is_told_and_ended_and_can_commit_nothing() -> None:
    told: list[bool] = []
    held, never = lease(), threading.Event()
    watch = Watch(Motion(), 0.2, None, told.append)
    with pytest.raises(TransientError, match="computes nothing"):
        attended(never.wait, held, StopSignal(), watch, "work")
    assert told == [False]
    assert held.lost, "what it does later is refused"
    never.set()


def test_work_that_waits_for_its_source_is_told_once_and_goes_on() -> None:
    told: list[bool] = []
    motion, answered = Motion(waits_for_source=True), threading.Event()

    def tell(waits_for_source: bool) -> None:
        told.append(waits_for_source)
        threading.Timer(0.5, answered.set).start()

    watch = Watch(motion, 0.1, None, tell)
    assert attended(lambda: answered.wait(60), lease(), StopSignal(), watch, "work")
    assert told == [True]


@pytest.mark.parametrize("silence_s", [None, 0.3])
def test_a_silent_source_is_named_in_an_alert_and_ended_only_if_asked_for(
    settings: Settings, tmp_path: Path, silence_s: float | None
) -> None:
    engine = open_engine("run-1", replace(settings, stall_s=0.2, source_silence_s=silence_s))
    with mute_port() as port:
        connection = {"base_url": f"http://127.0.0.1:{port}", "allow_private": True}
        source = declared("rest", connection, {"endpoint": "x"})
        if silence_s is None:
            timer = threading.Timer(1.5, engine.stop.set)
            timer.start()
        with pytest.raises(Exception, match="given nothing for" if silence_s else "told to stop"):
            pull_stream(engine, source, source.streams[0])
    (row,) = engine.state.executions.recent()
    lines = [line.message for line in engine.state.logs.list(row.id)]
    assert any("has not moved" in line and "waits for the source" in line for line in lines), lines
    assert row.status == ("failed" if silence_s else "stopped")

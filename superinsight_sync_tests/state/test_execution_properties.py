"""The status of an execution over any sequence of events, and the history of a stream, against a small model."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import StopRequested, TransientError
from superinsight_sync.state import State, open_state
from superinsight_sync.state.executions import ORPHANED, Ending, Status, lease_of

EVENTS = ("start", "progress", "finish", "unchanged", "fail", "stop", "kill", "sweep", "retry")
ENDINGS: dict[str, tuple[Ending, BaseException | None]] = {
    "finish": ("succeeded", None),
    "unchanged": ("unchanged", None),
    "fail": ("failed", TransientError("the server went away")),
    "stop": ("stopped", StopRequested("it was told to stop")),
}


@dataclass
class Expected:
    """What is right for one execution."""

    stream: str
    status: Status = "running"
    alive: bool = True
    text: str | None = None
    retries: int = 0
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> State:
    folder: Path = tmp_path_factory.mktemp("state")
    return open_state(f"sqlite:///{folder}/state.db")


def happen(state: State, model: dict[int, Expected], event: str, stream: str, which: int) -> None:
    """Lets an event happen to our state and to the model. The dead do nothing any more."""
    if event == "start":
        key = state.executions.start(run_id="r", verb="pull", source="shop", stream=stream)
        model[key] = Expected(stream, lines=[f"pull shop/{stream} began"])
    elif event == "sweep":
        dead = [key for key, e in model.items() if e.status == "running" and not e.alive]
        assert sweep(state, model) == len(dead)
        for key in dead:
            model[key].status, model[key].text = "failed", ORPHANED
            model[key].lines.append(f"failed: {ORPHANED}")
    elif living := [key for key, e in model.items() if e.alive and e.status == "running"]:
        key = living[which % len(living)]
        expected = model[key]
        if event == "kill":
            expected.alive = False
        elif event in ENDINGS:
            end(state, key, expected, event)
        else:
            expected.retries += event == "retry"
            expected.lines.append(f"{event} {which}")
            state.logs.add(key, "warning" if event == "retry" else "info", f"{event} {which}")


def sweep(state: State, model: dict[int, Expected]) -> int:
    with ExitStack() as held:
        for key, expected in model.items():
            if expected.alive and expected.status == "running":
                held.enter_context(state.leases.hold(lease_of(key)))
        return state.executions.sweep_orphans(grace_s=-1)


def end(state: State, key: int, expected: Expected, event: str) -> None:
    status, error = ENDINGS[event]
    state.executions.finish(key, status, error, retries=expected.retries)
    expected.status, expected.text = status, None if error is None else str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    events=st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from(["orders", "users"]), st.integers(0, 3)),
        max_size=12,
    )
)
def test_status_and_history_are_those_of_the_model(shared: State, events: list[tuple[str, str, int]]) -> None:
    before = {row.id for row in shared.executions.recent(100_000)}
    model: dict[int, Expected] = {}
    for event in [("start", "orders", 0), *events]:
        happen(shared, model, *event)
        rows = {key: shared.executions.get(key) for key in model}
        assert {k: (r.status, r.error_text) for k, r in rows.items() if r} == {
            k: (e.status, e.text) for k, e in model.items()
        }
        assert all(r is not None and (r.ended_at is None) == (r.status == "running") for r in rows.values())
    for stream in ("orders", "users"):
        history = [r for r in shared.executions.recent(100_000, stream=stream) if r.id not in before]
        assert [r.id for r in history] == [k for k, e in reversed(model.items()) if e.stream == stream]
        ended = [r for r in history if r.status in ("succeeded", "stopped", "unchanged")]
        assert all(r.retries == model[r.id].retries for r in ended), "what ended says its retries"
    for key, expected in model.items():
        told = [line.message for line in shared.logs.list(key)]
        assert told[: len(expected.lines)] == expected.lines
        swept_or_runs = expected.status == "running" or expected.text == ORPHANED
        assert len(told) == len(expected.lines) + (not swept_or_runs)
    for key, expected in model.items():  # nothing is left for the next example
        if expected.status == "running":
            shared.executions.finish(key, "stopped")

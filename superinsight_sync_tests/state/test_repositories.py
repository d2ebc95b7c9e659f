"""What goes in comes out, for every noun, on both databases."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core import clock
from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.model.tables import Checkpoint, TableRef
from superinsight_sync.state import State
from superinsight_sync.state.executions import ORPHANED, lease_of
from superinsight_sync.state.exports import Export
from superinsight_sync.state.semantic_cache import Answer

ORDERS = TableRef("acme", "crm", "orders", "raw")
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def start(state: State, **over: Any) -> int:
    work = {"run_id": "run-1", "verb": "pull", "source": "crm", "stream": "orders", "tenant": "acme"}
    return state.executions.start(**{**work, **over})


def test_an_execution_runs_and_succeeds(state: State) -> None:
    key = start(state, partition="2026-03-01,2026-03-02")
    running = state.executions.get(key)
    assert running is not None
    assert (running.status, running.ended_at, running.rows, running.retries) == ("running", None, 0, 0)
    assert [e.id for e in state.executions.running()] == [key]
    state.executions.finish(
        key, "succeeded", rows=2**40, size_bytes=2**50, load_id="l1", version=7, retries=2
    )
    ended = state.executions.get(key)
    assert ended is not None and ended.ended_at is not None
    assert (ended.status, ended.rows, ended.size_bytes) == ("succeeded", 2**40, 2**50)
    assert (ended.load_id, ended.version, ended.retries, ended.error_class) == ("l1", "7", 2, None)
    assert ended.partition == "2026-03-01,2026-03-02"
    assert ended.started_at.utcoffset() == timedelta(0) and ended.ended_at >= ended.started_at
    assert state.executions.running() == ()


def test_an_executions_error_is_kept_without_secrets(state: State) -> None:
    key = start(state)
    error = TransientError(
        "cannot reach postgresql://li:hunter2@db/crm password=hunter2 \0 \ud800 " + "x" * 9_000
    )
    state.executions.finish(key, "failed", error=error)
    kept = state.executions.get(key)
    assert kept is not None and kept.error_text is not None
    assert kept.error_class == "TransientError"
    assert "hunter2" not in kept.error_text and "li:***@db" in kept.error_text
    assert len(kept.error_text) == 4_000


def test_recent_filters_and_puts_the_newest_first(state: State) -> None:
    first, second, third = start(state), start(state, stream="users"), start(state, tenant="other")
    assert [e.id for e in state.executions.recent()] == [third, second, first]
    assert [e.id for e in state.executions.recent(1)] == [third]
    assert [e.id for e in state.executions.recent(tenant="acme", stream="orders")] == [first]
    assert state.executions.recent(status="failed") == ()


def test_finishing_what_is_not_there_says_so(state: State) -> None:
    with pytest.raises(ConfigError, match="execution 12345 is not there"):
        state.executions.finish(12345, "succeeded")


def test_a_sweep_fails_the_dead_and_spares_the_living_the_young_and_the_ended(state: State) -> None:
    dead, alive, ended = start(state), start(state), start(state)
    state.executions.finish(ended, "succeeded")
    with state.leases.hold(lease_of(alive)):
        assert state.executions.sweep_orphans() == 0, "younger than the grace time"
        assert state.executions.sweep_orphans(grace_s=-1) == 1
        assert [e.id for e in state.executions.running()] == [alive]
    swept = state.executions.get(dead)
    assert swept is not None and (swept.status, swept.error_text) == ("failed", ORPHANED)
    assert state.logs.list(dead)[-1].message == f"failed: {ORPHANED}"
    state.executions.finish(dead, "succeeded", rows=3)
    late = state.executions.get(dead)
    assert late is not None and (late.status, late.error_class) == ("succeeded", None), "the truth wins"
    assert state.executions.sweep_orphans(grace_s=-1) == 1, "its lease was given back"


def test_logs_belong_to_an_execution_and_go_with_it(state: State) -> None:
    key = start(state)
    for n in range(5):
        state.logs.add(key, "info", f"line {n} 🛬 password=hunter2")
    assert [line.message for line in state.logs.list(key, limit=2)] == [
        "line 3 🛬 password=***",
        "line 4 🛬 password=***",
    ]
    state.executions.finish(key, "succeeded")
    assert state.purge(clock.utc_now() + timedelta(1), ("executions",)) == {"executions": 1}
    assert state.logs.list(key) == ()


def test_a_checkpoint_keeps_its_type_and_an_older_one_never_replaces_it(state: State) -> None:
    new = Checkpoint("l2", NOON, cursor=Decimal("10.50"), token="t", detail={"lsn": 2**60, "at": NOON})
    old = Checkpoint("l1", NOON - timedelta(seconds=1), cursor=Decimal("9"))
    state.checkpoints.record(ORDERS, "", new)
    state.checkpoints.record(ORDERS, "", old)
    state.checkpoints.record(ORDERS, "", None)
    assert [(k.table, k.partition, k.checkpoint) for k in state.checkpoints.list()] == [(ORDERS, "", new)]
    newest = Checkpoint("l3", NOON, cursor=None)
    state.checkpoints.record(ORDERS, "", newest)
    assert [k.checkpoint for k in state.checkpoints.list(stream="orders")] == [newest]


def test_ten_thousand_partitions_are_mirrored_at_once_and_forgotten(state: State) -> None:
    kept = {f"p{n:05}": Checkpoint("l", NOON, cursor=n) for n in range(10_000)}
    state.checkpoints.record_all(ORDERS, kept)
    state.checkpoints.record(ORDERS.at("refined"), "", Checkpoint("l", NOON))
    assert len(state.checkpoints.list(stage="raw")) == 10_000
    assert state.checkpoints.forget(ORDERS, "p00007") == 1
    assert state.checkpoints.forget(ORDERS) == 9_999
    assert [k.table.stage for k in state.checkpoints.list()] == ["refined"]
    state.checkpoints.record_all(ORDERS, {})


CURSORS = st.one_of(
    st.none(),
    st.integers(),
    st.text(st.characters(exclude_categories=("Cs",))),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=45)))).filter(lambda at: at.year > 1),
    st.datetimes(),
)


@given(cursor=CURSORS, at=st.datetimes(timezones=st.just(UTC)), partition=st.text("aä🛬\n'\";", max_size=8))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cursor_recorded_is_the_cursor_listed(
    state: State, cursor: object, at: datetime, partition: str
) -> None:
    state.checkpoints.forget(ORDERS)
    checkpoint = Checkpoint("l", at, cursor=cursor)
    state.checkpoints.record(ORDERS, partition, checkpoint)
    (found,) = state.checkpoints.list(partition=partition)
    assert found.checkpoint == checkpoint
    assert type(found.checkpoint.cursor) is type(cursor)
    assert found.checkpoint.at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(state: State) -> None:
    with pytest.raises(Exception, match="without a time zone"):
        state.checkpoints.record(ORDERS, "", Checkpoint("l", NOON.replace(tzinfo=None)))
    assert state.checkpoints.list() == ()


def test_an_answer_is_paid_for_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer({"fields": [{"name": "größe 🛬", "unit": None}]}, "gpt", tokens=1200, cost_usd=0.0125)
    assert state.semantic_cache.get("k") is None
    state.semantic_cache.put("k", answer)
    state.semantic_cache.put("other", answer)
    assert state.semantic_cache.get("k") == answer
    later = clock.utc_now() + timedelta(days=2)
    monkeypatch.setattr("superinsight_sync.state.semantic_cache.utc_now", lambda: later)
    assert state.semantic_cache.get("k") == answer
    assert state.semantic_cache.purge(later) == 1, "the one nobody used"
    assert state.semantic_cache.get("k") == answer
    state.semantic_cache.put("k", Answer(None, "gpt"))
    assert state.semantic_cache.get("k") == Answer(None, "gpt")


def test_exports_list_newest_first_and_a_version_is_kept_once(state: State) -> None:
    old = Export("delays", "v1", "/lake/v1", 10, 100, "f" * 64, at=NOON)
    new = Export("delays", "v2", "/lake/v2", 20, 200, "e" * 64, at=NOON + timedelta(1))
    for export in (new, old, old):
        state.exports.record(export)
    assert state.exports.list(dataset="delays") == (new, old)
    assert state.exports.latest("delays") == new
    assert state.exports.latest("delays", tenant="acme") is None


def test_quarantine_counts_of_a_repeated_load_are_not_added_up(state: State) -> None:
    for _ in range(2):
        state.quarantine.record(ORDERS, "l1", {"cast": 3, "positive": 4}, partition="p1")
    state.quarantine.record(ORDERS, "l2", {"cast": 5})
    state.quarantine.record(ORDERS, "l3", {})
    assert {(q.load_id, q.rule, q.count, q.partition) for q in state.quarantine.list()} == {
        ("l1", "cast", 3, "p1"),
        ("l1", "positive", 4, "p1"),
        ("l2", "cast", 5, ""),
    }


def test_a_dead_letter_is_closed_once(state: State) -> None:
    payload = {"path": "scratch/1.arrow", "window": ["2026-01-01", NOON]}
    error = TransientError("no route", where="crm", hint="token=abc")
    key = state.dead_letters.add(verb="pull", target="crm/orders", payload=payload, error=error, attempts=4)
    (letter,) = state.dead_letters.list(state="open", verb="pull")
    assert (letter.id, letter.payload, letter.attempts, letter.marked_at) == (key, payload, 4, None)
    assert (letter.error_class, letter.error_text) == ("TransientError", "crm: no route. token=***")
    assert state.dead_letters.mark(key, "replayed")
    assert not state.dead_letters.mark(key, "discarded")
    assert not state.dead_letters.mark(key + 1, "discarded")
    assert state.dead_letters.list(state="open") == ()
    (closed,) = state.dead_letters.list(id=key)
    assert closed.state == "replayed" and closed.marked_at is not None


def test_a_source_tells_whether_its_declaration_changed(state: State) -> None:
    assert state.sources.record("crm", "postgres", "f1", "acme")
    assert not state.sources.record("crm", "postgres", "f1", "acme")
    first = state.sources.get("crm", "acme")
    assert first is not None and first.probe is None and first.probed_at is None
    state.sources.record_probe("crm", True, {"latency_ms": 1.5, "warnings": []}, "acme")
    assert state.sources.record("crm", "mysql", "f2", "acme")
    found = state.sources.get("crm", "acme")
    assert found is not None
    assert (found.kind, found.fingerprint, found.probe_ok) == ("mysql", "f2", True)
    assert found.probe == {"latency_ms": 1.5, "warnings": []}
    assert found.changed_at > first.changed_at
    assert state.sources.get("crm") is None


def test_purging_forgets_the_old_and_keeps_what_runs_and_what_is_open(state: State) -> None:
    ended, running = start(state), start(state)
    state.executions.finish(ended, "failed")
    state.logs.add(running, "info", "x")
    letters = [
        state.dead_letters.add(verb="pull", target="t", payload={}, error=ValueError("x")) for _ in range(2)
    ]
    state.dead_letters.mark(letters[0], "discarded")
    state.semantic_cache.put("k", Answer(1, "m"))
    state.exports.record(Export("d", "v", "p", 1, 1, "f"))
    state.quarantine.record(ORDERS, "l", {"r": 1})
    state.checkpoints.record(ORDERS, "", Checkpoint("l", NOON))
    state.sources.record("crm", "postgres", "f1")
    assert set(state.purge(clock.utc_now() - timedelta(days=1)).values()) == {0}
    after = clock.utc_now() + timedelta(seconds=1)
    assert state.purge(after) == {
        "executions": 1,
        "logs": 2,
        "semantic_cache": 1,
        "exports": 1,
        "quarantine": 1,
        "dead_letters": 1,
        "leases": 0,
        "refresh_tokens": 0,
    }
    assert [e.id for e in state.executions.recent()] == [running]
    assert [d.id for d in state.dead_letters.list()] == [letters[1]]
    assert state.purge(after, ("checkpoints", "sources")) == {"checkpoints": 1, "sources": 1}
    with pytest.raises(ConfigError, match="'everything' cannot be purged"):
        state.purge(after, ("everything",))  # type: ignore[arg-type]

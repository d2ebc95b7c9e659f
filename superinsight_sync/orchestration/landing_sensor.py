"""What was pushed becomes runs: one for all that waits of a source, never one for each delivery."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.orchestration.keys import PRIORITY_TAG, raw_key

if TYPE_CHECKING:
    from superinsight_sync.state.deliveries import Waiting

SOURCE_TAG = "sis/landing"
"""On a run that lands what was pushed: the source."""
_LONGEST_WAIT_S = 600
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def landing_sensors(spec: PushSourceSpec) -> list[dg.SensorDefinition]:
    """None for a source whose streams are all `realtime`; else one.

    It starts a run when something waits of a source's streams that are not `realtime`, one at a time. A stream that
    a run was started for and that still waits is tried again later and later, whatever is pushed meanwhile; the others
    go on.

    The cursor holds for each stream the order number that the last run was started for, how often, and when. What
    lands is decided by the position that is committed with the rows, so that no cursor, however old, loses or repeats
    anything.
    """
    streams = {s.name: raw_key(spec.name, s.name) for s in spec.streams if not s.realtime}
    priorities = {s.name: s.priority or 0 for s in spec.streams}
    if not streams:
        return []

    @dg.sensor(
        name=f"{spec.name}_landing",
        asset_selection=list(streams.values()),
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lands what was pushed.",
    )
    def land(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        waiting = _waiting(spec, frozenset(streams))
        if not waiting:
            return dg.SkipReason("nothing waits")
        going = dg.RunsFilter(tags={SOURCE_TAG: spec.name}, statuses=_UNFINISHED)
        if context.instance.get_runs(going, limit=1):
            return dg.SkipReason("a run is landing it")
        tried = json.loads(context.cursor or "{}").get("streams", {})
        due, wait_s = _due(waiting, tried)
        if not due:
            return dg.SkipReason(f"landing failed; it is tried again in {wait_s:.0f} s")
        request = dg.RunRequest(
            run_key=f"{spec.name}:{hashlib.sha256(json.dumps(due, sort_keys=True).encode()).hexdigest()[:32]}",
            asset_selection=[streams[name] for name in sorted(due)],
            tags={
                SOURCE_TAG: spec.name,
                "source": spec.name,
                "tenant": spec.tenant,
                PRIORITY_TAG: str(max(priorities[name] for name in due)),
            },
        )
        now = utc_now().timestamp()
        begun = {name: [last, tries + 1, now] for name, (last, tries) in due.items()}
        kept = {name: entry for name, entry in tried.items() if name in waiting}
        return dg.SensorResult(run_requests=[request], cursor=json.dumps({"streams": {**kept, **begun}}))

    return [land]


def _waiting(spec: PushSourceSpec, names: frozenset[str]) -> "dict[str, Waiting]":
    """Stream → what waits of it."""
    from superinsight_sync.state.inbox import Inbox
    from superinsight_sync.state.opening import open_state

    settings = load_settings()
    inbox = Inbox(open_state(settings.database_url).database, settings.landing_dir)
    found = inbox.waits([(spec.tenant, spec.name, name) for name in names])
    return {stream: waits for (_, _, stream), waits in found.items()}


def _due(
    waiting: "Mapping[str, Waiting]", tried: Mapping[str, Any]
) -> tuple[dict[str, tuple[int, int]], float]:
    """Streams to land now, with the order number to land up to and how often that failed before; and after how many
    seconds the next one is due, if none is."""
    due: dict[str, tuple[int, int]] = {}
    now, waits_s = utc_now().timestamp(), []
    for name, found in waiting.items():
        last, tries, at = tried.get(name, (0, 0, 0.0))
        if found.first > last:  # what was tried has landed
            tries = 0
        is_asked = found.asked_at is not None and found.asked_at.timestamp() > at
        left_s = 0.0 if is_asked or not tries else at + min(_LONGEST_WAIT_S, 30 * 2**tries) - now
        if left_s <= 0:
            due[name] = (found.last, tries)
        waits_s.append(left_s)
    return due, min(waits_s)

"""What was pushed becomes runs: one for all that waits of a source, never one for each delivery."""

import json

import dagster as dg

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.push import PushSourceSpec
from superinsight_sync.orchestration.keys import PRIORITY_TAG, raw_key

SOURCE_TAG = "sis/landing"
"""On a run that lands what was pushed: the source."""
_LONGEST_WAIT_S = 3600
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def landing_sensors(spec: PushSourceSpec) -> list[dg.SensorDefinition]:
    """None for a source whose streams are all `realtime`; else one.

    It starts a run when something waits of a source's streams that are not `realtime`, one at a time.

    The cursor holds the order number that the last run was started for, and how often. What lands is decided by
    the position that is committed with the rows, so that no cursor, however old, loses or repeats anything.
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
        last, tries, wait_s = _again(context.cursor, max(waiting.values()))
        if wait_s > 0:
            return dg.SkipReason(f"landing failed {tries} times; it is tried again in {wait_s:.0f} s")
        cursor = json.dumps({"last": last, "tries": tries + 1, "at": utc_now().timestamp()})
        request = dg.RunRequest(
            run_key=f"{spec.name}:{last}:{tries}",
            asset_selection=[streams[name] for name in sorted(waiting)],
            tags={
                SOURCE_TAG: spec.name,
                "source": spec.name,
                "tenant": spec.tenant,
                PRIORITY_TAG: str(max(priorities[name] for name in waiting)),
            },
        )
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return [land]


def _waiting(spec: PushSourceSpec, names: frozenset[str]) -> dict[str, int]:
    """Stream → the newest order number that waits."""
    from superinsight_sync.state.inbox import Inbox
    from superinsight_sync.state.opening import open_state

    settings = load_settings()
    inbox = Inbox(open_state(settings.database_url).database, settings.landing_dir)
    return {r.stream: r.last for r in inbox.pending(spec.tenant, spec.name) if r.stream in names}


def _again(cursor: str | None, newest: int) -> tuple[int, int, float]:
    """The order number to land up to, how often that was tried, and how long to wait before the next try."""
    before = json.loads(cursor) if cursor else {}
    if before.get("last") != newest:
        return newest, 0, 0.0
    tries = int(before["tries"])
    due = before["at"] + min(_LONGEST_WAIT_S, 30 * 2**tries)
    return newest, tries, max(0.0, due - utc_now().timestamp())

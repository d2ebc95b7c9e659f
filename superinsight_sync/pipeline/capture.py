"""Capture: follow a source's change log, and land every change with the position it stands at, exactly once in effect.

The order is always: changes land with their position in one commit; then our state says how far the source may
forget; then the source is told. A kill in between repeats, and what is repeated is recognised by its position.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from superinsight_sync.capture.protocol import (
    ChangeBatch,
    Feed,
    Lag,
    LogLostError,
    Pace,
    Reread,
    Resume,
    Session,
    Settled,
    SnapshotStep,
    captured_streams,
    open_feed,
)
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, SisError, TransientError
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.alert import alert_log_kept
from superinsight_sync.pipeline.captured_table import CapturedTable, LandedChanges
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.merging import Merging
from superinsight_sync.state.leases import Lease
from superinsight_sync.state.workers import Worker

KIND = "capture"
_log = logging.getLogger(__name__)
_ACKNOWLEDGE_S = 1.0
_LOOK_S = 0.5
_TELL_S = 2.0
_NEAR_SHARE = 0.7
"""Of the log that the source keeps at most: people are told before it is thrown away."""


@dataclass(frozen=True)
class Told:
    """What one commit of a stream's changes brought, for those who watch."""

    source: str
    stream: str
    landed: LandedChanges
    at: datetime


@dataclass
class Watching:
    """Who is told of what happens.

    Attributes:
        landed: called for each commit of changes. merged: with source and stream, when its raw table is newer.
    """

    landed: Callable[[Told], None] = lambda _told: None
    merged: Callable[[str, str, int], None] = lambda _source, _stream, _version: None


@dataclass
class _Counts:
    changes: int = 0
    since_s: float = field(default_factory=time.monotonic)

    def rate(self) -> float:
        """Changes a second since it was last asked."""
        now = time.monotonic()
        found = self.changes / max(now - self.since_s, 0.001)
        self.changes, self.since_s = 0, now
        return found


class Capture:
    """Follows one source until it is told to stop or to pause.

    Args:
        pace: how big the pieces are.
        merge_s: how often raw tables are brought up to their change logs.
    """

    def __init__(
        self,
        engine: Engine,
        source: SourceSpec,
        watching: Watching | None = None,
        pace: Pace | None = None,
        merge_s: float = 5.0,
    ) -> None:
        self._engine, self._source = engine, source
        self._watching = watching or Watching()
        self._pace, self._merge_s = pace or Pace(), merge_s
        self._streams = captured_streams(source)
        if not self._streams:
            raise ConfigError(
                "no stream of it is captured",
                where=f"source '{source.name}'",
                hint="Declare sync: {mode: capture}",
            )
        self._counts = _Counts()
        self._acknowledged = ""
        self._acknowledged_at_s = 0.0
        self._looked_at_s = 0.0
        self._was_near = False
        self._asked_for: Mapping[str, Worker] = {}
        self._asked_at_s = float("-inf")

    def run(self, stop: StopSignal) -> None:
        """Returns when a pause is wanted. Raises StopRequested, LogLostError, and what feeds and the lake raise."""
        settings = self._engine.settings
        name = f"capture {self._source.tenant}/{self._source.name}"
        with (
            stop.obeyed(),
            self._engine.state.leases.hold(name, settings.lease_ttl_s, wait_s=settings.lease_wait_s) as lease,
        ):
            if self._is_paused():
                self._report("paused")
                return
            feed = open_feed(self._source, settings, self._pace)
            _refuse_unfit(feed, self._source)
            tables = {s.name: CapturedTable(self._engine, self._source, s) for s in self._streams}
            try:
                self._follow(feed, tables, lease)
            finally:
                for table in tables.values():
                    table.close()

    def _follow(self, feed: Feed, tables: dict[str, CapturedTable], lease: Lease) -> None:
        fresh = all(not t.progress.position for t in tables.values())
        feed.prepare(fresh=fresh, begun=self._begun(tables))
        resume = self._resume(tables)
        try:
            self._followed(feed, tables, lease, resume)
        except LogLostError:
            if fresh or not all(self._wants_anew(t) for t in tables.values()):
                raise
            feed.drop()
            feed.prepare(fresh=True, begun=())
            for table in tables.values():
                table.forget_position()
            self._acknowledged = ""
            self._followed(feed, tables, lease, Resume())

    def _followed(self, feed: Feed, tables: dict[str, CapturedTable], lease: Lease, resume: Resume) -> None:
        merging = Merging(self._engine, self._source, tables, self._merge_s, self._watching.merged)
        with feed.follow(resume) as session, merging:
            self._begin_snapshots(session, tables, resume.position or "")
            for item in session.items():
                if isinstance(item, ChangeBatch):
                    tables[item.stream].add(item)
                    continue
                if isinstance(item, Reread):
                    self._want_anew(item.stream)
                    continue
                merging.check()
                self._settle(session, tables, item, lease)
                if time.monotonic() - self._looked_at_s >= _LOOK_S:
                    self._looked_at_s = time.monotonic()
                    if self._is_paused():
                        self._acknowledge(session, item.position)
                        self._report("paused")
                        return
                    self._tell(feed, session, tables)
                self._begin_snapshots(session, tables, item.position)

    def _begun(self, tables: dict[str, CapturedTable]) -> list[str]:
        """Streams that go on from what has landed."""
        return [n for n, t in tables.items() if t.progress.step is not None and not self._wants_anew(t)]

    def _resume(self, tables: dict[str, CapturedTable]) -> Resume:
        worker = self._worker()
        landed = [t.progress.position for t in tables.values()]
        acknowledged = (worker.position or "") if worker else ""
        position = max([*landed, acknowledged])
        unsettled = {xid for t in tables.values() for xid in t.progress.unsettled}
        self._acknowledged = acknowledged
        shapes = {n: t.progress.shape for n, t in tables.items() if t.progress.shape}
        return Resume(position or None, tuple(sorted(unsettled)), shapes)

    def _settle(
        self, session: Session, tables: dict[str, CapturedTable], settled: Settled, lease: Lease
    ) -> None:
        if lease.lost:
            raise TransientError("another process may have taken this capture over")
        with session.kept_alive():
            for name, table in tables.items():
                found = table.land(settled)
                if found is not None:
                    self._counts.changes += found.rows
                    self._watching.landed(Told(self._source.name, name, found, utc_now()))
            if time.monotonic() - self._acknowledged_at_s >= _ACKNOWLEDGE_S:
                self._acknowledge(session, settled.position)

    def _acknowledge(self, session: Session, position: str) -> None:
        """Our state first: what the source forgot can then never be more than we know to have landed."""
        if position > self._acknowledged:
            self._engine.state.workers.report(KIND, *self._target(), position=position)
            self._acknowledged = position
        session.acknowledge(self._acknowledged)
        self._acknowledged_at_s = time.monotonic()

    # snapshots

    def _begin_snapshots(self, session: Session, tables: dict[str, CapturedTable], position: str) -> None:
        """Begins the next snapshot that is wanted, if none goes on."""
        if session.snapshotting is not None:
            return
        for table in tables.values():
            step = table.progress.step
            if step is None or self._wants_anew(table):
                table.begin_snapshot(self._anew(table), position, session.shape(table.stream))
                session.snapshot(table.stream, SnapshotStep())
                return
            if not step.done:
                session.snapshot(table.stream, step)
                return

    def _want_anew(self, stream: str) -> None:
        """Written down at once: the log may tell of it only once."""
        target = f"{self._source.name}/{stream}"
        self._engine.state.workers.want_anew(KIND, self._source.tenant, target, by="capture")
        self._asked_at_s = float("-inf")
        _log.warning(
            "%s is read anew: its columns were changed, and with them values that no log has", target
        )

    def _wants_anew(self, table: CapturedTable) -> bool:
        return self._anew(table) > table.progress.anew

    def _anew(self, table: CapturedTable) -> int:
        asked = self._asked.get(f"{self._source.name}/{table.stream.name}")
        return asked.anew if asked else 0

    @property
    def _asked(self) -> Mapping[str, Worker]:
        """What is wanted of each stream, looked up now and then."""
        now = time.monotonic()
        if now - self._asked_at_s >= _LOOK_S:
            found = self._engine.state.workers.list(kind=KIND, tenant=self._source.tenant)
            self._asked_for, self._asked_at_s = {w.target: w for w in found}, now
        return self._asked_for

    # what is wanted, and how it is

    def _target(self) -> tuple[str, str]:
        return self._source.tenant, self._source.name

    def _worker(self) -> Worker | None:
        return self._engine.state.workers.get(KIND, *self._target())

    def _is_paused(self) -> bool:
        worker = self._worker()
        return worker is not None and worker.wanted == "pause"

    def _report(self, state: str, error: SisError | None = None) -> None:
        self._engine.state.workers.report(KIND, *self._target(), error, state=state)

    def _watch(self, lag: Lag) -> None:
        """Tells once that the source keeps almost as much log as it will."""
        near = _is_near(lag)
        if near and not self._was_near:
            alert_log_kept(self._engine, self._source, lag.retained_bytes, lag.limit_bytes or 0)
        self._was_near = near

    def _tell(self, feed: Feed, session: Session, tables: dict[str, CapturedTable]) -> None:
        """Writes down how it is, every few seconds."""
        if time.monotonic() - self._counts.since_s < _TELL_S:
            return
        lag = feed.lag()
        self._watch(lag)
        detail = {
            "changes_per_s": round(self._counts.rate(), 1),
            "behind_bytes": lag.behind_bytes,
            "retained_bytes": lag.retained_bytes,
            "limit_bytes": lag.limit_bytes,
            "streams": {
                n: {"changes": t.progress.seq, "snapshot": _snapshot_text(t)} for n, t in tables.items()
            },
        }
        state = "snapshot" if session.snapshotting else "running"
        self._engine.state.workers.report(KIND, *self._target(), state=state, detail=detail)
        for table in tables.values():
            target = f"{self._source.name}/{table.stream.name}"
            asked = self._asked.get(target)
            if asked is not None and asked.anew_done != table.progress.anew:
                self._engine.state.workers.report(
                    KIND, self._source.tenant, target, state=state, anew_done=table.progress.anew
                )


def _is_near(lag: Lag) -> bool:
    """Whether the source will soon throw its log away."""
    return lag.limit_bytes is not None and lag.retained_bytes > _NEAR_SHARE * lag.limit_bytes


def _snapshot_text(table: CapturedTable) -> str:
    step = table.progress.step
    return "waits" if step is None else "done" if step.done else "goes on"


def _refuse_unfit(feed: Feed, source: SourceSpec) -> None:
    """Raises ConfigError with all that the source lacks."""
    missing = [f for f in feed.check() if f.level == "missing"]
    if missing:
        raise ConfigError(
            "; ".join(f.what for f in missing),
            where=f"source '{source.name}'",
            hint=f"`sis capture check {source.name}` prints what an administrator has to run",
        )

"""Follows the change logs of all captured sources of the project in one process, and tells Dagster how it goes."""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dagster as dg

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, SisError, StopRequested, TransientError
from superinsight_sync.core.stopping import StopSignal, ended
from superinsight_sync.orchestration import keys

if TYPE_CHECKING:
    from superinsight_sync.model.declaration import SourceSpec
    from superinsight_sync.pipeline.capture import Told
    from superinsight_sync.pipeline.engine import Engine
    from superinsight_sync.state.workers import Worker

_LOOK_S = 0.5
_MERGE_S = 5.0
_TELL_S = 5.0
_LONGEST_WAIT_S = 60.0
_log = logging.getLogger(__name__)


class Captures:
    """One thread for each source. One that fails is tried again, or waits for a person, and stops no other.

    What may pass by itself is tried again after a while that doubles, up to a minute. What will not (a lost log, a
    missing right) is told as an alert, once, and waits until somebody asks for something: `resume`, `resnapshot`.

    Raises ConfigError: no stream of the project is captured.
    """

    def __init__(self, engine: "Engine", instance: dg.DagsterInstance, only: tuple[str, ...] = ()) -> None:
        from superinsight_sync.capture.protocol import captured_streams
        from superinsight_sync.pipeline.project import load_project

        project = load_project(engine.settings)
        for name in only:
            project.source(name)
        self._sources = [
            s for s in project.sources.values() if captured_streams(s) and (not only or s.name in only)
        ]
        if not self._sources:
            hint = "Declare sync: {mode: capture}; others are read by runs"
            if project.problems:
                hint = f"{len(project.problems)} declarations are broken, the first: {project.problems[0]}"
            raise ConfigError("no stream is captured", hint=hint)
        self._engine, self._instance = engine, instance
        self.changes = 0
        self._landings: dict[tuple[str, str], list[Told]] = {}
        self._told_at_s: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def run(self, stop: StopSignal) -> None:
        """Returns when `stop` is set and what had been read has landed or will be read again.

        An error that nobody foresaw ends its source alone, and is raised at the end.
        """
        with ThreadPoolExecutor(len(self._sources), "capture") as threads:
            going = {threads.submit(self._supervise, source, stop): source for source in self._sources}
            for future in ended(going):
                if (error := future.exception()) is not None:
                    text = f"an error that nobody foresaw: {type(error).__name__}"
                    self._report(going[future], "failed", SisError(text, hint="See the log; start it again"))
                    _log.error("capture of %s has ended", going[future].name, exc_info=error)
        for future in going:
            future.result()

    def _supervise(self, source: "SourceSpec", stop: StopSignal) -> None:
        from superinsight_sync.pipeline.alert import alert_capture_stopped
        from superinsight_sync.pipeline.capture import Capture, Watching

        failures = 0
        while not stop.is_set:
            watching = Watching(landed=self._landed, merged=self._merged)
            began_s = time.monotonic()
            asked = self._asked(source)
            try:
                Capture(self._engine, source, watching, merge_s=_MERGE_S).run(stop.child())
                self._wait(source, stop, asked)
            except StopRequested:
                break
            except TransientError as error:
                failures = 1 if time.monotonic() - began_s > _LONGEST_WAIT_S else failures + 1
                self._report(source, "waiting", error)
                _log.warning("capture of %s is tried again: %s", source.name, error)
                self._pause(stop, min(_LONGEST_WAIT_S, 2.0**failures / 2))
            except SisError as error:
                self._report(source, "failed", error)
                _log.error("capture of %s has stopped: %s", source.name, error)
                alert_capture_stopped(self._engine, source, error)
                self._wait(source, stop, asked)
        self._report(source, "stopped", None)

    def _pause(self, stop: StopSignal, seconds: float) -> None:
        try:
            stop.pause(seconds)
        except StopRequested:
            return

    def _asked(self, source: "SourceSpec") -> Mapping[str, object]:
        """What is wanted of the source and its streams, and when it was asked for."""
        try:
            found: tuple[Worker, ...] = self._engine.state.workers.list(kind="capture", tenant=source.tenant)
        except SisError as error:
            _log.error("what is wanted of captures cannot be read: %s", error)
            return {}
        ours = (w for w in found if w.target == source.name or w.target.startswith(f"{source.name}/"))
        return {w.target: (w.wanted, w.anew, w.asked_at) for w in ours if w.asked_at is not None}

    def _wait(self, source: "SourceSpec", stop: StopSignal, asked: Mapping[str, object]) -> None:
        """Until somebody asks for something else than before."""
        while not stop.is_set and self._asked(source) == asked:
            self._pause(stop, _LOOK_S)

    def _report(self, source: "SourceSpec", state: str, error: SisError | None) -> None:
        try:
            self._engine.state.workers.report("capture", source.tenant, source.name, error, state=state)
        except SisError as problem:
            _log.error("our state was not told of %s: %s", source.name, problem)

    def _landed(self, told: "Told") -> None:
        with self._lock:
            self.changes += told.landed.rows
            self._landings.setdefault((told.source, told.stream), []).append(told)

    def _merged(self, source: str, stream: str, version: int) -> None:
        """Tells Dagster of a raw table that is newer, so that downstream follows; every few seconds at most."""
        key = (source, stream)
        with self._lock:
            if time.monotonic() - self._told_at_s.get(key, float("-inf")) < _TELL_S:
                return
            landings = self._landings.pop(key, [])
            self._told_at_s[key] = time.monotonic()
        newest = max((t.landed.committed_at for t in landings if t.landed.committed_at), default=None)
        found: dict[str, Any] = {
            "sis/changes": dg.MetadataValue.int(sum(t.landed.rows for t in landings)),
            "sis/version": dg.MetadataValue.int(version),
        }
        if newest is not None:
            found["sis/lag_s"] = dg.MetadataValue.float(max(0.0, (utc_now() - newest).total_seconds()))
            found["sis/committed_at"] = dg.MetadataValue.timestamp(newest)
        event = dg.AssetMaterialization(keys.raw_key(source, stream), metadata=found)
        try:
            self._instance.report_runless_asset_event(event)
        except dg.DagsterError as error:
            _log.error("Dagster was not told of %s/%s: %s", source, stream, error)

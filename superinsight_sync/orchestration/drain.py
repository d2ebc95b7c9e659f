"""Lands the streams that are `realtime` as soon as something was pushed, without a run for each time."""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.orchestration import keys, metadata

if TYPE_CHECKING:
    from superinsight_sync.model.declaration import SourceSpec, StreamSpec
    from superinsight_sync.pipeline.engine import Engine

_LOOK_S = 0.1
_LEAST_APART_S = 0.3
_LONGEST_WAIT_S = 60.0
_THREADS = 4
_log = logging.getLogger(__name__)


class Drain:
    """Lands what waits of realtime streams until it is told to stop. Any number of processes may do so at once.

    Each landing is told to Dagster as a materialization of the raw asset, so that downstream follows. A stream
    that cannot be landed is tried again after a while that doubles, up to a minute, and the log says why.

    Raises ConfigError: no stream of the project is realtime.
    """

    def __init__(self, engine: "Engine", instance: dg.DagsterInstance) -> None:
        from superinsight_sync.pipeline.project import load_project

        project = load_project(engine.settings)
        self._streams = {
            (push.tenant, push.name, s.name): (push.landed, push.landed.stream(s.name))
            for push in project.push_sources.values()
            for s in push.streams
            if s.realtime
        }
        if not self._streams:
            raise ConfigError("no stream is declared with realtime: true", hint="Others are landed by runs")
        self._engine, self._instance = engine, instance
        self._not_before: dict[tuple[str, str, str], float] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._failed_at: dict[tuple[str, str, str], datetime] = {}
        self.landed_rows = 0

    def run(self, stop: threading.Event) -> None:
        """Returns when `stop` is set and what had begun has landed."""
        going: dict[tuple[str, str, str], Future[None]] = {}
        with ThreadPoolExecutor(_THREADS) as threads:
            while not stop.is_set():
                going = {key: landing for key, landing in going.items() if not landing.done()}
                for key in self._due() - going.keys():
                    going[key] = threads.submit(self._land, key)
                stop.wait(_LOOK_S)

    def _due(self) -> set[tuple[str, str, str]]:
        try:
            waiting = self._engine.inbox.waits(self._streams)
        except SisError as error:
            _log.error("the inbox cannot be read: %s", error)
            return set()
        now = time.monotonic()
        return {
            k
            for k, found in waiting.items()
            if self._not_before.get(k, 0.0) <= now or self._is_asked(k, found.asked_at)
        }

    def _is_asked(self, key: tuple[str, str, str], at: datetime | None) -> bool:
        failed_at = self._failed_at.get(key)
        return at is not None and failed_at is not None and at > failed_at

    def _land(self, key: tuple[str, str, str]) -> None:
        from superinsight_sync.pipeline.pull import pull_stream

        source, stream = self._streams[key]
        try:
            result = pull_stream(self._engine, source, stream)
        except SisError as error:
            self._postpone(key)
            _log.error("%s", error)
            return
        if result.nothing_yet:
            self._postpone(key)
            return
        self._failures.pop(key, None)
        self._failed_at.pop(key, None)
        self._not_before[key] = time.monotonic() + _LEAST_APART_S
        if not result.unchanged:
            self.landed_rows += result.stats.rows
            self._tell(source, stream, metadata.of_pull(result))

    def _postpone(self, key: tuple[str, str, str]) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        self._failed_at[key] = utc_now()
        self._not_before[key] = time.monotonic() + min(_LONGEST_WAIT_S, 2.0 ** self._failures[key])

    def _tell(self, source: "SourceSpec", stream: "StreamSpec", found: metadata.Metadata) -> None:
        event = dg.AssetMaterialization(keys.raw_key(source.name, stream.name), metadata=found)
        try:
            self._instance.report_runless_asset_event(event)
        except dg.DagsterError as error:
            _log.error("Dagster was not told of a landing of %s/%s: %s", source.name, stream.name, error)

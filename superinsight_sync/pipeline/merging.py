"""Brings the raw tables of captured streams up to their change logs, every few seconds, beside the capture."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.change_merge import Merged
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import PullResult, ReadStats
from superinsight_sync.pipeline.captured_table import CapturedTable
from superinsight_sync.pipeline.engine import Engine, columns_of, new_load_id, table_of
from superinsight_sync.pipeline.execution import Tally, Task, execute
from superinsight_sync.pipeline.widening import widen_table
from superinsight_sync.state.leases import Lease

_log = logging.getLogger(__name__)


def merge_changes(engine: Engine, source: SourceSpec, stream: StreamSpec) -> Merged | None:
    """Brings a captured stream's raw table up to its change log; the sum of what it did, or None if nothing was new.

    Raises ConfigError, TransientError, AccessError.
    """
    total: Merged | None = None
    raw = table_of(source, stream, "raw")
    while True:
        found = engine.change_merge.merge(
            raw,
            stream.primary_key,
            stream.sync.deletes,
            new_load_id(),
            {"run_id": engine.run_id, "verb": "capture"},
            lambda types: widen_table(engine.lake, raw, types, engine.run_id),
        )
        if found is None:
            return total
        total = found if total is None else total.and_then(found)
        if not found.more:
            return total


def pull_captured(
    engine: Engine,
    source: SourceSpec,
    stream: StreamSpec,
    *,
    partitions: Sequence[str] = (),
    force: bool = False,
) -> PullResult:
    """What a run does with a captured stream: brings its raw table up to what `sis capture run` has landed.

    Raises as `merge_changes`.
    """
    table = table_of(source, stream, "raw")
    task = Task.on("pull", table, tuple(partitions), force=force)

    def work(tally: Tally, lease: Lease) -> PullResult:
        started = time.perf_counter()
        found = merge_changes(engine, source, stream)
        seconds = time.perf_counter() - started
        tally.unchanged = found is None
        if not engine.lake.exists(table):
            return PullResult(stream.name, ReadStats(seconds=seconds), None, "", nothing_yet=True)
        columns = columns_of(engine.lake.schema(table))
        if found is not None:
            tally.rows, tally.load_id, tally.version = found.changes, found.load_id, found.version
        return PullResult(
            stream=stream.name,
            stats=ReadStats(rows=tally.rows, columns=len(columns), seconds=seconds),
            version=engine.lake.version(table),
            load_id=tally.load_id or "",
            table_rows=engine.lake.count(table),
            unchanged=found is None,
            columns=columns,
        )

    return execute(engine, task, work)


class Merging:
    """A thread that does so while it is entered.

    Args:
        merged: called with source, stream and version after each table that changed.
    """

    def __init__(
        self,
        engine: Engine,
        source: SourceSpec,
        tables: Mapping[str, CapturedTable],
        every_s: float,
        merged: Callable[[str, str, int], None],
    ) -> None:
        self._engine, self._source, self._tables = engine, source, tables
        self._every_s, self._merged = every_s, merged
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(1, f"merge-{source.name}")
        self._going: Future[None] | None = None
        self._reached: dict[str, int] = {}

    def check(self) -> None:
        """Raises what it could not go on after."""
        if self._going is not None and self._going.done():
            self._going.result()

    def __enter__(self) -> Self:
        self._going = self._threads.submit(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._threads.shutdown()

    def _run(self) -> None:
        while True:
            last_time = self._over.wait(self._every_s)
            try:
                self._merge_all()
            except TransientError as error:
                _log.warning("raw tables of %s wait: %s", self._source.name, error)
            if last_time:
                return

    def _merge_all(self) -> None:
        for name, table in self._tables.items():
            seq = table.progress.seq
            if self._reached.get(name) == seq:
                continue
            found = merge_changes(self._engine, self._source, table.stream)
            self._reached[name] = seq
            if found is not None:
                self._merged(self._source.name, name, found.version)

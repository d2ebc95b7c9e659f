"""Reset: forget what landed of a stream, so that its next run starts it over."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import get_args

from superinsight_sync.lake.store import Store
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.tables import Stage, TableRef
from superinsight_sync.pipeline.describe import dictionary_prefix
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.execution import Task

_ORDER: tuple[Stage, ...] = ("refined", "quarantine", "unreadable", "raw", "changes")
"""The raw table last: a refined one beside a new raw one would take its rows for known."""


@dataclass(frozen=True)
class Forgotten:
    """One table that a reset removes, and the rows it has."""

    table: TableRef
    strategy: str
    rows: int


def what_a_reset_removes(engine: Engine, source: SourceSpec, stream: StreamSpec) -> tuple[Forgotten, ...]:
    """The stream's tables that there are. Changes nothing."""
    return tuple(
        Forgotten(table, strategy, store.count(table))
        for table, strategy, store in _kept(engine, source, stream)
        if store.exists(table)
    )


def reset_stream(engine: Engine, source: SourceSpec, stream: StreamSpec) -> tuple[Forgotten, ...]:
    """Removes the stream's tables with their checkpoints, its quarantine and its dictionary; what was removed.

    It waits for work on the stream that is under way. Done again after an end in between, it does the rest.
    """
    assert set(_ORDER) == set(get_args(Stage))
    settings, raw = engine.settings, table_of(source, stream, "raw")
    with ExitStack() as held:
        act = held.enter_context(
            engine.state.audit.act(raw.tenant, "stream.reset", f"{source.name}/{stream.name}")
        )
        for verb in ("pull", "refine", "describe"):
            lease = Task.on(verb, raw).lease
            held.enter_context(
                engine.state.leases.hold(lease, settings.lease_ttl_s, wait_s=settings.lease_wait_s)
            )
        removed = what_a_reset_removes(engine, source, stream)
        engine.blobs.delete(dictionary_prefix(raw.at("refined")))
        for table, _, store in _kept(engine, source, stream):
            store.drop(table)
            engine.state.checkpoints.forget(table)
        engine.state.quarantine.forget(raw)
        act.detail["rows"] = {f"{f.table.stage} ({f.strategy})": f.rows for f in removed}
    return removed


def _kept(engine: Engine, source: SourceSpec, stream: StreamSpec) -> Iterator[tuple[TableRef, str, Store]]:
    """Each table of the stream where it is kept now, and in the lake if it was kept there before."""
    for stage in _ORDER:
        table, store = table_of(source, stream, stage), engine.store(source, stream, stage)
        save = stream.saves.raw if stage == "raw" else stream.saves.refined
        if stage in ("raw", "refined") and save.strategy == "database":
            yield table, "database", store
        yield table, "lake", engine.lake

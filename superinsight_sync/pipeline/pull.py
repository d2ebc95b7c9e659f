"""Pull: read one stream of a source and land it with its checkpoint, exactly once in effect."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.errors import ConfigError, NothingYetError, SisError
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.naming import check_names
from superinsight_sync.model.read import StreamShape
from superinsight_sync.model.results import PullResult, ReadStats
from superinsight_sync.model.tables import Checkpoint, Commit, CommitResult
from superinsight_sync.pipeline.alert import alert_cursor, alert_schema_changed
from superinsight_sync.pipeline.contract import Conformer, Drift, drift_between
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.cursors import Seen, as_seen, greater, warnings_of
from superinsight_sync.pipeline.deletes import Gone, apply_deletes
from superinsight_sync.pipeline.engine import Engine, columns_of, new_load_id, table_of
from superinsight_sync.pipeline.execution import Tally, Task, execute, if_possible, still_ours, told
from superinsight_sync.pipeline.landed_as import check_goes_on
from superinsight_sync.pipeline.pull_attempt import PullAttempt
from superinsight_sync.pipeline.pull_due import Due, due, last_of
from superinsight_sync.pipeline.same_rows import RowSums
from superinsight_sync.pipeline.spool import Spool
from superinsight_sync.pipeline.widening import Rewrites, widen_table
from superinsight_sync.sources.opening import open_declared
from superinsight_sync.sources.protocol import Accompanied, Settling
from superinsight_sync.state.leases import Lease


def pull_stream(
    engine: Engine,
    source: SourceSpec,
    stream: StreamSpec,
    *,
    partitions: Sequence[str] = (),
    force: bool = False,
) -> PullResult:
    """Reads what is new (or the partitions named, or everything) and lands it in the raw table.

    Args:
        partitions: contiguous partition keys in order, of a partitioned stream; those that may have changed
            are read and replaced as one window.
        force: read even if the source says that nothing changed, and land it even if the table holds just that.

    Raises:
        TransientError after three retries, ConfigError, AccessError, DataError.
    """
    table = table_of(source, stream, "raw")
    task = Task.on("pull", table, tuple(partitions), force=force)

    def work(tally: Tally, lease: Lease) -> PullResult:
        pull = PullAttempt(
            engine,
            source,
            stream,
            tuple(partitions),
            engine.store(source, stream, "raw"),
            table,
            open_declared(source, engine.settings),
            new_load_id(),
            lease,
            tally.motion,
        )
        try:
            return _pull(_looked_up(pull), tally, force=force)
        except SisError as error:
            _tell_failed(pull, error)
            raise

    return execute(engine, task, work)


def _looked_up(pull: PullAttempt) -> PullAttempt:
    """With what the table holds, asked for once: each question opens it anew."""
    if not pull.store.exists(pull.table):
        return pull
    held, points = pull.store.schema(pull.table), pull.store.checkpoints(pull.table)
    check_goes_on(pull.source, pull.stream, held, points)
    return replace(pull, held=held, points=points)


def _pull(pull: PullAttempt, tally: Tally, *, force: bool) -> PullResult:
    started = time.perf_counter()
    declared = pull.source.model_dump(mode="json", exclude={"streams"})
    kind = pull.source.connection["kind"]
    with if_possible("the source is not written down"):
        pull.engine.state.sources.record(pull.source.name, kind, fingerprint(declared), pull.source.tenant)
    _accompany(pull)
    found = due(pull.connection, pull.stream, pull.points, pull.partitions, force=force)
    if found is None:
        tally.unchanged = True
        return _unchanged(pull, started)
    pull = replace(pull, partitions=found.partitions)
    try:
        shape = pull.connection.describe(pull.stream)
    except NothingYetError:
        tally.unchanged = True
        return _nothing_yet(pull, started)
    check_names((c.name for c in shape.columns), own=pull.connection.capabilities.own_columns)
    pull = replace(pull, conformer=_conformer(pull, shape))
    incremental = pull.stream.sync.mode == "incremental" and not pull.partitions
    landed = _land_increment(pull, found) if incremental else _land_window(pull, found, force=force)
    landed = replace(landed, told=_tell_landed(pull, landed.commit.checkpoints.get("")))
    gone = apply_deletes(
        pull.engine, pull.connection, pull.stream, store=pull.store, table=pull.table, load_id=pull.load_id
    )
    return _result(pull, landed, tally, shape=shape, gone=gone, seconds=time.perf_counter() - started)


def _accompany(pull: PullAttempt) -> None:
    """Tells a source that wants to know what has landed; at the start for what an end in between left untold."""
    if not isinstance(pull.connection, Accompanied):
        return
    point = last_of(pull.stream, pull.points)
    position = point.detail.get("position") if point else None
    pull.connection.prepare(pull.stream, pa.schema([]) if pull.held is None else pull.held, position)
    _tell_landed(pull, point)


def _tell_landed(pull: PullAttempt, point: Checkpoint | None) -> Mapping[str, int | float]:
    if point is None or not isinstance(pull.connection, Accompanied):
        return {}
    return pull.connection.landed(pull.stream, point.detail.get("position"), point.load_id)


def _tell_failed(pull: PullAttempt, error: SisError) -> None:
    if isinstance(pull.connection, Accompanied):
        with suppress(SisError):
            pull.connection.failed(pull.stream, error)


def _conformer(pull: PullAttempt, shape: StreamShape) -> Conformer:
    """What the contract makes of the rows. Widens the table first if the rows need it.

    A change is told as an alert before the rows land with its mark in their checkpoint, so that no end in
    between silences it. One that stops the pull is marked in the checkpoint that there is.
    """
    drift = Drift()
    if pull.held is not None:
        source = pa.schema([pa.field(c.name, c.arrow) for c in shape.columns])
        drift = drift_between(pull.held, source)
        if pull.connection.capabilities.found_types:
            drift = replace(drift, missing=(), renamed=())
    is_new = drift.mark not in (None, *(p.detail.get("drift") for p in pull.points.values()))
    if is_new:
        alert_schema_changed(pull.engine, pull.source.name, pull.stream.name, drift.texts)
    rewrites = _rewrites(pull)
    try:
        conformer = Conformer(pull.stream, drift, replaces=pull.replaces, settled=rewrites.columns.keys())
    except ConfigError:
        if is_new:
            _mark_told(pull, drift)
        raise
    widen_table(pull.store, pull.table, conformer.widened, pull.engine.run_id, rewrites)
    return conformer


def _rewrites(pull: PullAttempt) -> Rewrites:
    """What its source wants written anew of the table."""
    if pull.held is None or not isinstance(pull.connection, Settling):
        return Rewrites()
    return Rewrites(pull.connection.rewrites(pull.stream), pull.connection.settled(pull.stream))


def _mark_told(pull: PullAttempt, drift: Drift) -> None:
    for key, point in list(pull.points.items())[-1:]:
        marked = replace(point, detail={**point.detail, "drift": drift.mark})
        pull.store.set_checkpoint(pull.table, marked, key)


@dataclass(frozen=True)
class _Landed:
    """What was read, and what became of it: `done` is None where the table held just that."""

    reading: Reading
    done: CommitResult | None
    commit: Commit
    cursor_before: Any = None
    cursor_after: Any = None
    warnings: tuple[str, ...] = ()
    told: Mapping[str, int | float] = field(default_factory=dict)


def _land_window(pull: PullAttempt, found: Due, *, force: bool) -> _Landed:
    """Replaces the whole table, or exactly the partitions' rows; nothing if they are the same."""
    reading, sums = pull.reading(found.request), RowSums()
    commit = pull.commit(token=found.token)
    replaces = pull.stream.disposition == "replace"
    if replaces and (force or not _comparable(pull)):
        with reading:
            read = partial(_until_ours, pull, reading)
            done = pull.store.replace(pull.table, read, commit, partitions=pull.partitions or None)
        return _Landed(reading, done, commit)
    with Spool(pull.engine.settings, pull.motion.moved) as spool:
        with reading:
            spool.fill(reading(), cursor=None, look=sums.add if replaces else None)
        still_ours(pull.lease)
        if replaces and sums.are_of(pull.store, pull.table, spool.schema, pull.partitions):
            return _Landed(reading, None, _kept(pull, commit))
        if replaces:
            done = pull.store.replace(pull.table, spool.open, commit, partitions=pull.partitions or None)
        else:
            done = _add(pull, spool, commit)
    return _Landed(reading, done, commit)


def _until_ours(pull: PullAttempt, reading: Reading) -> pa.RecordBatchReader:
    """The rows as they are read. After the last one the lease must still be ours."""
    rows = reading()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows
        still_ours(pull.lease)

    return pa.RecordBatchReader.from_batches(rows.schema, batches())


def _comparable(pull: PullAttempt) -> bool:
    """Whether the table may hold just what is read. Where rows go by their age, what is read again is young again."""
    saves = pull.stream.saves
    known = pull.held is not None and all(key in pull.points for key in pull.partitions or ("",))
    ages = saves.raw.retention is not None or saves.refined.retention is not None
    return known and not ages


def _kept(pull: PullAttempt, commit: Commit) -> Commit:
    """The commit of the rows that are there, with checkpoints that say what a new one would."""
    kept = {}
    for key, new in commit.checkpoints.items():
        old = pull.points[key]
        kept[key] = replace(new, load_id=old.load_id, at=old.at)
        if kept[key] != old:
            pull.store.set_checkpoint(pull.table, kept[key], key)
    return replace(commit, load_id=list(kept.values())[-1].load_id, checkpoints=kept)


def _add(pull: PullAttempt, spool: Spool, commit: Commit) -> CommitResult:
    if pull.stream.disposition == "merge":
        return pull.merge(spool.open, commit)
    return pull.store.append(pull.table, spool.open, commit)


def _land_increment(pull: PullAttempt, found: Due) -> _Landed:
    """Reads from the checkpoint on, spools, drops what is known already, lands the rest with the new checkpoint."""
    sync, request = pull.stream.sync, found.request
    last = found.last.cursor if found.last else None
    by_cursor = sync.cursor if sync.by in ("timestamp", "version") else None
    reading = pull.reading(request)
    with Spool(pull.engine.settings, pull.motion.moved) as spool:
        with reading:
            spool.fill(reading(), cursor=by_cursor)
        last = as_seen(last, spool.seen.greatest)
        cursor = greater(pull.stream, last, spool.seen.present)
        position = dict(request.next_position) or request.position
        warnings = _warned(pull, last, spool.seen) if by_cursor else ()
        warned = fingerprint(list(warnings)) if warnings else None
        commit = pull.commit(position, warned, token=found.token, cursor=cursor)
        overlaps = sync.by == "hash" or (pull.stream.disposition == "append" and sync.by != "position")
        if overlaps and pull.held is not None:
            merged = pull.stream.disposition == "merge"
            spool.drop_known(pull.store.dataset(pull.table), cursor=by_cursor, exact=merged)
        still_ours(pull.lease)
        done = _add(pull, spool, commit)
    return _Landed(reading, done, commit, last, cursor, warnings)


def _warned(pull: PullAttempt, last: Any, seen: Seen) -> tuple[str, ...]:
    """What is wrong with the cursor; told as an alert too when it was not so at the last pull."""
    stream, cursor = f"{pull.source.name}.{pull.stream.name}", pull.stream.sync.cursor or ""
    found = warnings_of(stream, cursor, last, seen, capabilities=pull.connection.capabilities)
    before = pull.points[""].detail.get("warned") if "" in pull.points else None
    if found and fingerprint(list(found)) != before:
        alert_cursor(pull.engine, pull.source.name, pull.stream.name, found)
    return found


def _result(
    pull: PullAttempt,
    landed: _Landed,
    tally: Tally,
    *,
    shape: StreamShape,
    gone: Gone,
    seconds: float,
) -> PullResult:
    stats = landed.reading.stats(
        seconds=seconds, cursor_before=landed.cursor_before, cursor_after=landed.cursor_after
    )
    load_id, done = landed.commit.load_id, landed.done
    if done is None:
        tally.unchanged = True
        done = CommitResult(pull.store.version(pull.table) or 0, 0, 0)
    else:
        tally.rows, tally.size_bytes = stats.rows, done.size_bytes
        tally.load_id, tally.version = load_id, done.version
    told(
        "the checkpoint is in the lake, but not in our state",
        lambda: pull.engine.state.checkpoints.record_all(pull.table, landed.commit.checkpoints),
    )
    return PullResult(
        stream=pull.stream.name,
        stats=stats,
        version=done.version,
        load_id=load_id,
        size_bytes=done.size_bytes,
        table_rows=pull.store.count(pull.table),
        unreadable=landed.reading.unreadable,
        unchanged=landed.done is None,
        partitions=pull.partitions,
        rows_by_partition=landed.reading.rows_by_partition,
        columns=tuple(c.info for c in shape.columns),
        schema_changes=pull.conformer.drift.texts if pull.conformer else (),
        deleted=gone.deleted,
        returned=gone.returned,
        retries=tally.retries,
        of_source=landed.told,
        warnings=(*landed.warnings, *gone.warnings),
    )


def _nothing_yet(pull: PullAttempt, started: float) -> PullResult:
    stats = ReadStats(seconds=time.perf_counter() - started)
    return PullResult(pull.stream.name, stats, None, "", nothing_yet=True, partitions=pull.partitions)


def _unchanged(pull: PullAttempt, started: float) -> PullResult:
    point = pull.points.get((pull.partitions or ("",))[-1])
    return PullResult(
        stream=pull.stream.name,
        stats=ReadStats(seconds=time.perf_counter() - started),
        version=pull.store.version(pull.table),
        load_id=point.load_id if point else "",
        table_rows=pull.store.count(pull.table),
        unchanged=True,
        partitions=pull.partitions,
        columns=columns_of(pull.store.schema(pull.table)),
    )

"""Refine: clean, type and deduplicate a stream's raw rows; what fails goes to quarantine with its reason."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow.compute as pc

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, ThresholdError
from superinsight_sync.lake.store import ReadBatches, Store
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import RefineResult
from superinsight_sync.model.tables import Checkpoint, Commit, CommitResult, TableRef
from superinsight_sync.pipeline.contract import common_type, drift_between
from superinsight_sync.pipeline.engine import Engine, columns_of, new_load_id, table_of
from superinsight_sync.pipeline.execution import Tally, Task, execute, still_ours, told
from superinsight_sync.pipeline.widening import widen_table
from superinsight_sync.security.masking import KEYED
from superinsight_sync.state.leases import Lease
from superinsight_sync.transform.engine import Refined, RowErrors, plan, refine
from superinsight_sync.transform.protocol import StepContext

_MOST_LOOKED_UP = 10_000
RULES_VERSION = 2
"""Raised when steps change their meaning, so that refined tables are computed anew."""


@dataclass(frozen=True)
class _Input:
    """Which raw rows are refined, and what identifies them.

    Attributes:
        identities: by partition, the fingerprint of its rows and the steps; equal means that nothing is to be done.
        loads: the raw loads read; None reads the whole table (or the partitions).
        raw_version: the raw table's version that was looked at.
    """

    identities: Mapping[str, str]
    steps: str
    raw_version: int
    loads: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Due:
    """What a refine would read now.

    Attributes:
        partitions: those whose raw rows or steps changed; ``("",)`` for a stream without partitions.
        raw_version: the raw table's version that was looked at.
        loads: the raw loads it would read; None for all rows (of the partitions).
    """

    partitions: tuple[str, ...]
    raw_version: int
    loads: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Stream:
    """Whose raw rows become whose refined ones."""

    engine: Engine
    source: SourceSpec
    stream: StreamSpec
    partitions: tuple[str, ...]

    @property
    def table(self) -> TableRef:
        return table_of(self.source, self.stream, "refined")

    @cached_property
    def raw(self) -> Store:
        return self.engine.store(self.source, self.stream, "raw")

    @cached_property
    def store(self) -> Store:
        return self.engine.store(self.source, self.stream, "refined")

    @property
    def context(self) -> StepContext:
        masking = self.engine.masking(self.source.tenant)
        return StepContext(self.stream.primary_key, self.stream.sync.cursor, masking=masking)

    @property
    def key(self) -> str:
        """Where the checkpoint of a run over these partitions is kept."""
        return self.partitions[0] if self.partitions else ""


@dataclass(frozen=True)
class _Refine(_Stream):
    lease: Lease


def due(
    engine: Engine, source: SourceSpec, stream: StreamSpec, *, partitions: Sequence[str] = ()
) -> Due | None:
    """What `refine_stream` would read now; None if nothing is new. Raises ConfigError without raw rows."""
    job = _Stream(engine, source, stream, tuple(partitions))
    rows = _input(job, force=False)
    changed = _changed(job, rows, force=False)
    return Due(tuple(changed), rows.raw_version, rows.loads) if changed else None


def refine_stream(
    engine: Engine,
    source: SourceSpec,
    stream: StreamSpec,
    *,
    partitions: Sequence[str] = (),
    force: bool = False,
) -> RefineResult:
    """Applies the declared steps to the raw rows and lands the refined table and its quarantine.

    An unpartitioned incremental stream refines only what landed since the last time, where its steps allow it.

    Raises:
        ThresholdError: more records failed than declared; quarantine is kept, nothing else is published.
        ConfigError: a step does not fit the columns, or there is no raw table yet.
    """
    task = Task.on("refine", table_of(source, stream, "refined"), tuple(partitions), force=force)

    def work(tally: Tally, lease: Lease) -> RefineResult:
        return _refine(_Refine(engine, source, stream, tuple(partitions), lease), tally, force=force)

    return execute(engine, task, work)


def _refine(job: _Refine, tally: Tally, *, force: bool) -> RefineResult:
    started = time.perf_counter()
    rows = _input(job, force=force)
    changed = _changed(job, rows, force=force)
    if not changed:
        tally.unchanged = True
        return _unchanged(job)
    if job.partitions:
        job = replace(job, partitions=tuple(changed))
        rows = replace(rows, identities={k: rows.identities[k] for k in changed})
    settings = job.engine.settings
    with refine(
        _reader(job, rows),
        job.stream.refine,
        job.context,
        scratch_dir=settings.scratch_dir,
        memory_limit_bytes=settings.memory_limit_bytes,
        row_errors=RowErrors(
            job.stream.on_row_error, job.stream.max_row_errors, job.stream.max_row_error_share
        ),
    ) as refined:
        if rows.loads is not None and refined.quarantined and _were_refined(job, refined):
            return _refine(job, tally, force=True)
        return _land(job, rows, refined, tally, started, force=force)


def _reader(job: _Refine, rows: _Input) -> ReadBatches:
    raw = job.table.at("raw")
    return lambda: job.raw.scan(
        raw, version=rows.raw_version, partitions=job.partitions or None, load_ids=rows.loads
    )


def _changed(job: _Stream, rows: _Input, *, force: bool) -> list[str]:
    """Partitions to refine; of a stream without any, the key "" stands for all of it."""
    landed = {} if force else job.store.checkpoints(job.table)
    return [k for k, made_of in rows.identities.items() if k not in landed or landed[k].token != made_of]


def _unchanged(job: _Refine) -> RefineResult:
    point = job.store.checkpoint(job.table, (job.partitions or ("",))[-1])
    planned = plan(job.stream.refine, job.raw.schema(job.table.at("raw")), job.context)
    return RefineResult(
        stream=job.stream.name,
        rows_read=0,
        rows_written=0,
        version=job.store.version(job.table),
        load_id=point.load_id if point else "",
        table_rows=job.store.count(job.table),
        unchanged=True,
        columns=columns_of(planned.schema),
        lineage=dict(planned.lineage),
        partitions=job.partitions,
    )


def _input(job: _Stream, *, force: bool) -> _Input:
    """What is to be refined now."""
    raw = job.table.at("raw")
    if not job.raw.exists(raw):
        raise ConfigError(
            "there are no raw rows yet", hint=f"Run the pull of {job.source.name}/{job.stream.name} first"
        )
    version = job.raw.version(raw) or 0
    how = job.stream.model_dump(mode="json", include={"refine", "primary_key", "sync", "partition"})
    steps = fingerprint([RULES_VERSION, how, *_keys(job)])
    loads = {k: c.load_id if (c := job.raw.checkpoint(raw, k)) else "" for k in job.partitions or ("",)}
    identities = {k: fingerprint([steps, load]) for k, load in loads.items()}
    everything = _Input(identities, steps, version)
    if job.partitions or job.stream.disposition == "replace" or force:
        return everything
    last = job.store.checkpoint(job.table)
    if last is None or last.detail.get("steps") != steps or not _can_increment(job):
        return everything
    since = job.raw.loads_since(raw, int(last.detail["raw_version"]))
    return everything if since is None else replace(everything, loads=tuple(since))


def _keys(job: _Stream) -> list[str]:
    """What tells the keys of the stream's masks: with others, all rows are masked anew."""
    masked = [
        m for s in job.stream.refine if s.step == "mask" for m in s.arguments.get("columns", {}).values()
    ]
    keyed = any((m.get("how") if isinstance(m, dict) else m) in KEYED for m in masked)
    return [job.context.masking.check_value()] if keyed else []


def _can_increment(job: _Stream) -> bool:
    """Whether refining the new rows alone gives the same tables as refining all of them.

    Each step must work row by row, or be a dedupe by the primary key that the raw table's merge has done already.
    """
    merged = job.stream.disposition == "merge"
    steps = [
        s for s in job.stream.refine if not (merged and s.step == "dedupe" and "keys" not in s.arguments)
    ]
    planned = plan(steps, job.raw.schema(job.table.at("raw")), job.context)
    return planned.row_wise and not (merged and planned.multiplies)


def _were_refined(job: _Refine, refined: Refined) -> bool:
    """Whether a row that was set aside now may be in the refined table, where only refining all takes it away."""
    keys = job.stream.primary_key
    if job.stream.disposition != "merge":
        return False
    failed = refined.failed_keys(keys, _MOST_LOOKED_UP + 1)
    schema = job.store.schema(job.table)
    if (
        refined.hidden & set(keys)
        or failed.num_rows > _MOST_LOOKED_UP
        or any(schema.field(k).type != failed.schema.field(k).type for k in keys)
    ):
        return True
    ours = pc.field(keys[0]).isin(failed[keys[0]])
    for key in keys[1:]:
        ours &= pc.field(key).isin(failed[key])
    return bool(job.store.dataset(job.table).count_rows(filter=ours))


def _land(
    job: _Refine, rows: _Input, refined: Refined, tally: Tally, started: float, *, force: bool
) -> RefineResult:
    """Quarantine first, then (under the threshold) the refined rows with the checkpoint."""
    commit = _commit(job, rows, force=force)
    kept = _land_quarantine(job, rows, refined, commit)
    others = job.raw.count(job.table.at("raw")) - refined.rows_read if rows.loads is not None else 0
    try:
        refined.check_threshold(kept, others)
    except ThresholdError:
        tally.rows = refined.rows_read
        raise
    still_ours(job.lease)
    incremental = rows.loads is not None
    landed = _land_refined(job, refined, commit, incremental=incremental)
    told(
        "the checkpoint is in the lake, but not in our state",
        lambda: job.engine.state.checkpoints.record_all(job.table, commit.checkpoints),
    )
    tally.rows, tally.size_bytes = landed.rows, landed.size_bytes
    tally.load_id, tally.version = commit.load_id, landed.version
    return RefineResult(
        stream=job.stream.name,
        rows_read=refined.rows_read,
        rows_written=landed.rows,
        version=landed.version,
        load_id=commit.load_id,
        size_bytes=landed.size_bytes,
        seconds=time.perf_counter() - started,
        table_rows=job.store.count(job.table),
        duplicates=refined.duplicates,
        quarantined=dict(refined.quarantined),
        columns=columns_of(refined.schema),
        lineage=dict(refined.lineage),
        partitions=job.partitions,
        rows_by_partition=dict(refined.rows_by_partition),
    )


def _commit(job: _Refine, rows: _Input, *, force: bool) -> Commit:
    """Increments get a load id made of their input, so that work repeated after a kill lands once."""
    now = utc_now()
    load_id = "refine-" + fingerprint([job.table.path, dict(rows.identities), rows.loads])[:24]
    if force or rows.loads is None:
        load_id = f"refine-{new_load_id()}"
    points = {
        key: Checkpoint(
            load_id, now, token=identity, detail={"steps": rows.steps, "raw_version": rows.raw_version}
        )
        for key, identity in rows.identities.items()
    }
    return Commit(load_id, checkpoints=points, metadata={"run_id": job.engine.run_id, "verb": "refine"})


def _land_quarantine(job: _Refine, rows: _Input, refined: Refined, commit: Commit) -> int:
    """Returns how many records stay in quarantine besides the ones set aside now.

    A row of a merged table takes the place of what it was before, also in quarantine: a mended one leaves it.
    """
    table, lake = job.table.at("quarantine"), job.engine.lake
    if not sum(refined.quarantined.values()) and not lake.exists(table):
        return 0
    before = lake.count(table) if rows.loads is not None else 0
    kept = before
    if rows.loads is not None and before and job.stream.disposition == "merge":
        kept = refined.keep_quarantined(lake.scan(table), job.stream.primary_key)
    if kept < before or rows.loads is None:
        lake.replace(table, refined.open_quarantine, commit, partitions=job.partitions or None)
    elif refined.quarantined:
        lake.append(table, lambda: refined.open_quarantine(only_new=True), commit)
    told(
        "the records set aside are in the lake, but not counted in our state",
        lambda: job.engine.state.quarantine.record(table, commit.load_id, refined.quarantined, job.key),
    )
    return kept


def _land_refined(job: _Refine, refined: Refined, commit: Commit, *, incremental: bool) -> CommitResult:
    if not incremental:
        _widen_other_partitions(job, refined)
        return job.store.replace(job.table, refined.open, commit, partitions=job.partitions or None)
    if job.stream.disposition == "merge":
        return job.store.merge(job.table, refined.open, commit, keys=job.stream.primary_key)
    return job.store.append(job.table, refined.open, commit)


def _widen_other_partitions(job: _Refine, refined: Refined) -> None:
    """Columns whose type became wider take the rows of the partitions that are not refined now along."""
    if not job.partitions or not job.store.exists(job.table):
        return
    found = drift_between(job.store.schema(job.table), refined.schema).retyped
    wider = {n: now for n, (was, now) in found.items() if common_type(was, now) == now}
    widen_table(job.store, job.table, wider, job.engine.run_id)

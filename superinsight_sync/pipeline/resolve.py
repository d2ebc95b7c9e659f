"""Resolve: one record for each real thing, of the records of several streams; published as a whole or not at all.

The order of commits makes a kill harmless at any point: first the new versions of records, which are a set; then the
conflicts and the queue; last the entities, whose checkpoint says up to where the records and decisions are in them.
What was interrupted is found again by that checkpoint and done again.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from superinsight_sync.conflict.decide import ways
from superinsight_sync.conflict.resolve import Fields
from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.entity import EXISTENCE, EntitySpec
from superinsight_sync.model.results import ResolveResult
from superinsight_sync.model.tables import Checkpoint, Commit
from superinsight_sync.pipeline.engine import Engine, columns_of, new_load_id
from superinsight_sync.pipeline.entity_conflicts import ConflictTable
from superinsight_sync.pipeline.entity_records import Records, Taken
from superinsight_sync.pipeline.entity_scope import Scope, needs_everything
from superinsight_sync.pipeline.execution import Tally, Task, execute, still_ours, told
from superinsight_sync.state.leases import Lease
from superinsight_sync.state.reviews import Decision

if TYPE_CHECKING:
    import duckdb

RULES_VERSION = 1
"""Raised when the same records and decisions would give other entities, so that all are made anew."""
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class _Resolve:
    engine: Engine
    spec: EntitySpec
    duck: "duckdb.DuckDBPyConnection"
    fields: Fields
    standing: tuple[Decision, ...]
    lease: Lease

    @property
    def identity(self) -> str:
        """What a change of makes every entity be made anew."""
        spec = self.spec.model_dump(mode="json", exclude={"owners", "description", "schedule", "review"})
        trusted = [d.id for d in self.standing if d.kind == "trust"][-1:]
        return fingerprint([RULES_VERSION, spec, dict(self.fields.types), trusted])


def resolve_entity(engine: Engine, spec: EntitySpec, *, force: bool = False) -> ResolveResult:
    """Takes in what is new in the entity's streams and publishes the entities that it touches.

    Raises ConfigError for a stream without a refined table, a column that is not there or a wrong strategy, DataError
    if the merge check fails, TransientError after three retries.
    """
    task = Task("resolve", spec.tenant, "entities", spec.name, force=force)

    def work(tally: Tally, lease: Lease) -> ResolveResult:
        started = time.perf_counter()
        settings = engine.settings
        with open_duckdb(settings.memory_limit_bytes, settings.scratch_dir) as duck:
            records = Records(engine, spec, duck)
            standing = engine.state.decisions.of(spec.tenant, spec.name)
            job = _Resolve(engine, spec, duck, _fields(records, standing), standing, lease)
            _check_strategies(job)
            taken = records.take(force=force)
            return _resolve(job, taken, tally, started, force=force)

    return execute(engine, task, work)


def _fields(records: Records, standing: Sequence[Decision]) -> Fields:
    learned = [d for d in standing if d.kind == "trust"]
    return Fields(records.types, learned[-1].detail["thresholds"] if learned else {})


def _check_strategies(job: _Resolve) -> None:
    """Raises ConfigError for a wrong one, also where nothing is in conflict now."""
    for name in (*job.fields.types, *([EXISTENCE] if job.spec.deletes == "any" else [])):
        ways(job.spec.strategies(name), job.fields.context(job.spec, name))


def _resolve(job: _Resolve, taken: Taken, tally: Tally, started: float, *, force: bool) -> ResolveResult:
    lake, spec = job.engine.lake, job.spec
    records_version = lake.version(spec.records) or 0
    job.duck.register("all_records", lake.dataset(spec.records, version=records_version))
    last = None if force else lake.checkpoint(spec.table)
    scope = Scope(job.duck, spec, list(job.fields.types), job.standing)
    loads = None if last is None else lake.loads_since(spec.records, int(last.detail["records"]))
    if last is None or last.token != job.identity or loads is None or needs_everything(spec):
        unchanged = (
            last is not None and last.token == job.identity and loads == [] and not _decided(job, last)
        )
        _look_at_old(job, whole=False)
        if not unchanged:
            scope.everything()
    else:
        _look_at_old(job, whole=True)
        unchanged = not scope.changed(loads, _decided(job, last))
    if unchanged:
        tally.unchanged = True
        return _result(job, taken, (), started, unchanged=True)
    scope.resolve(job.fields)
    point = {
        "records": records_version,
        "inputs": dict(taken.versions),
        "decisions": [d.id for d in job.standing],
    }
    _publish(job, point, tally)
    return _result(job, taken, scope.warnings, started, unchanged=False)


def _look_at_old(job: _Resolve, *, whole: bool) -> None:
    """Registers `old`: the entities as they are published; none where all are made anew."""
    if whole:
        job.duck.register("old", job.engine.lake.dataset(job.spec.table))
    else:
        job.duck.execute("CREATE OR REPLACE TABLE old (entity_id VARCHAR, aliases VARCHAR[])")
        job.duck.execute("CREATE OR REPLACE TABLE replaced (entity_id VARCHAR)")
        if job.engine.lake.exists(job.spec.table):
            job.duck.register("published", job.engine.lake.dataset(job.spec.table))
            job.duck.execute("INSERT INTO replaced SELECT entity_id FROM published")
            job.duck.unregister("published")


def _decided(job: _Resolve, last: Checkpoint) -> list[Decision]:
    """Decisions that were made or taken back since the entities were published."""
    now, then = {d.id for d in job.standing}, set(last.detail["decisions"])
    if now == then:
        return []
    everything = job.engine.state.decisions.of(job.spec.tenant, job.spec.name, undone=True)
    return [d for d in everything if d.id in now ^ then]


def _publish(job: _Resolve, point: dict[str, Any], tally: Tally) -> None:
    """Commits the conflicts, tells the queue, commits the entities with the versions of all that they are made of."""
    lake, spec, now = job.engine.lake, job.spec, utc_now()
    load_id = f"entity-{new_load_id()}"
    commit = Commit(
        load_id,
        {"": Checkpoint(load_id, now, token=job.identity, detail=point)},
        {"run_id": job.engine.run_id, "verb": "resolve"},
    )
    still_ours(job.lease)
    ConflictTable(job.engine, spec, job.duck).publish(commit)
    still_ours(job.lease)
    landed = lake.replace(spec.table, lambda: _entities(job, commit), commit)
    told(
        "the checkpoint is in the lake, but not in our state",
        lambda: job.engine.state.checkpoints.record_all(spec.table, commit.checkpoints),
    )
    tally.rows, tally.size_bytes, tally.load_id, tally.version = (
        landed.rows,
        landed.size_bytes,
        load_id,
        landed.version,
    )


def _entities(job: _Resolve, commit: Commit) -> pa.RecordBatchReader:
    """All entities: those that were made now, and the others as they were."""
    made = job.duck.cursor().sql("FROM made").to_arrow_reader(_BATCH_ROWS)
    fresh = add_system_columns(made, load_id=commit.load_id, extracted_at=commit.checkpoints[""].at)
    ((kept,),) = job.duck.execute(
        "SELECT count(*) FROM (DESCRIBE old) WHERE column_name = '_sis_hash'"
    ).fetchall()
    if not kept:
        return fresh
    listed = ", ".join(f'old."{name}"' for name in fresh.schema.names)
    others = job.duck.sql(f"SELECT {listed} FROM old ANTI JOIN replaced r ON r.entity_id = old.entity_id")  # noqa: S608
    rest = others.to_arrow_reader(_BATCH_ROWS)

    def batches() -> Iterator[pa.RecordBatch]:
        for reader in (rest, fresh):
            for batch in reader:
                yield batch.cast(fresh.schema)

    return pa.RecordBatchReader.from_batches(fresh.schema, batches())


def _result(
    job: _Resolve, taken: Taken, warnings: Sequence[str], started: float, *, unchanged: bool
) -> ResolveResult:
    lake, spec = job.engine.lake, job.spec
    states: dict[str, int] = {}
    touched = 0
    if not unchanged:
        states = dict(
            job.duck.execute("SELECT state, count(*) FROM found_conflicts GROUP BY state").fetchall()
        )
        ((touched,),) = job.duck.execute("SELECT count(*) FROM made").fetchall()
    point = lake.checkpoint(spec.table)
    return ResolveResult(
        entity=spec.name,
        rows=lake.count(spec.table),
        touched=touched,
        new_versions=taken.rows,
        conflicts=states,
        waiting=job.engine.state.reviews.count(spec.tenant, spec.name),
        conflict_rows=lake.count(spec.conflicts),
        version=lake.version(spec.table),
        load_id=point.load_id if point else "",
        input_versions=dict(taken.versions),
        columns=columns_of(lake.schema(spec.table)),
        conflict_columns=columns_of(lake.schema(spec.conflicts)),
        warnings=(*taken.warnings, *warnings),
        seconds=time.perf_counter() - started,
        unchanged=unchanged,
    )

"""Verify: whether a stream's raw table holds what its source has, and if not, exactly the difference."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.consistency.compare import Comparing, Comparison
from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.store import Store
from superinsight_sync.lake.types import cast_batch, storable_schema
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.tables import DELETED_AT, TableRef, is_system
from superinsight_sync.model.window import window_of_keys
from superinsight_sync.pipeline.contract import Conformer, drift_between
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.execution import Tally, Task, execute
from superinsight_sync.pipeline.pull_due import last_of
from superinsight_sync.sources.opening import open_declared
from superinsight_sync.sources.protocol import Source
from superinsight_sync.state.leases import Lease


@dataclass(frozen=True)
class VerifyResult:
    """What a verify found: numbers and names, but for `comparison.keys`.

    Every row of the source is accounted for:
    ``source = lake + quarantined + discarded + in_flight_missing + missing - extra``.

    Attributes:
        quarantined: records of the source that are set aside because they cannot be read or break the contract.
        discarded: rows that the schema contract leaves out.
        not_compared: columns that only one side has.
    """

    stream: str
    comparison: Comparison
    source: int
    quarantined: int = 0
    discarded: int = 0
    not_compared: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def consistent(self) -> bool:
        """Whether nothing differs but what is in flight."""
        return self.comparison.wrong == 0


def verify_stream(
    engine: Engine, source: SourceSpec, stream: StreamSpec, *, partitions: Sequence[str] = ()
) -> VerifyResult:
    """Reads the source once and compares every row with the raw table by the primary key. Changes nothing.

    Args:
        partitions: contiguous partition keys; of a partitioned stream, default all that have landed.

    Raises:
        ConfigError: nothing to compare with, or no key to compare by. Else what a pull raises.
    """
    _check_fit(source, stream)
    table = table_of(source, stream, "raw")
    task = Task.on("verify", table, tuple(partitions))

    def work(tally: Tally, _: Lease) -> VerifyResult:
        result = _verify(engine, source, stream, table, tuple(partitions))
        tally.rows = result.source
        return result

    return execute(engine, task, work)


def _check_fit(source: SourceSpec, stream: StreamSpec) -> None:
    where = f"verify {source.name}/{stream.name}"
    if not stream.primary_key:
        raise ConfigError(
            "there is no key to compare by", where=where, hint="Declare the stream's primary_key"
        )
    if stream.sync.by == "position" or source.connection["kind"] == "inbox":
        raise ConfigError(
            "its source does not keep its records, so that there is nothing to compare", where=where
        )
    if stream.disposition == "append":
        raise ConfigError(
            "an appended table keeps every state of a record, its source only the last one",
            where=where,
            hint="Set disposition: merge to have one row for each key",
        )
    if not stream.raw_outlives_its_run:
        raise ConfigError("its raw table ends with each run", where=where, hint="Set save: {raw: persistent}")


def _verify(
    engine: Engine, source: SourceSpec, stream: StreamSpec, table: TableRef, partitions: tuple[str, ...]
) -> VerifyResult:
    started = time.perf_counter()
    store, connection = engine.store(source, stream, "raw"), open_declared(source, engine.settings)
    if not store.exists(table):
        raise ConfigError(
            "nothing has landed yet", hint=f"Run it first: `sis run {source.name}.{stream.name}`"
        )
    held, points = store.schema(table), store.checkpoints(table)
    shape = connection.describe(stream)
    drift = drift_between(held, pa.schema([pa.field(c.name, c.arrow) for c in shape.columns]))
    conformer = Conformer(stream, drift)
    if stream.partition:
        partitions = partitions or tuple(sorted(k for k in points if k))
    last = last_of(stream, points) if stream.sync.mode == "incremental" and not partitions else None
    types = storable_schema(conformer.schema(pa.schema([pa.field(c.name, c.arrow) for c in shape.columns])))
    compared = [n for n in types.names if n in held.names and not is_system(n)]
    reading = _reading(connection, stream, conformer, partitions)
    with open_duckdb(engine.settings.memory_limit_bytes, engine.settings.scratch_dir) as duck, reading:
        comparing = Comparing(duck, stream.primary_key, compared, types)
        wanted = pa.schema([types.field(n) for n in compared])
        version = store.version(table)
        for batch in reading():
            rows = cast_batch(batch.select(compared), wanted)
            comparing.add("source", rows, _newer(stream, rows, last.cursor if last else None))
        for batch in _live(store, table, compared, partitions, version):
            comparing.add("lake", cast_batch(batch, wanted))
        found = comparing.compared()
    rejected = conformer.rejects().num_rows
    return VerifyResult(
        stream.name,
        found,
        source=reading.rows + reading.unreadable - rejected,
        quarantined=reading.unreadable,
        discarded=conformer.discarded_rows - rejected,
        not_compared=tuple(sorted({*drift.new, *drift.missing})),
        partitions=partitions,
        seconds=time.perf_counter() - started,
    )


def _reading(
    connection: Source, stream: StreamSpec, conformer: Conformer, partitions: tuple[str, ...]
) -> Reading:
    """The source's rows as a pull would land them. What a pull sets aside is counted, and kept nowhere."""
    window = None
    if stream.partition and partitions:
        try:
            window = window_of_keys(stream.partition.by, partitions)
        except ValueError as error:
            raise ConfigError(
                "the partitions have gaps between them", hint="Verify one at a time with --partition"
            ) from error
    return Reading(
        connection,
        ReadRequest(stream, window=window),
        load_id="",
        conformer=conformer,
        keep_unreadable=_kept_nowhere,
    )


def _kept_nowhere(_: pa.Table) -> None:
    """A verify writes nothing."""


def _newer(stream: StreamSpec, rows: pa.RecordBatch, cursor: Any) -> pa.Array | None:
    """Which rows are newer than the checkpoint."""
    name = stream.sync.cursor
    if cursor is None or name not in rows.schema.names:
        return None
    values = rows.column(name)
    try:
        bound = pa.scalar(cursor, values.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(
            f"the checkpoint is of another type than the cursor column '{name}'",
            hint="Pull the stream once more, then verify it",
        ) from error
    return pc.fill_null(pc.greater(values, bound), False)


def _live(
    store: Store, table: TableRef, columns: list[str], partitions: tuple[str, ...], version: int | None
) -> Iterator[pa.RecordBatch]:
    """The table's rows that are not marked as deleted."""
    marked = DELETED_AT in store.schema(table).names
    wanted = [*columns, DELETED_AT] if marked else columns
    for batch in store.scan(table, version=version, columns=wanted, partitions=partitions or None):
        live = batch.filter(pc.is_null(batch.column(DELETED_AT))) if marked else batch
        yield live.select(columns)

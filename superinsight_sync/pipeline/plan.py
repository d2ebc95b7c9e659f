"""Plan: what a run would read and write now, asset by asset. Nothing here writes, or makes a table or a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from superinsight_sync.core.errors import NothingYetError, SisError
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.tables import Checkpoint, Stage
from superinsight_sync.pipeline import describe, export, refine
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.landed_as import check_goes_on
from superinsight_sync.pipeline.pull_due import Due, due, last_of
from superinsight_sync.security.secrets import redact
from superinsight_sync.sources.opening import open_declared
from superinsight_sync.sources.protocol import Accompanied, Counted
from superinsight_sync.state.opening import is_made

Outcome = Literal["made", "unchanged", "waits", "fails"]
"""`waits`: nothing has come of what it is made of. `fails`: as things are, the run would fail there."""


@dataclass(frozen=True)
class PlannedAsset:
    """What a run would do with one asset now.

    Attributes:
        asset: its key, as who asks for the plan names it.
        would: in words.
        reads: what it is made of, with versions where they are known.
        into: where it lands; empty if nobody knows yet.
        rows: rows the source would give now; None where that is not asked.
        first_partition, last_partition: of the range that the run covers.
        checkpoint: how far the stream (or its last partition) has landed.
        how: disposition, refine steps, or formats.
    """

    stage: str
    outcome: Outcome
    would: str
    reads: tuple[str, ...] = ()
    into: str = ""
    rows: int | None = None
    first_partition: str | None = None
    last_partition: str | None = None
    checkpoint: str | None = None
    how: tuple[str, ...] = ()
    asset: str = ""

    def over(self, partitions: Sequence[str]) -> "PlannedAsset":
        """The same over a range of partitions."""
        if not partitions:
            return self
        return replace(self, first_partition=partitions[0], last_partition=partitions[-1])


Upstream = Sequence[PlannedAsset]
"""What the same plan says of an asset's inputs."""


def plan_raw(
    engine: Engine, source: SourceSpec, stream: StreamSpec, partitions: Sequence[str] = ()
) -> PlannedAsset:
    """What a pull would read (a window, from a cursor on, or everything) and where it would land."""
    if stream.sync.mode == "capture":
        return _plan_captured(engine, source, stream)
    place, value = stream.place
    planned = PlannedAsset(
        "raw",
        "made",
        "read everything",
        reads=(f"{source.connection['kind']}: {place if place == 'query' else value}",),
        into=_place(engine, source, stream, "raw"),
        how=(stream.disposition,),
    ).over(partitions)
    return _told(planned, lambda: _of_source(engine, source, stream, tuple(partitions), planned))


def _plan_captured(engine: Engine, source: SourceSpec, stream: StreamSpec) -> PlannedAsset:
    """What `sis capture run` has landed is brought into the table; nothing is read from the source."""
    table = table_of(source, stream, "raw")
    planned = PlannedAsset(
        "raw",
        "made",
        "bring the table up to its change log",
        reads=(str(table.at("changes")),),
        into=_place(engine, source, stream, "raw"),
        how=("capture", f"deletes: {stream.sync.deletes}"),
    )
    if not engine.lake.exists(table.at("changes")):
        return replace(planned, outcome="waits", would="wait: `sis capture run` has landed nothing yet")
    return planned


def _of_source(
    engine: Engine, source: SourceSpec, stream: StreamSpec, partitions: tuple[str, ...], planned: PlannedAsset
) -> PlannedAsset:
    if source.connection["kind"] == "inbox" and not is_made(engine.settings.database_url):
        return replace(planned, outcome="waits", would="wait: nothing was pushed yet")
    store, table = engine.store(source, stream, "raw"), table_of(source, stream, "raw")
    held = store.exists(table)
    points: Mapping[str, Checkpoint] = store.checkpoints(table) if held else {}
    check_goes_on(source, stream, store.schema(table) if held else None, points)
    last = last_of(stream, points)
    planned = replace(planned, checkpoint=_checkpoint(points.get(partitions[-1]) if partitions else last))
    connection = open_declared(source, engine.settings)
    if isinstance(connection, Accompanied):
        import pyarrow as pa

        known = store.schema(table) if held else pa.schema([])
        connection.prepare(stream, known, last.detail.get("position") if last else None)
    found = due(connection, stream, points, partitions)
    if found is None:
        return replace(planned, outcome="unchanged", would="find nothing new")
    would = _reads(found, planned.would)
    try:
        count = connection.counted if isinstance(connection, Counted) else connection.count
        rows = count(found.request)
    except NothingYetError:
        return replace(planned, outcome="waits", would="wait: nothing has come of it yet")
    return replace(planned, would=would, rows=rows).over(found.partitions)


def _reads(found: Due, everything: str) -> str:
    """What is read, in words."""
    request, sync = found.request, found.request.stream.sync
    if request.window is not None:
        return f"read {sync.cursor} from {_text(request.window.start)} to before {_text(request.window.end)}"
    if sync.by == "hash" and found.last is not None:
        return "read everything, land the rows that are new"
    if request.after is not None:
        return f"read {sync.cursor} from {_text(request.after)} on"
    return "read what came after the last position" if request.position else everything


def plan_refined(
    engine: Engine, source: SourceSpec, stream: StreamSpec, partitions: Sequence[str], upstream: Upstream
) -> PlannedAsset:
    """Which raw rows would be refined, and into what."""
    raw = table_of(source, stream, "raw")
    planned = PlannedAsset(
        "refined",
        "made",
        "refine what the pull lands",
        reads=(_place(engine, source, stream, "raw"),),
        into=_place(engine, source, stream, "refined"),
        how=tuple(s.step for s in stream.refine),
    ).over(partitions)

    def look() -> PlannedAsset:
        found = refine.due(engine, source, stream, partitions=partitions)
        if found is None:
            version = engine.store(source, stream, "raw").version(raw)
            read = (f"{planned.reads[0]} version {version}",)
            return replace(planned, outcome="unchanged", would="find nothing new", reads=read)
        would = "refine all rows" if found.loads is None else f"refine {len(found.loads)} new load(s)"
        read = (f"{planned.reads[0]} version {found.raw_version}",)
        return replace(planned, would=would, reads=read).over(found.partitions if partitions else ())

    return _after(planned, upstream, look)


def plan_dictionary(
    engine: Engine, source: SourceSpec, stream: StreamSpec, upstream: Upstream
) -> PlannedAsset:
    """Whether the refined table would be described anew."""
    table = table_of(source, stream, "refined")
    planned = PlannedAsset(
        "dictionary",
        "made",
        "describe the refined rows",
        reads=(_place(engine, source, stream, "refined"),),
        into=describe.dictionary_prefix(table),
        how=("json", "markdown"),
    )

    def look() -> PlannedAsset:
        due = describe.is_due(engine, source, stream)
        version = engine.store(source, stream, "refined").version(table)
        found = replace(planned, reads=(f"{planned.reads[0]} version {version}",))
        return found if due else replace(found, outcome="unchanged", would="find nothing new")

    return _after(planned, upstream, look)


def plan_dataset(engine: Engine, spec: DatasetSpec, upstream: Upstream) -> PlannedAsset:
    """Whether a new version would be built, of which inputs, in which formats."""
    planned = PlannedAsset(
        "dataset",
        "made",
        "build a version, published if its content is new",
        reads=tuple(spec.inputs.values()),
        into=export.dataset_prefix(spec),
        how=spec.formats,
    )

    def look() -> PlannedAsset:
        due = export.is_due(engine, spec)
        tables = {key: export.input_table(engine, spec, alias) for alias, key in spec.inputs.items()}
        read = tuple(f"{key} version {engine.lake.version(table)}" for key, table in tables.items())
        found = replace(planned, reads=read)
        return found if due else replace(found, outcome="unchanged", would="find nothing new")

    return _after(planned, upstream, look)


def plan_own(reads: Sequence[str], into: str, upstream: Upstream) -> PlannedAsset:
    """An asset that is not declared but written: its function is run whenever it is asked for."""
    planned = PlannedAsset("own", "made", "run its function", reads=tuple(reads), into=into)
    return _after(planned, upstream, lambda: planned)


def _after(planned: PlannedAsset, upstream: Upstream, look: Callable[[], PlannedAsset]) -> PlannedAsset:
    """What becomes of an asset after its inputs; `look` says it where none of them changes before."""
    for outcome in ("fails", "waits"):
        if bad := [u.asset for u in upstream if u.outcome == outcome]:
            return replace(planned, outcome="waits", would=f"wait: nothing comes of {', '.join(bad)}")
    if any(u.outcome == "made" for u in upstream):
        return planned
    return _told(planned, look)


def _told(planned: PlannedAsset, look: Callable[[], PlannedAsset]) -> PlannedAsset:
    """What `look` finds; an error is what the run would fail with."""
    try:
        return look()
    except SisError as error:
        return replace(planned, outcome="fails", would=f"fail: {redact(str(error))}")


def _place(engine: Engine, source: SourceSpec, stream: StreamSpec, stage: Stage) -> str:
    """Where a stage's rows are kept, as a person would say it; never an address with credentials."""
    table = table_of(source, stream, stage)
    save = stream.saves.raw if stage == "raw" else stream.saves.refined
    match save.strategy:
        case "database":
            from superinsight_sync.lake.database import default_place

            return f"database table {save.table or '.'.join(default_place(table))}"
        case "memory":
            return f"{table.path} (memory of the run)"
        case "hybrid":
            return f"{table.path} (memory of the run, or the lake above {save.max_memory:,} bytes)"
    return table.path


def _checkpoint(point: Checkpoint | None) -> str | None:
    return None if point is None else _text(point.cursor if point.cursor is not None else point.at)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)

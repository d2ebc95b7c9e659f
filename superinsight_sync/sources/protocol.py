"""What every kind of source implements; one file in `kinds/` is one kind."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

from superinsight_sync.core.errors import SisError
from superinsight_sync.core.plugins import PluginConfig, Registry
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.model.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_BATCH_ROWS = 65_536


class Named(Protocol):
    """A kind's own idea of a column."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)


@dataclass(frozen=True)
class Capabilities:
    """What a kind can do. `places` are the stream keys it reads: table, query, path."""

    places: frozenset[str]
    incremental: bool = True
    snapshot: bool = False
    """A read sees one consistent state of the source however long it takes."""
    cancel: bool = False
    positions: bool = False
    """Whether it reads `by: position`: it knows itself where the next read begins."""
    late_commits: timedelta = timedelta(0)
    """The `lag` that its streams have unless they say otherwise: how late a row may be committed whose
    cursor is older. Zero if it cannot happen, or if its reads leave a `next_position` that covers it."""
    gives_bound: bool = True
    """A read by a cursor gives rows at its bound itself as long as the source has them: if it gives none, the
    source has gone behind its checkpoint. Not so where data comes and goes, or a server decides."""
    own_columns: frozenset[str] = frozenset()
    """Columns under names of ours that the kind itself adds to the source's."""
    found_types: bool = False
    """Columns are those that the records of a read have: one that none of them has is not gone."""


@dataclass(frozen=True)
class Column:
    """A column as the source has it and as it lands.

    Attributes:
        arrow: the Arrow type it is read as; `select` in the source's dialect gives values of that type.
        replaced: why some values become NULL (`infinite timestamps`), or None if every value survives.
    """

    name: str
    source_type: str
    arrow: "pa.DataType"
    nullable: bool = True
    select: str = ""
    replaced: str | None = None
    comment: str = ""

    @property
    def info(self) -> ColumnInfo:
        """The column as people see it."""
        return ColumnInfo(self.name, str(self.arrow), self.source_type, self.nullable, self.comment)


@dataclass(frozen=True)
class StreamShape:
    """What `describe` finds out of a stream."""

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = ()
    """(columns, table, its columns)."""
    row_estimate: int | None = None
    comment: str = ""


@dataclass(frozen=True)
class FoundStream:
    """A stream that could be declared, as `sis discover` lists it."""

    name: str
    place: str
    """The stream key it belongs to: one of `PLACES`."""
    value: str
    """`public.orders`, `orders/*.csv`."""
    columns: tuple[ColumnInfo, ...] = ()
    primary_key: tuple[str, ...] = ()
    cursor: str | None = None
    """A column that looks like a usable incremental cursor."""
    row_estimate: int | None = None
    counted: bool = False
    """Whether `row_estimate` was counted, and is no estimate."""
    format: Mapping[str, Any] = field(default_factory=dict)
    """What `format` of the stream has to say."""
    remark: str = ""
    """What a person should know before they trust the proposal."""
    problem: str = ""
    """Why it cannot be read; it is told and not proposed."""


@dataclass(frozen=True)
class Probe:
    """The connection test's result. `warnings` say what a person should change (the account can write).

    That this account could write a local file (`details["writable"]`) is none: it mostly owns it, and no kind
    opens one for writing.
    """

    server: str
    latency_ms: float
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadRequest:
    """What to read. Bounds are on the stream's cursor column.

    Attributes:
        window: half-open ``[start, end)`` for a partition.
        after: inclusive lower bound for an incremental read (the checkpoint minus lag). Rows without a cursor value
            are read as well, since no bound tells whether they are new; a window has none of them.
        limit: at most so many rows, for previews.
        columns: the only columns that are needed; a kind that can leaves out the others.
        position: what the last landed read of this stream left in `next_position`; None before the first.
        next_position: filled while reading, complete when the reader is drained: JSON-like, committed with the
            rows and given back as `position`. A read `by: position` goes from `position` to where the source
            ends when it starts; a read by a cursor may use it to reach back to rows committed late.
    """

    stream: StreamSpec
    window: Window | None = None
    after: Any = None
    limit: int | None = None
    batch_rows: int = DEFAULT_BATCH_ROWS
    replaced: Counter[str] = field(default_factory=Counter, compare=False)
    """Filled while reading: values that no Arrow value can hold and that were read as NULL, by column."""
    columns: tuple[str, ...] | None = None
    position: Mapping[str, Any] | None = None
    next_position: dict[str, Any] = field(default_factory=dict, compare=False)

    def needed(self, columns: Sequence[C]) -> tuple[C, ...]:
        """Those of a stream's columns that are asked for, in the stream's order."""
        return tuple(c for c in columns if self.columns is None or c.name in self.columns)


class Source(Protocol):
    """One configured customer system. Cheap to make; connects when a method needs it; usable from threads.

    Every method may raise TransientError, AccessError and ConfigError; drivers' errors are mapped to these
    and their texts redacted. Nothing it does can write to the source: the connection is read-only
    and a query passes a parser first.
    """

    capabilities: ClassVar[Capabilities]

    def __init__(self, config: Any, settings: Settings) -> None: ...

    def probe(self) -> Probe:
        """The connection test."""
        ...

    def discover(self) -> Iterator[FoundStream]:
        """What there is to read."""
        ...

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The stream's columns from the catalogue, never from the data alone. Raises ConfigError naming a
        column whose type cannot be read without loss, or a table or cursor column that is not there."""
        ...

    def read(self, request: ReadRequest) -> AbstractContextManager["pa.RecordBatchReader"]:
        """Streams the rows of one consistent state, with exactly the schema that `describe` gave.

        Memory is bounded by the batch. Closing early cancels the read at the source.
        """
        ...

    def count(self, request: ReadRequest) -> int:
        """How many rows `read` would give now."""
        ...

    def token(self, request: ReadRequest) -> str | None:
        """Cheap text that differs if the rows of `read` may differ; None if the kind cannot know."""
        ...


@runtime_checkable
class Accompanied(Protocol):
    """A source that is told what the lake holds of a stream, before `describe`, and how it ended."""

    def prepare(self, stream: StreamSpec, known: "pa.Schema", position: Any) -> None:
        """The table's columns (none if there is no table), and where the read will begin."""
        ...

    def landed(self, stream: StreamSpec, position: Any, load_id: str) -> Mapping[str, int | float]:
        """The rows up to this position are in the lake. May be told again. Numbers to show with the load."""
        ...

    def failed(self, stream: StreamSpec, error: SisError) -> None:
        """The rows could not be landed."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A source that knows of all that ever landed what its columns have to hold, and keeps it with its position."""

    def rewrites(self, stream: StreamSpec) -> "Mapping[str, Callable[[pa.Array], pa.Array]]":
        """Columns whose values in the table are to be written anew, as the type that `describe` told, so that the
        rows of the next read can stand beside them."""
        ...

    def settled(self, stream: StreamSpec) -> Mapping[str, Any]:
        """The position that says of a table that its values were written anew, and else as it was."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A source whose records were counted when they came."""

    def counted(self, request: ReadRequest) -> int:
        """How many records `read` would look at; those that cannot be rows count too. Reads none."""
        ...


@runtime_checkable
class SettingAside(Protocol):
    """What `Source.read` of some kinds returns besides being the context manager of the reader.

    Records that cannot be read as rows (a line with too many cells, text that is no JSON) fail the read
    with a DataError, unless `set_aside` was called before it was entered.
    """

    def set_aside(self, limit: int = 100_000) -> None:
        """Keep such records out of the rows; more than `limit` of them raise ThresholdError."""
        ...

    def rejects(self) -> "pa.Table":
        """Those set aside so far. Columns: file (string), line (int64, from 1), reason (string, without
        values), record (string, as it stood in the file)."""
        ...


@dataclass(frozen=True)
class Owner:
    """Whose a connection is, and how many streams are read at once through it."""

    tenant: str = ""
    source: str = ""
    streams_at_once: int = 4


@runtime_checkable
class Pooling(Protocol):
    """A source that keeps connections for the next who opens it, but never for another owner."""

    def pool_for(self, owner: Owner) -> None:
        """Called before anything else."""
        ...


SOURCE_KINDS: Registry[Source] = Registry("superinsight_sync.sources.kinds", "source kind")


def open_source(connection: dict[str, Any], settings: Settings) -> Source:
    """The source that a declaration's `connection` describes. Raises ConfigError for a wrong kind or key."""
    from superinsight_sync.sources.opening import open_connection

    return open_connection(connection, settings)


def open_declared(source: SourceSpec, settings: Settings) -> Source:
    """The source as declared; what it keeps open is for all in this process that open it. Raises as `open_source`."""
    opened = open_source(source.connection, settings)
    if isinstance(opened, Pooling):
        opened.pool_for(Owner(source.tenant, source.name, source.max_concurrency))
    return opened


class KindConfig(PluginConfig):
    """Base of the kinds' `Config`; `kind` itself is not part of it."""


class StreamOptions(PluginConfig):
    """Base of the kinds' `Options`: what a stream's `options` may hold. A kind without one takes none."""


def options_of(kind: str, stream: StreamSpec) -> Any:
    """The stream's options as the kind's ``Options``. Raises ConfigError for a wrong or missing one."""
    from superinsight_sync.sources.opening import checked_options

    return checked_options(kind, stream)

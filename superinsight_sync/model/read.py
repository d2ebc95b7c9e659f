"""What is asked of a source, and what it says of itself and of its streams."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from superinsight_sync.model.declaration import StreamSpec
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

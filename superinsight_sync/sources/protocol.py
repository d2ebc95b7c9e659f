"""What every kind of source implements; one file in `kinds/` is one kind."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from superinsight_sync.core.errors import SisError
from superinsight_sync.core.plugins import PluginConfig, Registry
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape

if TYPE_CHECKING:
    import pyarrow as pa


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


class KindConfig(PluginConfig):
    """Base of the kinds' `Config`; `kind` itself is not part of it."""


class StreamOptions(PluginConfig):
    """Base of the kinds' `Options`: what a stream's `options` may hold. A kind without one takes none."""

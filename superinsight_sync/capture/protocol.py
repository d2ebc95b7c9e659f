"""What every change feed implements; one file in `feeds/` follows one kind of log."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import Registry
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec

if TYPE_CHECKING:
    import pyarrow as pa

Op = Literal["insert", "update", "delete", "truncate", "snapshot", "snapshot_begin", "snapshot_end"]
"""A `snapshot` is a record as a chunk of a snapshot found it. What lies between `snapshot_begin` and `snapshot_end`
has every record there is: those that have not been seen since the begin are gone."""


class LogLostError(ConfigError):
    """The log no longer has what follows the position: changes are missing, and only a new snapshot finds them."""


@dataclass(frozen=True)
class Finding:
    """One thing that `check` looked at.

    Attributes:
        what: what was looked at, and what was found, for people.
        level: whether it is as it must be, could be better, or stops the capture.
        statement: what an administrator may run to mend it; empty if there is nothing to run.
    """

    what: str
    level: Literal["ok", "warning", "missing"] = "ok"
    statement: str = ""


@dataclass(frozen=True)
class SnapshotStep:
    """How far a snapshot of a stream came.

    Attributes:
        after: the key, as texts, up to which records have been read.
        done: whether that were all.
        again: keys of records that are to be read once more.
    """

    after: tuple[str, ...] | None = None
    done: bool = False
    again: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ChangeBatch:
    """Changes of one stream in the log's order.

    Attributes:
        rows: the stream's columns as a pull gives them; then `_sis_op`, `_sis_position` (both text),
            `_sis_committed_at` (timestamp, UTC) and `_sis_unchanged` (list of names of columns whose value the
            log did not repeat, NULL for none). A delete has at least its key, a truncate nothing.
        step: what the snapshot has reached with this batch, which ends a chunk of it.
    """

    stream: str
    rows: "pa.RecordBatch"
    step: SnapshotStep | None = None


@dataclass(frozen=True)
class Settled:
    """Every change before `position` has been given. Here the rows may be committed.

    Attributes:
        position: where to go on after a restart; texts of one log sort as it does.
        committed_at: of the newest change given, by the source's clock; None if there was none.
        unsettled: what the feed must be told after a restart.
    """

    position: str
    committed_at: datetime | None = None
    unsettled: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reread:
    """Records of the stream may have got values that no change tells of: it needs a snapshot."""

    stream: str


@dataclass(frozen=True)
class Lag:
    """How far the log is ahead.

    Attributes:
        retained_bytes: what the source keeps of its log because of us.
        behind_bytes: of that, what has been written since the position acknowledged.
        limit_bytes: after how much the source stops keeping it; None: never.
    """

    retained_bytes: int
    behind_bytes: int
    limit_bytes: int | None = None


@dataclass(frozen=True)
class Resume:
    """Where a feed goes on.

    Attributes:
        position: what has landed; None before the first time.
        unsettled: of the newest `Settled` that has landed.
        shapes: of each stream what `Session.shape` gave when its last snapshot began.
    """

    position: str | None = None
    unsettled: tuple[int, ...] = ()
    shapes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """How big the pieces are that a feed gives.

    Attributes:
        window_s: how long changes are gathered before they can be committed.
        batch_rows, batch_bytes: at most so much in a batch.
        chunk_rows: records in a chunk of a snapshot.
        look_s: how often tables are looked at for what their log does not tell.
    """

    window_s: float = 0.2
    batch_rows: int = 8_192
    batch_bytes: int = 8 << 20
    window_rows: int = 100_000
    chunk_rows: int = 20_000
    idle_s: float = 1.0
    look_s: float = 5.0


class Session(Protocol):
    """A log that is being followed. Used by one thread."""

    def items(self) -> Iterator[ChangeBatch | Settled | Reread]:
        """Batches, where they may be committed, and which streams need a snapshot; for ever.

        While nothing happens, `Settled` comes every second or so. Whoever gets it may take as long as it needs
        inside `kept_alive`.

        Raises LogLostError, TransientError, AccessError, ConfigError, DataError.
        """
        ...

    def snapshot(self, stream: StreamSpec, step: SnapshotStep) -> None:
        """From now on also gives the records there are from this step on, chunk by chunk, in an order with the
        changes that makes the last one of a key its newest. One stream at a time."""
        ...

    def shape(self, stream: StreamSpec) -> str:
        """What the stream's columns are at the source now, in the feed's own words."""
        ...

    @property
    def snapshotting(self) -> str | None:
        """The stream whose snapshot goes on."""
        ...

    def acknowledge(self, position: str) -> None:
        """Everything before it has landed: the source need not keep it."""
        ...

    def kept_alive(self) -> AbstractContextManager[None]:
        """While in the block, the source knows that its reader lives."""
        ...


class Feed(Protocol):
    """The log of one declared source. Cheap to make; connects when a method needs it."""

    kinds: ClassVar[frozenset[str]]
    """The kinds of sources whose log it follows."""

    def __init__(self, source: SourceSpec, settings: Settings, pace: Pace) -> None: ...

    def check(self) -> tuple[Finding, ...]:
        """What the source needs for its log to be followed, and whether it has it. Changes nothing."""
        ...

    def prepare(self, *, fresh: bool, begun: Collection[str]) -> None:
        """Makes at the source what the declaration asks for and is not there yet.

        Args:
            fresh: nothing has landed yet, so that the log may be followed from now on.
            begun: names of streams that go on from what has landed of them.

        Raises LogLostError if the log has not told of one of these for a time.
        """
        ...

    def follow(self, resume: Resume) -> AbstractContextManager[Session]:
        """Follows the log from there. Raises LogLostError if it does not go back so far."""
        ...

    def lag(self) -> Lag:
        """How far the log is ahead now."""
        ...

    def drop(self) -> Collection[str]:
        """Takes away what `prepare` made; what that was."""
        ...


FEEDS: Registry[Feed] = Registry("superinsight_sync.capture.feeds", "change feed")


def captured_streams(source: SourceSpec) -> tuple[StreamSpec, ...]:
    """The streams that follow the log."""
    return tuple(s for s in source.streams if s.sync.mode == "capture")


def feed_kinds() -> dict[str, str]:
    """Kind of source → the feed that follows its log."""
    return {kind: name for name in FEEDS.names() for kind in FEEDS.load(name).kinds}


def open_feed(source: SourceSpec, settings: Settings, pace: Pace | None = None) -> Feed:
    """The feed of a source. Raises ConfigError if its kind has no log that can be followed."""
    kind = source.connection["kind"]
    known = feed_kinds()
    if kind not in known:
        raise ConfigError(
            f"kind '{kind}' has no change log that can be captured",
            where=f"source '{source.name}'",
            hint=f"Capture {', '.join(sorted(known))}; read others with mode: incremental",
        )
    return FEEDS.load(known[kind])(source, settings, pace or Pace())

"""Kind `inbox`: what the gateway accepted for a push source. `superinsight_sync.PushSource` declares it."""

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, NothingYetError, SisError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import Size, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.sources.opening import options_of
from superinsight_sync.sources.protocol import KindConfig, StreamOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.sources.inbox.forms import Convert
    from superinsight_sync.sources.inbox.reading import InboxRead, Stretch
    from superinsight_sync.sources.inbox.shape import Shape
    from superinsight_sync.state.inbox import Inbox


class Config(KindConfig):
    """Whose deliveries."""

    tenant: str
    """The push source's tenant."""
    source: str
    """The push source's name."""


class Options(StreamOptions):
    """Of a pushed stream."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Declared column types; the others are found in the records."""
    record: str | None = None
    """Where the record is within a delivery."""
    decompressed: Size = 4 << 30
    """Most bytes of a delivery when unpacked."""
    record_bytes: Size = 1 << 28
    """Most bytes of one line of NDJSON."""
    nesting: int = 500
    """How deep values lie within values."""
    headers: tuple[str, ...] = ()
    """Columns for headers of webhooks, as the gateway kept them."""


class InboxSource:
    """The inbox in our own database, in the order in which deliveries were accepted. `endpoint` is the stream.

    Everything between the position and the newest delivery is looked at first, so that its columns and types
    are known; then it is read.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"endpoint"}),
        positions=True,
        found_types=True,
        own_columns=frozenset({"_sis_delivery", "_sis_seq", "_sis_received_at"}),
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config, self._settings = config, settings
        self._known: pa.Schema | None = None
        self._position: dict[str, Any] = {}
        self._looked_at: dict[str, tuple[int, Shape]] = {}

    @cached_property
    def _inbox(self) -> "Inbox":
        from superinsight_sync.state.inbox import Inbox
        from superinsight_sync.state.opening import open_state

        return Inbox(open_state(self._settings.database_url).database, self._settings.landing_dir)

    def probe(self) -> Probe:
        """Asks our database what waits."""
        began_s = time.perf_counter()
        waiting = self._inbox.backlog(self._config.tenant, self._config.source)
        details: dict[str, Any] = {"waiting": waiting.deliveries, "waiting_bytes": waiting.size_bytes}
        if waiting.oldest_at is not None:
            details["oldest_at"] = waiting.oldest_at.isoformat()
        return Probe("the gateway's inbox", 1000 * (time.perf_counter() - began_s), details=details)

    def discover(self) -> Iterator[FoundStream]:
        """The streams that something was pushed to."""
        for name in self._streams():
            stream = StreamSpec(name=name, endpoint=name)
            columns = tuple(c.info for c in self.describe(stream).columns)
            yield FoundStream(name, "endpoint", name, columns)

    def _streams(self) -> tuple[str, ...]:
        return self._inbox.streams(self._config.tenant, self._config.source)

    def prepare(self, stream: StreamSpec, known: "pa.Schema", position: Any) -> None:
        """See `sources.protocol.Accompanied`. Raises ConfigError for a position in another inbox."""
        self._known, self._position = known, dict(position or {})
        inbox = self._inbox
        if position and (position["inbox"] != inbox.identity() or int(position["seq"]) > inbox.newest()):
            raise ConfigError(
                "the table was landed from another inbox, or from this one before it was restored from a backup",
                where=f"stream '{stream.name}'",
                hint=f"`sis state reset {self._config.source}.{stream.name}` lands what is in this one, all of it",
            )

    def landed(self, stream: StreamSpec, position: Any, load_id: str) -> dict[str, int | float]:
        """Notes up to where deliveries are in the lake. Done again it changes nothing."""
        if not position:
            return {}
        where = (self._config.tenant, self._config.source, stream.endpoint or "")
        count, oldest_at = self._inbox.mark_landed(*where, seq=int(position["seq"]), load_id=load_id)
        if oldest_at is None:
            return {}
        return {"deliveries": count, "longest_wait_s": round((utc_now() - oldest_at).total_seconds(), 3)}

    def failed(self, stream: StreamSpec, error: SisError) -> None:
        """Notes with what waits why it does."""
        self._inbox.mark_failed(self._config.tenant, self._config.source, stream.endpoint or "", error)

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The columns of all records that wait. Raises NothingYetError if nothing was pushed that has any."""
        if stream.sync.cursor:
            raise ConfigError(
                "what was pushed has no cursor",
                where=f"stream '{stream.name}'",
                hint="Use sync: {mode: incremental, by: position}",
            )
        mark, shape = self._shape(stream)
        columns = shape.columns
        if not columns or not mark:
            raise _nothing_yet(stream)
        return StreamShape(columns)

    def rewrites(self, stream: StreamSpec) -> "Mapping[str, Convert]":
        """See `sources.protocol.Settling`."""
        return self._shape(stream)[1].rewrites()

    def settled(self, stream: StreamSpec) -> dict[str, Any]:
        """See `sources.protocol.Settling`."""
        return {**self._position, "kinds": self._shape(stream)[1].kinds}

    def _shape(self, stream: StreamSpec) -> "tuple[int, Shape]":
        """Up to where it was looked at, and what was found; once for a source that is opened."""
        from superinsight_sync.sources.inbox.reading import deliveries, grouped
        from superinsight_sync.sources.inbox.shape import Shape

        key = stream.model_dump_json(include={"endpoint", "options", "primary_key", "schema_contract"})
        if key not in self._looked_at:
            inbox, options = self._inbox, options_of("inbox", stream)
            mark = self._mark(stream)
            shape = Shape(
                options.columns,
                self._known,
                stream.primary_key,
                kinds=self._position.get("kinds"),
                grows=stream.contract.types == "evolve",
                headers=options.headers,
            )
            after = int(self._position.get("seq", 0))
            found = deliveries(inbox, self._stretch(stream, mark), after, options)
            for group in grouped(found):
                shape.see([text for _, delivery in group for text in delivery.texts])
            self._looked_at[key] = (mark, shape)
        return self._looked_at[key]

    def _mark(self, stream: StreamSpec) -> int:
        where = (self._config.tenant, self._config.source, stream.endpoint or "")
        return self._inbox.last(*where)

    def _stretch(self, stream: StreamSpec, mark: int) -> "Stretch":
        return (self._config.tenant, self._config.source, stream.endpoint or "", mark)

    def read(self, request: ReadRequest) -> "InboxRead":
        """Streams the rows, delivery by delivery."""
        from superinsight_sync.sources.inbox.reading import InboxRead

        self.describe(request.stream)
        mark, shape = self._shape(request.stream)
        options = options_of("inbox", request.stream)
        stretch = self._stretch(request.stream, mark)
        return InboxRead(self._inbox, shape, request, stretch, _after(request), options)

    def count(self, request: ReadRequest) -> int:
        """Counts by reading. Records that cannot be rows do not count."""
        return self.read(request).count()

    def counted(self, request: ReadRequest) -> int:
        """What the gateway counted: no delivery is opened. Raises NothingYetError as `describe`."""
        mark = self._mark(request.stream)
        if not mark:
            raise _nothing_yet(request.stream)
        where = self._stretch(request.stream, mark)
        return self._inbox.records(*where[:3], after=_after(request), last=mark)

    def token(self, request: ReadRequest) -> str | None:
        """The order number of the newest delivery."""
        return str(self._mark(request.stream))


def _after(request: ReadRequest) -> int:
    by_position = request.stream.sync.by == "position"
    return int((request.position or {}).get("seq", 0)) if by_position else 0


def _nothing_yet(stream: StreamSpec) -> NothingYetError:
    return NothingYetError(
        "nothing was pushed to it that could be a row",
        where=f"stream '{stream.name}'",
        hint="Push a first record: `sis receive show` has examples",
    )


PLUGIN = InboxSource

"""SOAP services: the records of one operation, by its WSDL.

SOAP cannot say which operations read. Only the operation that a stream names is called, and only if its name
begins with a word of reading, unless the declaration confirms that it reads.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import Declared, Duration, Size, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.opening import options_of
from superinsight_sync.sources.protocol import KindConfig, StreamOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.sources.soap.wsdl import Contract, Records
    from superinsight_sync.sources.topics.reading import Aside, TopicRead


class Config(KindConfig):
    """How to reach a SOAP service."""

    wsdl: str
    """The WSDL: a URL, or a file relative to the project, whose imports stay in its folder."""
    address: str | None = None
    """Where calls go, if not where the WSDL says. Needed to send the account to another host than the WSDL's."""
    auth: Literal["basic", "wsse", "wsse_digest"] | None = None
    """How we say who we are: HTTP basic, or a WS-Security user name token, plain or as digest."""
    user: str | None = None
    """The account, for `auth`."""
    password: str | None = None
    """Its password, by reference: "{{ env.ERP_PASSWORD }}"."""
    allow_private: bool = False
    """Whether the service may be inside a private network (or on this machine)."""
    allow_networks: tuple[str, ...] = ()
    """Networks that the service may be in whatever they are: `10.20.0.0/16`."""
    timeout: Duration = timedelta(seconds=60)
    """Longest wait for a connection, or for the next part of an answer."""
    max_response: Size = Field(default=64 * 10**6, ge=1)
    """An answer of more bytes than this is refused."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({v is None for v in (self.auth, self.user, self.password)}) > 1:
            raise ValueError("auth, user and password belong together")
        return self


class Page(Declared):
    """How an operation pages."""

    param: str
    """The param that says which page."""
    start: int = 1
    """Its first value."""
    counts: Literal["pages", "records"] = "pages"
    """What it counts: pages, or the records before (then `size` is the step)."""
    size_param: str | None = None
    """The param that says how many records a page has."""
    size: int = Field(default=500, ge=1)
    """How many."""
    ends_short: bool = False
    """Whether a page with fewer records than `size` is the last; else the first empty page is."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.counts == "records" and not self.size_param:
            raise ValueError("counts: records needs size_param")
        return self


class Options(StreamOptions):
    """Of an operation."""

    service: str | None = None
    """The service, if the WSDL has several with this operation."""
    port: str | None = None
    """The port, likewise."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What every call is given; texts may refer to the environment: "{{ env.X }}"."""
    records: str | None = None
    """Where the records are in the answer: names with dots between, below its outermost element. Default: the
    one place where there can be several of something."""
    since_param: str | None = None
    """The param that takes the lower bound of an incremental read."""
    page: Page | None = None
    """How the operation pages. Default: one answer holds all."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Columns that are of another type than the WSDL's, such as `decimal(12,2)` or `timestamp_ntz`."""
    confirmed_read: bool = False
    """Says that the operation changes nothing, where its name does not begin with a word like Get or List."""


class SoapSource:
    """A SOAP 1.1 or 1.2 service, document or RPC style with literal encoding."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({"operation"}), cancel=True, gives_bound=False
    )

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    @contextmanager
    def _contract(self) -> "Iterator[Contract]":
        from zeep.wsse.username import UsernameToken

        from superinsight_sync.security.net import guard_of
        from superinsight_sync.sources.soap.transport import SoapTransport, host_of
        from superinsight_sync.sources.soap.wsdl import Contract

        config = self._config
        wsdl = resolve(config.wsdl)
        if not wsdl.startswith(("http://", "https://")):
            wsdl = str(self._settings.project_dir / wsdl)
        account = (resolve(config.user or ""), resolve(config.password or ""))
        trusted = frozenset(host_of(u) for u in (wsdl, config.address or wsdl))
        transport = SoapTransport(
            wsdl,
            timeout_s=config.timeout.total_seconds(),
            guard=guard_of(allow_private=config.allow_private, allow_networks=config.allow_networks),
            max_response=config.max_response,
            auth=account if config.auth == "basic" else None,
            trusted=trusted,
        )
        token = None
        if config.auth in ("wsse", "wsse_digest"):
            digest = config.auth == "wsse_digest"
            token = UsernameToken(*account, use_digest=digest)
        try:
            yield Contract(wsdl, transport, token)
        finally:
            transport.close()

    def probe(self) -> Probe:
        """Loads the WSDL; calls nothing."""
        started = time.perf_counter()
        with self._contract() as contract:
            latency_ms = 1000 * (time.perf_counter() - started)
            operations = sorted({n for _, _, n, _ in contract.operations()})
        warning = "SOAP cannot prove that an operation only reads; give the account read rights only"
        return Probe("SOAP service", latency_ms, (warning,), {"operations": len(operations)})

    def discover(self) -> Iterator[FoundStream]:
        """A stream for each operation whose name says that it reads and whose answer holds records."""
        from superinsight_sync.core.errors import SisError
        from superinsight_sync.model.naming import topic_name
        from superinsight_sync.sources.soap.wsdl import reads_by_name, records_of

        taken: set[str] = set()
        seen: set[str] = set()
        with self._contract() as contract:
            for _, _, name, operation in contract.operations():
                if name in seen or not reads_by_name(name):
                    continue
                seen.add(name)
                try:
                    fields = records_of(operation, None, {}, "").fields
                except SisError:
                    continue
                yield FoundStream(
                    topic_name(name, taken), "operation", name, tuple(f.column.info for f in fields)
                )

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The columns of the operation's records, from the WSDL."""
        with self._contract() as contract:
            return StreamShape(tuple(f.column for f in self._records(contract, stream).fields))

    def _records(self, contract: "Contract", stream: StreamSpec) -> "Records":
        from superinsight_sync.core.errors import SisError
        from superinsight_sync.model.naming import need_columns
        from superinsight_sync.sources.soap.wsdl import records_of

        options, where = options_of("soap", stream), f"stream '{stream.name}'"
        try:
            _, _, operation = contract.operation(
                _operation_of(stream, options), options.service, options.port
            )
            records = records_of(operation, options.records, options.columns, where)
            need_columns(stream, [f.column.name for f in records.fields])
        except SisError as error:
            raise error.at(where) from None
        return records

    def read(self, request: ReadRequest) -> "TopicRead":
        """Streams the records. `set_aside` and `rejects` of what it returns deal with those that are no rows."""
        from superinsight_sync.records.batches import schema_of
        from superinsight_sync.sources.soap.reading import OperationReader
        from superinsight_sync.sources.topics.reading import TopicRead

        stream = request.stream
        options = options_of("soap", stream)
        columns = self.describe(stream).columns
        params = _resolved(options.params)

        def batches(aside: "Aside") -> "Generator[pa.RecordBatch, None, None]":
            with self._contract() as contract:
                records = self._records(contract, stream)
                call = self._caller(contract, stream, options)
                yield from OperationReader(call, request, options, params, records).batches(aside)

        return TopicRead(schema_of(columns), request, stream.operation or "", batches)

    def _caller(self, contract: "Contract", stream: StreamSpec, options: Options) -> Any:
        from superinsight_sync.sources.soap.answers import body_of
        from superinsight_sync.sources.soap.transport import host_of

        name = _operation_of(stream, options)
        service, port, _ = contract.operation(name, options.service, options.port)
        where, address = f"operation '{name}'", contract.address(service, port)
        to = resolve(self._config.address or address)
        wsdl = resolve(self._config.wsdl)
        if self._config.auth and not self._config.address and host_of(to) != host_of(wsdl):
            raise ConfigError(
                "the WSDL sends calls to another host than its own, which is not given the account",
                where="connection",
                hint="If that is right, write it as connection.address",
            )

        def call(params: dict[str, Any]) -> Any:
            answer = contract.call(service, port, name, params, to)
            return body_of(answer, where)[0]

        return call

    def count(self, request: ReadRequest) -> int:
        """Counts by reading. Records that cannot be rows do not count."""
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """None: SOAP has no such thing."""
        return None


def _operation_of(stream: StreamSpec, options: Options) -> str:
    from superinsight_sync.sources.soap.wsdl import reads_by_name

    if stream.operation is None:
        raise ConfigError("a stream of a SOAP service needs `operation`", where=f"stream '{stream.name}'")
    if not options.confirmed_read and not reads_by_name(stream.operation):
        raise ConfigError(
            f"the name '{stream.operation}' does not say that the operation only reads",
            where=f"stream '{stream.name}'",
            hint="If it changes nothing, write options: {confirmed_read: true}",
        )
    return stream.operation


def _resolved(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _resolved(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolved(v) for v in value]
    return resolve(value) if isinstance(value, str) else value


PLUGIN = SoapSource

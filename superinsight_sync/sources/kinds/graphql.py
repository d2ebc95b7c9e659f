"""Kind `graphql`: records of a GraphQL API, connection page by connection page."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.sources.http.options import (
    HttpConfig,
    HttpOptions,
    Increment,
    NoPages,
    Pagination,
)
from superinsight_sync.sources.protocol import (
    Capabilities,
    FoundStream,
    Probe,
    ReadRequest,
    StreamShape,
    options_of,
)

if TYPE_CHECKING:
    from superinsight_sync.sources.files.rejects import Rejects
    from superinsight_sync.sources.http.client import Api
    from superinsight_sync.sources.http.paging import Page
    from superinsight_sync.sources.http.reading import HttpRead
    from superinsight_sync.sources.http.rows import Shape


class Config(HttpConfig):
    """A GraphQL API. `base_url` is the address that takes queries."""


class Options(HttpOptions):
    """A stream's records, pages and bounds. Parameters are variables of the query."""

    records: str | None = None
    """Where the response has the list of records, such as `data.orders.nodes`. Default: the query's first
    field, or its `nodes` or `edges`."""
    node: str | None = None
    """The field of each edge that holds the record, where `records` is a list of edges."""
    variables: dict[str, Any] = Field(default_factory=dict)
    """Variables of every request."""
    pagination: Pagination | None = None
    """How to get the next page. Default: of a connection that asks for `pageInfo { hasNextPage endCursor }` and
    takes `after: $after`, its next page; else one response holds everything."""
    increment: Increment | None = None
    """How increments and windows are asked for. Default: everything is read and filtered here."""
    partial: Literal["fail", "take"] = "fail"
    """A response with data and errors: stop, or take the data and set the errors aside."""


class GraphqlSource:
    """A GraphQL API. Sends queries, never a mutation or subscription."""

    capabilities: ClassVar[Capabilities] = Capabilities(places=frozenset({"query"}), cancel=True)

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._shapes: dict[str, Shape] = {}

    def _api(self) -> "Api":
        from superinsight_sync.sources.http.client import Api

        return Api(self._config)

    def probe(self) -> Probe:
        """Asks for the name of the root type."""
        from superinsight_sync.sources.http.client import Call

        began_s = time.perf_counter()
        with self._api() as api:
            call = Call(api.base_url, "POST", body={"query": "{ __typename }"})
            api.fetch(call)
            server = api.probe(call)
        return Probe(server, 1000 * (time.perf_counter() - began_s))

    def discover(self) -> Iterator[FoundStream]:
        """A query for each list and connection of the schema, if the API tells it."""
        from superinsight_sync.sources.http.graphql import found_streams

        with self._api() as api:
            yield from found_streams(api)

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The declared columns and those of the records on the first pages."""
        return StreamShape(self._sampled(stream).columns)

    def read(self, request: ReadRequest) -> "HttpRead":
        """Streams the rows. `set_aside` and `rejects` of what it returns deal with records that do not fit."""
        from superinsight_sync.sources.http.reading import HttpRead

        shape = self._shapes.get(_key(request.stream)) or self._sampled(request.stream)
        return HttpRead(self._api, shape, request, lambda api, rejects: self._pages(api, request, rejects))

    def count(self, request: ReadRequest) -> int:
        """Counts by reading. Records that fit no row do not count."""
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """An API cannot tell without being read."""
        return None

    def _sampled(self, stream: StreamSpec) -> "Shape":
        from superinsight_sync.sources.http.rows import Shape

        options: Options = options_of("graphql", stream)
        form = options.increment.format if options.increment else ""
        shape = Shape(stream, options.columns, {"epoch_s": 1, "epoch_ms": 1000}.get(form))
        with self._api() as api:
            shape.sample(islice(self._pages(api, ReadRequest(stream), None), options.sample_pages))
        self._shapes[_key(stream)] = shape
        return shape

    def _pages(self, api: "Api", request: ReadRequest, rejects: "Rejects | None") -> "Iterator[Page]":
        from superinsight_sync.sources.http.bounds import bound_params
        from superinsight_sync.sources.http.graphql import GraphqlCall, checked_query, nodes_of
        from superinsight_sync.sources.http.paging import Walk

        options: Options = options_of("graphql", request.stream)
        query = checked_query(request.stream.query or "")
        records, node = (options.records, options.node) if options.records else (query.records, query.node)
        pagination = options.pagination or query.pagination or NoPages()
        variables = {**options.variables, **bound_params(options.increment, request)}
        call = GraphqlCall(api.base_url, "POST", body={"query": query.text, "variables": variables})
        error = "errors" if options.partial == "fail" else None
        walk = Walk(api, pagination, records, in_body=True, max_pages=options.max_pages, error=error)
        for page in walk.pages(call):
            problems = page.document.part("errors")
            if problems is not None and rejects is not None:
                reason = "the server answered this page with errors beside its data"
                rejects.add(f"page {page.number}", None, reason, problems.decode(errors="replace"))
            yield replace(page, records=nodes_of(page.records, node)) if node else page


def _key(stream: StreamSpec) -> str:
    return stream.model_dump_json(include={"name", "query", "options", "sync", "primary_key"})


PLUGIN = GraphqlSource

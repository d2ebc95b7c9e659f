"""Kind `graphql`: records of a GraphQL API, connection page by connection page."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from superinsight_sync.model.read import Capabilities, FoundStream, ReadRequest
from superinsight_sync.sources.http.options import (
    HttpConfig,
    HttpOptions,
    NoPages,
    Pagination,
)
from superinsight_sync.sources.http.source import ApiSource
from superinsight_sync.sources.opening import options_of

if TYPE_CHECKING:
    from superinsight_sync.records.json_document import Page
    from superinsight_sync.records.rejects import Rejects
    from superinsight_sync.sources.http.client import Api


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
    partial: Literal["fail", "take"] = "fail"
    """A response with data and errors: stop, or take the data and set the errors aside."""


class GraphqlSource(ApiSource):
    """A GraphQL API. Sends queries, never a mutation or subscription."""

    kind = "graphql"
    capabilities: ClassVar[Capabilities] = Capabilities(
        places=frozenset({"query"}), cancel=True, gives_bound=False
    )

    def _greet(self, api: "Api") -> str:
        """Asks for the name of the root type."""
        from superinsight_sync.sources.http.client import Call

        call = Call(api.base_url, "POST", body={"query": "{ __typename }"})
        api.fetch(call)
        return api.probe(call)

    def discover(self) -> Iterator[FoundStream]:
        """A query for each list and connection of the schema, if the API tells it."""
        from superinsight_sync.sources.http.graphql import found_streams

        with self._api() as api:
            yield from found_streams(api)

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
        error: str | Literal[False] = "errors" if options.partial == "fail" else False
        walk = Walk(
            api,
            pagination,
            records,
            in_body=True,
            max_pages=options.max_pages,
            error=error,
            one_object=options.one_object,
        )
        for page in walk.pages(call):
            problems = page.document.part("errors")
            if problems is not None and rejects is not None:
                reason = "the server answered this page with errors beside its data"
                rejects.add(f"page {page.number}", None, reason, problems.decode(errors="replace"))
            yield replace(page, records=nodes_of(page.records, node)) if node else page


PLUGIN = GraphqlSource

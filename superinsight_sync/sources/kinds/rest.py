"""Kind `rest`: JSON APIs over HTTP, page by page."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.read import Capabilities, FoundStream, ReadRequest
from superinsight_sync.sources.http.options import HttpConfig, RestOptions
from superinsight_sync.sources.http.source import ApiSource
from superinsight_sync.sources.opening import options_of

if TYPE_CHECKING:
    from superinsight_sync.records.json_document import Page
    from superinsight_sync.records.rejects import Rejects
    from superinsight_sync.sources.http.client import Api


class Config(HttpConfig):
    """A REST API."""


class Options(RestOptions):
    """A stream's records, pages and bounds."""


class RestSource(ApiSource):
    """A REST API. Sends GET, and POST where a stream declares a search."""

    kind = "rest"
    capabilities: ClassVar[Capabilities] = Capabilities(
        places=frozenset({"endpoint"}), cancel=True, gives_bound=False
    )

    def _greet(self, api: "Api") -> str:
        """Asks for the base address. A 404 there is an answer, too."""
        from superinsight_sync.sources.http.client import Call

        return api.probe(Call(api.base_url))

    def discover(self) -> Iterator[FoundStream]:
        """The lists in the API's OpenAPI document, if it serves one at `openapi.json`."""
        from superinsight_sync.sources.http.client import Call
        from superinsight_sync.sources.http.openapi import found_streams

        with self._api() as api:
            try:
                document = api.fetch(Call(api.url("openapi.json")))
            except ConfigError:
                return
        yield from found_streams(document)

    def _pages(self, api: "Api", request: ReadRequest, rejects: "Rejects | None") -> "Iterator[Page]":
        from superinsight_sync.sources.http.bounds import bound_params
        from superinsight_sync.sources.http.children import child_pages, parents_of, placed
        from superinsight_sync.sources.http.client import Call
        from superinsight_sync.sources.http.paging import Walk

        options: Options = options_of("rest", request.stream)
        endpoint = request.stream.endpoint or ""
        in_body = options.params_in == "body"
        if options.method == "GET" and (options.body is not None or in_body):
            raise ConfigError("a GET has no body", hint="Write options: {method: POST}")
        bounds = bound_params(options.increment, request)

        def pages_of(fields: dict[str, object]) -> "Iterator[Page]":
            call = Call(api.url(placed(endpoint, fields)), options.method, dict(options.params), options.body)
            walk = Walk(
                api,
                options.pagination,
                options.records,
                in_body,
                options.max_pages,
                options.error,
                options.one_object,
            )
            for page in walk.pages(call.having(bounds, in_body=in_body)):
                yield replace(page, extra=fields)

        parent = options.parent
        if parent is None:
            return pages_of({})
        unasked: Literal[False] | None = False if options.error is False else None
        walk = Walk(
            api,
            parent.pagination,
            parent.records,
            max_pages=options.max_pages,
            error=unasked,
            one_object=parent.one_object,
        )
        parents = parents_of(
            walk.pages(Call(api.url(parent.endpoint), params=dict(parent.params))), parent.fields
        )
        return child_pages(parents, pages_of, self._config.max_concurrency)


PLUGIN = RestSource

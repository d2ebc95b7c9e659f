"""Kind `rest`: JSON APIs over HTTP, page by page."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.sources.http.options import HttpConfig, RestOptions
from superinsight_sync.sources.protocol import (
    Capabilities,
    FoundStream,
    Probe,
    ReadRequest,
    StreamShape,
    options_of,
)

if TYPE_CHECKING:
    from superinsight_sync.sources.http.client import Api
    from superinsight_sync.sources.http.paging import Page
    from superinsight_sync.sources.http.reading import HttpRead
    from superinsight_sync.sources.http.rows import Shape


class Config(HttpConfig):
    """A REST API."""


class Options(RestOptions):
    """A stream's records, pages and bounds."""


class RestSource:
    """A REST API. Sends GET, and POST where a stream declares a search."""

    capabilities: ClassVar[Capabilities] = Capabilities(places=frozenset({"endpoint"}), cancel=True)

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._shapes: dict[str, Shape] = {}

    def _api(self) -> "Api":
        from superinsight_sync.sources.http.client import Api

        return Api(self._config)

    def probe(self) -> Probe:
        """Asks for the base address. A 404 there is an answer, too."""
        from superinsight_sync.sources.http.client import Call

        began_s = time.perf_counter()
        with self._api() as api:
            server = api.probe(Call(api.base_url))
        return Probe(server, 1000 * (time.perf_counter() - began_s))

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

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The declared columns and those of the records on the first pages."""
        return StreamShape(self._sampled(stream).columns)

    def read(self, request: ReadRequest) -> "HttpRead":
        """Streams the rows. `set_aside` and `rejects` of what it returns deal with records that do not fit."""
        from superinsight_sync.sources.http.reading import HttpRead

        shape = self._shapes.get(_key(request.stream)) or self._sampled(request.stream)
        return HttpRead(self._api, shape, request, lambda api, _: self._pages(api, request))

    def count(self, request: ReadRequest) -> int:
        """Counts by reading. Records that fit no row do not count."""
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """An API cannot tell without being read."""
        return None

    def _sampled(self, stream: StreamSpec) -> "Shape":
        from superinsight_sync.sources.http.rows import Shape

        options: Options = options_of("rest", stream)
        form = options.increment.format if options.increment else ""
        shape = Shape(stream, options.columns, {"epoch_s": 1, "epoch_ms": 1000}.get(form))
        with self._api() as api:
            shape.sample(islice(self._pages(api, ReadRequest(stream)), options.sample_pages))
        self._shapes[_key(stream)] = shape
        return shape

    def _pages(self, api: "Api", request: ReadRequest) -> "Iterator[Page]":
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
            walk = Walk(api, options.pagination, options.records, in_body, options.max_pages, options.error)
            for page in walk.pages(call.having(bounds, in_body=in_body)):
                yield replace(page, extra=fields)

        parent = options.parent
        if parent is None:
            return pages_of({})
        walk = Walk(api, parent.pagination, parent.records, max_pages=options.max_pages)
        parents = parents_of(
            walk.pages(Call(api.url(parent.endpoint), params=dict(parent.params))), parent.fields
        )
        return child_pages(parents, pages_of, self._config.max_concurrency)


def _key(stream: StreamSpec) -> str:
    return stream.model_dump_json(include={"name", "endpoint", "options", "sync", "primary_key"})


PLUGIN = RestSource

"""What the kinds of APIs have in common."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Probe, ReadRequest, StreamShape
from superinsight_sync.records.sampled_shape import Sampled
from superinsight_sync.sources.http.options import HttpConfig, HttpOptions
from superinsight_sync.sources.opening import options_of

if TYPE_CHECKING:
    from superinsight_sync.records.json_document import Page
    from superinsight_sync.records.json_rows import Shape
    from superinsight_sync.records.rejects import Rejects
    from superinsight_sync.sources.http.client import Api
    from superinsight_sync.sources.http.reading import HttpRead

_EPOCHS = {"epoch_s": 1, "epoch_ms": 1000}


class ApiSource(Sampled, ABC):
    """An API that gives JSON records on pages. A kind says how it is greeted and where the pages are."""

    kind: ClassVar[str]
    """Its name, as in a declaration."""

    def __init__(self, config: HttpConfig, settings: Settings) -> None:
        super().__init__()
        self._config = config

    def _api(self) -> "Api":
        from superinsight_sync.sources.http.client import Api

        return Api(self._config)

    @abstractmethod
    def _greet(self, api: "Api") -> str:
        """The server's name, asked for with a request that tells whether the API can be used."""

    @abstractmethod
    def _pages(self, api: "Api", request: ReadRequest, rejects: "Rejects | None") -> "Iterator[Page]":
        """The pages of a request. What an answer holds besides its records goes to `rejects`, if given."""

    def probe(self) -> Probe:
        """Asks the server for an answer."""
        began_s = time.perf_counter()
        with self._api() as api:
            server = self._greet(api)
        return Probe(server, 1000 * (time.perf_counter() - began_s))

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The declared columns and those of the records on the first pages."""
        return StreamShape(self._sampled(stream).columns)

    def read(self, request: ReadRequest) -> "HttpRead":
        """Streams the rows. `set_aside` and `rejects` of what it returns deal with records that do not fit."""
        from superinsight_sync.sources.http.reading import HttpRead

        shape = self._kept(request.stream) or self._sampled(request.stream)
        return HttpRead(self._api, shape, request, lambda api, rejects: self._pages(api, request, rejects))

    def count(self, request: ReadRequest) -> int:
        """Counts by reading. Records that fit no row do not count."""
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """An API cannot tell without being read."""
        return None

    def _sampled(self, stream: StreamSpec) -> "Shape":
        from superinsight_sync.records.json_rows import Shape

        options: HttpOptions = options_of(self.kind, stream)
        form = options.increment.format if options.increment else ""
        shape = Shape(stream, options.columns, _EPOCHS.get(form), self._table(stream))
        with self._api() as api:
            shape.sample(islice(self._pages(api, ReadRequest(stream), None), options.sample_pages))
        return self._keep(stream, shape)

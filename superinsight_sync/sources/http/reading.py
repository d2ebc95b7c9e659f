"""A read of an API: pages, rows, bounds, batches."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.json_document import Page
from superinsight_sync.records.json_rows import Shape
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.reading import sized
from superinsight_sync.sources.http.bounds import within
from superinsight_sync.sources.record_read import RecordRead

Pages = Callable[[Any, Rejects], Iterator[Page]]
"""Given what was opened, the pages of a request."""


class HttpRead(RecordRead):
    """A read of an API. A page with records that fit no row fails the read, unless they are set aside.

    Args:
        pages: the pages of the request, once entered.
    """

    def __init__(
        self,
        open_api: Callable[[], AbstractContextManager[Any]],
        shape: Shape,
        request: ReadRequest,
        pages: Pages,
    ) -> None:
        self._open_api = open_api
        self._shape = shape
        self._request = request
        self._pages = pages
        self._rejects = Rejects()
        rows = sized(self._rows(), max(1, request.batch_rows), request.limit)
        super().__init__(shape.schema, self._rejects, rows)

    def _rows(self) -> Generator[pa.RecordBatch, None, None]:
        try:
            with self._open_api() as api:
                for page in self._pages(api, self._rejects):
                    batch = within(self._shape.batch(page, self._rejects), self._request)
                    self._rejects.finish(f"page {page.number}")
                    if batch.num_rows:
                        yield batch
        except SisError as error:
            raise error.at(f"stream '{self._request.stream.name}'") from None

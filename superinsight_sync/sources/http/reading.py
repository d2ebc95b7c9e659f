"""A read of an API: pages, rows, bounds, batches."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import SisError
from superinsight_sync.sources.files.reading import sized
from superinsight_sync.sources.files.rejects import Rejects
from superinsight_sync.sources.http.bounds import within
from superinsight_sync.sources.http.paging import Page
from superinsight_sync.sources.http.rows import Shape
from superinsight_sync.sources.protocol import ReadRequest

Pages = Callable[[Any, Rejects], Iterator[Page]]
"""Given what was opened, the pages of a request."""


class HttpRead:
    """Enter it for the reader. A record that fits no row fails the read unless `set_aside` was called.

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
        self._failure: SisError | None = None
        self._batches = sized(self._rows(), max(1, request.batch_rows), request.limit)

    def set_aside(self, limit: int = 100_000) -> None:
        """Keep records that fit no row out of the rows; more than `limit` raise ThresholdError."""
        self._rejects.limit = limit

    def rejects(self) -> pa.Table:
        """file (which page), line (which of its records, from 1), reason, record (its text)."""
        return self._rejects.table()

    def __enter__(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._shape.schema, self._remembering())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.close()
        if self._failure is not None and error is not None and not isinstance(error, SisError):
            raise self._failure from error

    def _rows(self) -> Generator[pa.RecordBatch, None, None]:
        with self._open_api() as api:
            for page in self._pages(api, self._rejects):
                batch = within(self._shape.batch(page, self._rejects), self._request)
                self._rejects.finish(f"page {page.number}")
                if batch.num_rows:
                    yield batch

    def _remembering(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except SisError as error:
            self._failure = error.at(f"stream '{self._request.stream.name}'")
            raise self._failure from None

"""Records below other records: the first pages of several parents are fetched at once."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from superinsight_sync.core.errors import DataError
from superinsight_sync.core.stopping import submit
from superinsight_sync.records.json_document import Page
from superinsight_sync.records.json_text import record_of


def placed(endpoint: str, fields: dict[str, Any]) -> str:
    """The endpoint with its placeholders filled in; a value stays one part of the path."""
    for name, value in fields.items():
        if type(value) not in (str, int) or value in ("", ".", ".."):
            raise DataError(f"a parent's '{name}' can be no part of an address")
        endpoint = endpoint.replace("{" + name + "}", quote(str(value), safe=""))
    return endpoint


def parents_of(pages: Iterator[Page], fields: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Placeholder → value, for each parent record."""
    for page in pages:
        for raw in page.records:
            try:
                record = record_of(raw.decode())
                yield {name: record[field] for name, field in fields.items()}
            except (ValueError, KeyError):
                raise DataError(f"page {page.number} of parents has a record without a usable key") from None


def child_pages(
    parents: Iterator[dict[str, Any]], pages_of: Callable[[dict[str, Any]], Iterator[Page]], at_once: int
) -> Iterator[Page]:
    """The pages of all parents in order; no more than `at_once` pages are held."""
    waiting: deque[tuple[Iterator[Page], Future[Page | None]]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while True:
                while len(waiting) < at_once and (parent := next(parents, None)) is not None:
                    pages = pages_of(parent)
                    waiting.append((pages, submit(pool, next, pages, None)))
                if not waiting:
                    return
                pages, first = waiting.popleft()
                page = first.result()
                while page is not None:
                    yield page
                    page = next(pages, None)
        finally:
            for _, future in waiting:
                future.cancel()

"""From one page to the next, each once, with an end."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

import msgspec

from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.sources.http.client import Api, Call
from superinsight_sync.sources.http.document import Document, Page
from superinsight_sync.sources.http.options import Cursor, Keyset, LinkHeader, NoPages, Offset, PageNumber

AnyPagination = PageNumber | Offset | Cursor | LinkHeader | Keyset | NoPages


_ERRORS = ("error", "errors")
_DECLARE = "If it is none, write options: {{error: false}}; if every response has it, options: {{error: {}}}"


def _check_error(document: Document, path: str, hint: str = "") -> None:
    """Raises DataError if the response tells of an error there, whatever its status."""
    if document.value(path) not in (None, False, 0, "", [], {}):
        raise DataError(f"the response tells of an error at '{path}'", where=document.where, hint=hint)


@dataclass
class Walk:
    """The way through the pages of one endpoint.

    Raises DataError naming the page where a page or a mark comes twice, where an order is not kept, and
    after `max_pages`; TransientError where pages end before the total that the server told.
    """

    api: Api
    pagination: AnyPagination
    records: str
    in_body: bool = False
    max_pages: int = 100_000
    error: str | Literal[False] | None = None
    """As `RestOptions.error`."""
    _given: int = 0
    _digests: set[bytes] = field(default_factory=set)
    _marks: set[str] = field(default_factory=set)
    _last_key: Any = None

    def pages(self, call: Call) -> Iterator[Page]:
        """The pages that start with a request."""
        following: Call | None = call.having(self._first(), in_body=self.in_body)
        number = 0
        while following is not None:
            number += 1
            if number > self.max_pages:
                raise DataError(
                    f"there are more than {self.max_pages} pages",
                    where=call.url,
                    hint="Check the pagination, or raise max_pages",
                )
            document = self.api.fetch(following)
            if self.error:
                _check_error(document, self.error)
            page = Page(number, document.where, document.records(self.records), document)
            if self.error is None and not page.records:
                for path in _ERRORS:
                    _check_error(document, path, _DECLARE.format(path))
            self._check_new(page)
            self._given += len(page.records)
            yield page
            following = self._next(following, page)

    def _first(self) -> dict[str, Any]:
        paging = self.pagination
        first: dict[str, Any] = {}
        if isinstance(paging, PageNumber):
            first[paging.param] = paging.first
        elif isinstance(paging, Offset):
            first[paging.param] = 0
        if isinstance(paging, PageNumber | Offset | Cursor | Keyset) and paging.size_param:
            first[paging.size_param] = paging.size
        return first

    def _check_new(self, page: Page) -> None:
        if not page.records:
            return
        digest = hashlib.blake2b(b"\n".join(page.records), digest_size=16).digest()
        if digest in self._digests:
            raise self._wrong(page, "has the same records as one before it")
        self._digests.add(digest)

    def _next(self, call: Call, page: Page) -> Call | None:
        paging = self.pagination
        match paging:
            case PageNumber():
                value = paging.first + page.number
                return self._counted(call, page, paging, value)
            case Offset():
                return self._counted(call, page, paging, self._given)
            case Cursor():
                if paging.more_path and not page.document.value(paging.more_path):
                    return None
                return self._marked(call, page, paging)
            case LinkHeader():
                path = paging.next_path
                link = page.document.value(path) if path else page.document.next_link
                if not link:
                    return None
                self._check_mark(page, str(link))
                return replace(call, url=self.api.inside(str(link), call.url), params={})
            case Keyset():
                return self._after_last(call, page, paging)
            case NoPages():
                return None
        assert_never(paging)

    def _counted(self, call: Call, page: Page, paging: PageNumber | Offset, value: int) -> Call | None:
        pages = (
            page.document.value(paging.pages_path)
            if isinstance(paging, PageNumber) and paging.pages_path
            else None
        )
        total = page.document.value(paging.total_path) if paging.total_path else None
        if isinstance(pages, int):
            done = page.number >= pages
        elif isinstance(total, int):
            done = self._given >= total
        else:
            done = not page.records or (paging.stop == "short" and len(page.records) < paging.size)
        if done:
            return None
        if not page.records:
            raise TransientError(
                f"page {page.number} is empty, but the server tells of more records", where=page.where
            )
        return call.having({paging.param: value}, in_body=self.in_body)

    def _marked(self, call: Call, page: Page, paging: Cursor) -> Call | None:
        mark = page.document.value(paging.next_path)
        if mark in (None, "", False):
            if paging.more_path:
                raise self._wrong(page, f"tells of a next page, but has nothing at '{paging.next_path}'")
            return None
        self._check_mark(page, str(mark))
        return call.having({paging.param: mark}, in_body=self.in_body)

    def _check_mark(self, page: Page, mark: str) -> None:
        if mark in self._marks:
            raise self._wrong(page, "leads back to a page that was read")
        self._marks.add(mark)

    def _after_last(self, call: Call, page: Page, paging: Keyset) -> Call | None:
        if not page.records:
            return None
        for record in page.records:
            try:
                key = msgspec.json.decode(record)[paging.field]
                ordered = self._last_key is None or key > self._last_key
            except (KeyError, TypeError, ValueError):
                raise self._wrong(page, f"has a record without a usable '{paging.field}'") from None
            if not ordered:
                raise self._wrong(page, f"goes backwards: '{paging.field}' does not ascend")
            self._last_key = key
        return call.having({paging.param: self._last_key}, in_body=self.in_body)

    def _wrong(self, page: Page, what: str) -> DataError:
        return DataError(
            f"page {page.number} {what}", where=page.where, hint="Check options: {pagination: …}"
        )

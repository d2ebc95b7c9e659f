"""From one page to the next, each once, with an end."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

import msgspec

from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.records.json_document import Document, Page
from superinsight_sync.sources.http.client import Api, Call
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
    one_object: bool = False
    """As `HttpOptions.one_object`."""
    _given: int = 0
    _digests: set[bytes] = field(default_factory=set)
    _marks: set[str] = field(default_factory=set)
    _mark: str | None = None
    """The one that the last page was asked for by."""
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
            page = Page(number, document.where, document.records(self.records, one=self.one_object), document)
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
                return self._marked(call, page, paging)
            case LinkHeader():
                path = paging.next_path
                link = page.document.value(path) if path else page.document.next_link
                if _is_nothing(link):
                    return None
                if not isinstance(link, str):
                    raise self._wrong(page, f"has no address at '{path}'")
                if not self._leads_on(page, link):
                    return None
                return replace(call, url=self.api.inside(link, call.url), params={})
            case Keyset():
                return self._after_last(call, page, paging)
            case NoPages():
                return None
        assert_never(paging)

    def _counted(self, call: Call, page: Page, paging: PageNumber | Offset, value: int) -> Call | None:
        pages = _number(page, paging.pages_path if isinstance(paging, PageNumber) else None)
        total = _number(page, paging.total_path)
        if pages is not None and pages >= page.number:
            done = page.number == pages
        elif total is not None and total >= self._given:
            done = total == self._given
        else:  # It says nothing, or less than there was already.
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
        none = _is_nothing(mark) or any(type(mark) is type(e) and mark == e for e in paging.end)
        more = None
        if paging.more_path:
            said = page.document.value(paging.more_path)
            more = _truth(said)
            if more is None and not (said is None and none):
                raise self._wrong(page, f"does not say at '{paging.more_path}' whether there is a next page")
            if more is False:
                return None
        if none:
            if more:
                raise self._wrong(page, f"tells of a next page, but has nothing at '{paging.next_path}'")
            return None
        if not isinstance(mark, str | int | float):
            raise self._wrong(page, f"has no mark at '{paging.next_path}'")
        if not self._leads_on(page, str(mark), more=more):
            return None
        return call.having({paging.param: mark}, in_body=self.in_body)

    def _leads_on(self, page: Page, mark: str, *, more: bool | None = None) -> bool:
        """Whether there is a next page. A page without records that leads to itself is the last one, unless the
        server tells of more. Raises DataError where it leads back."""
        if mark == self._mark and not page.records and not more:
            return False
        if mark in self._marks:
            raise self._wrong(page, "leads back to a page that was read")
        self._marks.add(mark)
        self._mark = mark
        return True

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


def _is_nothing(mark: Any) -> bool:
    """Whether a mark is none. A number is one, also 0."""
    return mark is None or mark is False or mark == ""


def _truth(said: Any) -> bool | None:
    """Whether it says yes or no; None for neither."""
    if isinstance(said, bool):
        return said
    if isinstance(said, int):
        return said > 0
    return {"true": True, "false": False}.get(said.strip().lower()) if isinstance(said, str) else None


def _number(page: Page, path: str | None) -> int | None:
    """The whole number at a path, also one written as text; None if there is none."""
    found = page.document.value(path) if path else None
    if isinstance(found, str) and found.isdecimal():
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None

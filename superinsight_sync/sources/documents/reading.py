"""The documents of a collection: read ahead while others become rows, and read on where a server went away."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

from bson import Int64, ObjectId
from pymongo.errors import ConnectionFailure, CursorNotFound, PyMongoError

from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.core.stopping import ends_by, pause, submit
from superinsight_sync.records.bson_bytes import Raw

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

T = TypeVar("T")
BATCH_DOCUMENTS = 5_000
_ID = "_id"
_MOST_TIES = 10_000
"""A read does not continue at a value that more documents had."""
_ORDERED = ({ObjectId}, {str}, {int, Int64})
"""Kinds of ids that are compared with one another; others are ordered apart (MongoDB manual, "Type Bracketing")."""


class Walk:
    """The way through a collection's documents.

    Args:
        filter: which documents.
        order: an indexed field to read by: `_id`, or a field that the filter bounds from below. A read that is
            interrupted continues there; without it, or with ids of several kinds, it fails.
    """

    def __init__(
        self, collection: "Collection[dict[str, Any]]", filter: dict[str, Any], order: str | None
    ) -> None:
        self._collection = collection
        self._filter = filter
        self._order = order
        self._last: Any = None
        self._given: list[Any] = []
        """The ids of the documents that have the last value of the field."""
        self._kinds: set[type] = set()
        self.retried = False
        """Whether what `batches` raised was tried again as often as may be."""

    def batches(self, rows: int) -> Iterator[Raw]:
        """The documents, at most about `rows` together. Raises PyMongoError, and InvalidBSON."""
        policy, failures = RetryPolicy(), 0
        while True:
            try:
                for documents in self._found(rows):
                    failures = 0
                    yield documents
                return
            except (ConnectionFailure, CursorNotFound):
                self.retried = failures == policy.retries
                if self.retried or not self._can_continue():
                    raise
                pause(policy.delay_s(failures))
                failures += 1

    def _can_continue(self) -> bool:
        ordered = any(self._kinds <= kinds for kinds in _ORDERED)
        return self._last is not None and ordered and len(self._given) <= _MOST_TIES

    def _found(self, rows: int) -> Iterator[Raw]:
        wanted: list[dict[str, Any]] = [self._filter]
        if self._last is not None and self._order == _ID:
            wanted.append({_ID: {"$not": {"$lte": self._last}}})
        elif self._last is not None and self._order:
            # By $expr values of all types are compared as the index has them, where a filter stays within one type.
            further = {"$gte": [f"${self._order}", {"$literal": self._last}]}
            wanted += [{"$expr": further}, {_ID: {"$nin": self._given}}]
        sort = [(self._order, 1)] if self._order else None
        options = self._collection.codec_options
        chosen = {"$and": wanted} if len(wanted) > 1 else self._filter
        marker = f"sis-{uuid4().hex}"
        with (
            self._collection.find_raw_batches(chosen, batch_size=rows, sort=sort, comment=marker) as found,
            ends_by(partial(_kill, self._collection.database.client, marker)),
        ):
            for raw in found:
                documents = Raw(cast(bytes, raw), options)
                if documents:
                    self._note(documents)
                    yield documents

    def _note(self, documents: Raw) -> None:
        if self._order is None:
            return
        last = documents.document(-1)
        # In the order of ids, those of one kind stand together: the ends tell of all.
        self._kinds.update(type(d.get(_ID)) for d in (documents.document(0), last))
        if self._order != _ID:
            given = self._given if last.get(self._order) == self._last else []
            self._given = [*given, *self._ties(documents, last.get(self._order))][: _MOST_TIES + 1]
        self._last = last.get(self._order)

    def _ties(self, documents: Raw, value: Any) -> Iterator[Any]:
        """The ids of the documents at the end that have the value."""
        for place in reversed(range(len(documents))):
            document = documents.document(place)
            if document.get(self._order or "") != value:
                return
            yield document[_ID]


def _kill(client: "MongoClient[dict[str, Any]]", marker: str) -> None:
    """Ends the operations that carry the marker at the server, by another connection. Needs no right."""
    own: list[dict[str, Any]] = [{"$currentOp": {"allUsers": False}}, {"$match": {"$or": [
        {"command.comment": marker}, {"cursor.originatingCommand.comment": marker},
    ]}}]  # fmt: skip
    with suppress(PyMongoError):
        for operation in client.admin.aggregate(own):
            client.admin.command("killOp", op=operation["opid"])


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next of which is made while one is used."""
    pool = ThreadPoolExecutor(1)
    try:
        following = submit(pool, next, items, None)
        while (item := following.result()) is not None:
            following = submit(pool, next, items, None)
            yield item
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

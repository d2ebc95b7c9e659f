"""BSON documents as JSON records, without loss, and what a sample says of their fields."""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from math import isfinite
from typing import Any, overload
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId, Timestamp, json_util

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.records.bson_keys import Keys, extended
from superinsight_sync.records.json_document import Document, Page
from superinsight_sync.records.json_text import record_of

_RUNS_CODE = frozenset({"$where", "$function", "$accumulator", "$out", "$merge"})


def check_filter(value: Any) -> None:
    """Raises ConfigError for a filter that would run code at the server or write there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).strip().lower() in _RUNS_CODE:
                raise ConfigError(f"the filter may only compare, found {key}", where="options.filter")
            check_filter(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_filter(inner)


def parsed_filter(value: dict[str, Any]) -> dict[str, Any]:
    """A filter written in MongoDB's extended JSON (`{"$date": …}`, `{"$oid": …}`)."""
    check_filter(value)
    try:
        found: dict[str, Any] = json_util.loads(json.dumps(value, default=str))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the filter is no extended JSON: {error}", where="options.filter") from None
    return found


def as_json(document: dict[str, Any]) -> bytes:
    """A document as JSON: ids, decimals and UUIDs as text, instants as ISO 8601, bytes as base64."""
    return json.dumps(document, default=_plain, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
        case ObjectId() | Decimal128() | UUID():
            return str(value)
        case Binary() | bytes():
            return base64.b64encode(value).decode()
        case Timestamp():
            return f"{value.time}:{value.inc}"
    return json_util.dumps(value)


def instants(documents: Iterable[dict[str, Any]]) -> set[str]:
    """The fields whose values are all points in time."""
    kinds: dict[str, set[bool]] = {}
    for document in documents:
        for name, value in document.items():
            if value is not None:
                kinds.setdefault(name, set()).add(isinstance(value, datetime))
    return {name for name, found in kinds.items() if found == {True}}


class Texts(Sequence[bytes]):
    """Documents as JSON, made when they are asked for."""

    def __init__(
        self, documents: list[dict[str, Any]], text_of: Callable[[dict[str, Any]], bytes] = as_json
    ) -> None:
        self._documents = documents
        self._text_of = text_of

    def __len__(self) -> int:
        return len(self._documents)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self._text_of(d) for d in self._documents[index]]
        return self._text_of(self._documents[index])


def _parsed(value: Any) -> Any:
    return record_of(as_json({"": value}).decode())[""]


_SAME = frozenset((str, int, bool, type(None)))
_WRITTEN: dict[type, Callable[[Any], Any]] = {
    **dict.fromkeys((datetime, ObjectId, Decimal128, UUID, Binary, bytes, Timestamp), _plain),
    **dict.fromkeys((dict, list), _parsed),
    Int64: int,
}


def changed_values(values: list[Any], kinds: set[type]) -> list[Any] | None:
    """What parsing the JSON of a field's values gives. None where only the whole text can tell: for numbers that
    are none, dates beyond the calendar, rare types."""
    left = kinds - _SAME
    if float in left and all(isfinite(v) for v in values if type(v) is float):
        left.discard(float)
    if not left <= _WRITTEN.keys():
        return None
    try:
        return [_changed(v) for v in values] if left else values
    except ValueError:
        return None


def parsed(documents: list[dict[str, Any]], times: frozenset[str]) -> list[dict[str, Any]] | None:
    """What parsing the documents' JSON gives, without writing it all; the dates in `times` stay datetimes.

    None where only the whole text can tell: for numbers that are none, dates beyond the calendar, rare types.
    """
    changed: dict[str, list[Any]] = {}
    for name in dict.fromkeys(chain.from_iterable(documents)):
        values = [d.get(name) for d in documents]
        kinds = set(map(type, values))
        if name in times and kinds <= {datetime, type(None)}:
            continue
        written = changed_values(values, kinds)
        if written is None:
            return None
        if written is not values:
            changed[name] = written
    if not changed:
        return documents
    return [
        {n: changed[n][at] if n in changed else v for n, v in d.items()} for at, d in enumerate(documents)
    ]


def _changed(value: Any) -> Any:
    change = _WRITTEN.get(type(value))
    return change(value) if change else value


def page(number: int, where: str, documents: list[dict[str, Any]], times: frozenset[str], keys: Keys) -> Page:
    """Documents as a page of records; those set aside are kept as extended JSON, with all their types."""
    written = keys.written(documents)
    return Page(
        number,
        where,
        Texts(written),
        Document(b"{}", where),
        parsed=parsed(written, times),
        originals=Texts(documents, lambda d: extended(d).encode("utf-8", "surrogatepass")),
    )

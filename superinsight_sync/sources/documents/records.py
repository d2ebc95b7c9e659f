"""BSON documents as JSON records, without loss, and what a sample says of their fields."""

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from bson import Binary, Decimal128, ObjectId, Timestamp, json_util

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.sources.http.document import Document
from superinsight_sync.sources.http.paging import Page

PAGE_ROWS = 5_000
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
            return value.astimezone(UTC).isoformat()
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


def pages(documents: Iterable[dict[str, Any]], where: str, rows: int = PAGE_ROWS) -> Iterator[Page]:
    """The documents as pages of records."""
    left = iter(documents)
    number = 0
    while chunk := list(islice(left, rows)):
        number += 1
        yield Page(number, where, [as_json(d) for d in chunk], Document(b"{}", where))

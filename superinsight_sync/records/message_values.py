"""Values of messages into typed columns, a column at a time; what does not fit is named, never changed."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.read import Column
from superinsight_sync.model.tables import is_system
from superinsight_sync.model.types import arrow_type, type_text
from superinsight_sync.records.declared_columns import declared_array, declared_texts
from superinsight_sync.records.json_lines import fast_values
from superinsight_sync.records.json_text import object_of, problem_of

TIME = pa.timestamp("us", tz="UTC")
NOT_UTF8 = "is not UTF-8"
_YEAR_10000_MS = 253_402_300_800_000

Bad = dict[int, str]
"""Place of a message in its batch → why it cannot be a row."""


def declared_columns(columns: dict[str, str], own: Sequence[Column], where: str) -> tuple[Column, ...]:
    """The kind's own columns with the declared ones. Raises ConfigError for names or types that cannot be."""
    taken = {c.name.casefold() for c in own}
    found = []
    for name, text in columns.items():
        if not name or is_system(name) or name.casefold() in taken:
            raise ConfigError(
                f"options.columns: '{name}' cannot be a column: it is empty, reserved or there twice",
                where=where,
                hint=f"Own columns of the kind: {', '.join(c.name for c in own)}",
            )
        taken.add(name.casefold())
        try:
            dtype = arrow_type(text)
        except ConfigError as error:
            raise error.at(f"{where}, options.columns, column '{name}'") from None
        found.append(Column(name, type_text(dtype), dtype))
    return tuple(found)


def utf8(values: Sequence[bytes | None], bad: Bad, noun: str) -> pa.Array:
    """The bytes as text; those that are none are marked in `bad` and NULL."""
    raw = pa.array(values, pa.binary())
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for place, value in enumerate(values):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError:
                bad.setdefault(place, f"{noun} {NOT_UTF8}")
                texts.append(None)
        return pa.array(texts, pa.string())


def from_bytes(values: Sequence[bytes | None], column: Column, bad: Bad) -> pa.Array:
    """Raw field values as the column's type; nested types are read from JSON text."""
    if pa.types.is_binary(column.arrow):
        return pa.array(values, pa.binary())
    texts = utf8(values, bad, f"'{column.name}'")
    return _typed(declared_texts(texts, column.arrow), column, bad)


def from_json(values: list[Any], column: Column, bad: Bad) -> pa.Array:
    """Parsed JSON values as the column's type."""
    return _typed(declared_array(values, column.arrow), column, bad)


def _typed(found: tuple[pa.Array, list[int]], column: Column, bad: Bad) -> pa.Array:
    array, places = found
    for place in places:
        bad.setdefault(place, f"'{column.name}' is not {column.source_type}")
    return array


def objects(texts: Sequence[str | None], bad: Bad) -> list[dict[str, Any]]:
    """The JSON objects that the texts are; {} for NULL, and for what is none, which is marked in `bad`."""
    fast = fast_values([b"{}" if text is None else text.encode() for text in texts])
    if fast is not None:
        return fast
    found: list[dict[str, Any]] = []
    for place, text in enumerate(texts):
        value, reason = (None, "") if text is None else object_of(text)
        if reason:
            bad.setdefault(place, reason)
        found.append(value or {})
    return found


def json_texts(texts: pa.Array, bad: Bad) -> pa.Array:
    """The texts as they are; those that are no JSON are marked in `bad`."""
    for place, text in enumerate(texts.to_pylist()):
        reason = "" if text is None else problem_of(text)
        if reason:
            bad.setdefault(place, reason)
    return texts


def times(ms: Sequence[int | None]) -> tuple[pa.Array, int]:
    """Unix milliseconds as times; how many lie beyond the year 9999 and are NULL instead."""
    raw = pa.array(ms, pa.uint64())
    far = pc.greater_equal(raw, pa.scalar(_YEAR_10000_MS, pa.uint64()))
    kept = pc.if_else(far, pa.scalar(None, pa.uint64()), raw).cast(pa.int64())
    return pc.multiply(kept, 1000).cast(TIME), pc.sum(far).as_py() or 0

"""JSON Lines in pieces: a fast parser where it gives just what the exact one would, that one elsewhere."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec

from superinsight_sync.core.errors import DataError
from superinsight_sync.records.json_text import MAX_DEPTH, OnBad, Records, number_of, parsed_line
from superinsight_sync.records.text_records import MAX_RECORD_BYTES, Located, Readable

_CHUNK_BYTES = 1 << 20
_NESTED = frozenset((dict, list))
_FAST = msgspec.json.Decoder(dict[str, Any], float_hook=number_of)


def pieces(stream: Readable, place: Located, most: int) -> Iterator[tuple[int, list[bytes]]]:
    """The lines in pieces of at most `most` and about 1 MB, with the number of each first one."""
    buffer, first, ended = b"", 1, False
    while not ended:
        chunk = stream.read(_CHUNK_BYTES)
        ended = not chunk
        *whole, buffer = (buffer + chunk).split(b"\n")
        if ended and buffer:
            whole.append(buffer)
        elif len(buffer) > MAX_RECORD_BYTES:
            raise DataError(
                f"line {first + len(whole)} has more than {MAX_RECORD_BYTES >> 20} MB", where=place.where
            )
        for at in range(0, len(whole), most):
            yield first + at, whole[at : at + most]
        first += len(whole)


def records_of(first: int, lines: list[bytes], on_bad: OnBad) -> Records:
    """The records of JSON Lines. Blank lines are none; a line that is no JSON object goes to `on_bad`."""
    return fast(first, lines) or exact(first, lines, on_bad)


def fast(first: int, lines: list[bytes]) -> Records | None:
    """The records, if it is certain that `exact` gives the same and rejects none; else None."""
    values = fast_values(lines)
    return None if values is None else Records(values, list(zip(count(first), lines, strict=False)))


def fast_values(texts: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The objects that JSON texts are, if it is certain that `record_of` gives the same; else None."""
    try:
        values = list(map(_FAST.decode, texts))
    except (ValueError, RecursionError):
        return None
    text = b"\n".join(texts)
    keys = sum(map(len, values))
    if text.count(b"{") + text.count(b"[") != len(texts):
        for one, value in zip(texts, values, strict=True):
            if not _NESTED.isdisjoint(map(type, value.values())):
                if one.count(b"{") + one.count(b"[") > MAX_DEPTH:
                    return None
                keys += _inner_keys(value)
    if keys != _key_ends(text):
        return None  # A key may be there twice.
    return values


def exact(first: int, lines: list[bytes], on_bad: OnBad) -> Records:
    """The records; a line that is none goes to `on_bad`."""
    found = [r for n, raw in enumerate(lines, first) if (r := parsed_line(n, raw, on_bad))]
    return Records([r.value for r in found], [(r.line, r.text) for r in found])


def _key_ends(text: bytes) -> int:
    """How often a quote that no backslash escapes is followed by a colon, with or without space: at the end of
    every key, and where a text begins with a colon."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text.translate(None, b" \t\r\n").count(b'":')


def _inner_keys(value: Any) -> int:
    """How many keys the objects inside a value have."""
    number = 0
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict):
            number += len(inner) + _inner_keys(inner)
        elif isinstance(inner, list):
            number += _inner_keys(inner)
    return number

"""A delivery's records, each as the JSON text it came as, or was made of where it came as CSV or XML."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.push import PushFormat
from superinsight_sync.receive.csv_lines import csv_records
from superinsight_sync.receive.limits import unpacked
from superinsight_sync.receive.parsing import ParseRules, parse, unfit
from superinsight_sync.state.deliveries import StoredDelivery

_SHOWN_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


Unusable = tuple[str, int | None, str, str]
"""The delivery, which of its records (or lines) from 1, the reason, the text."""


@dataclass(frozen=True)
class Opened:
    """A delivery's records, which they are in it, from 1, and what of it is none."""

    texts: list[bytes]
    numbers: list[int]
    rejects: list[Unusable]


def opened(
    delivery: StoredDelivery, body: bytes, *, record: str | None, limit_bytes: int, rules: ParseRules
) -> Opened:
    """Takes a delivery apart. What cannot be taken apart at all is one reject: the delivery is in the inbox still.

    Args:
        record: where the record is in JSON (`data.object`), or what its element is called in XML.
        limit_bytes: most bytes when unpacked.
        rules: those of the gateway: what its answer told as set aside does not land.
    """
    place = place_of(delivery)
    try:
        plain = unpacked(body, delivery.encoding, limit_bytes)
        found = taken_apart(delivery.format, plain, record=record, rules=rules, place=place)
        return _asked_for(delivery, found)
    except (SisError, ValueError, RecursionError) as error:
        reason = error.message if isinstance(error, SisError) else f"it is no {delivery.format}"
        return Opened([], [], [(place, None, f"the delivery cannot be read: {reason}", shown(body))])


def taken_apart(
    form: PushFormat, plain: bytes, *, record: str | None, rules: ParseRules, place: str
) -> Opened:
    """The records of an unpacked body. Raises SisError, ValueError, RecursionError: it is not of that format."""
    plain = plain.removeprefix(_BOM)
    if form in ("csv", "xml"):
        return _made(form, plain, replace(rules, element=record), place)
    return _written(form, plain, record.split(".") if record else [], rules, place)


def _made(form: PushFormat, plain: bytes, rules: ParseRules, place: str) -> Opened:
    parsed = parse(plain, form, rules)
    records = dict(csv_records(plain)) if parsed.rejected else {}
    rejects: list[Unusable] = [
        (place, r.place, r.reason, whole(records[r.place].removesuffix(b"\r"))) for r in parsed.rejected
    ]
    return Opened([msgspec.json.encode(r) for r in parsed.records], parsed.places, rejects)


def _asked_for(delivery: StoredDelivery, found: Opened) -> Opened:
    """Of a delivery that is replayed, the records that are to land this time."""
    only = delivery.metadata.get("only")
    if only is None:
        return found
    kept = [(n, t) for n, t in zip(found.numbers, found.texts, strict=True) if n in only]
    rejects = [r for r in found.rejects if r[1] in only]
    return Opened([t for _, t in kept], [n for n, _ in kept], rejects)


def _written(form: PushFormat, plain: bytes, path: list[str], rules: ParseRules, place: str) -> Opened:
    texts: list[bytes] = []
    numbers: list[int] = []
    rejects: list[Unusable] = []
    for number, text in _values(form, plain):
        if form == "ndjson" and len(text) > rules.record_bytes:
            rejects.append((place, number, "longer than a record may be", whole(text)))
            continue
        if reason := unfit(text, rules):
            rejects.append((place, number, reason, whole(text)))
            continue
        try:
            inner = _at(text, path)
            texts += inner
            numbers += [number] * len(inner)
        except KeyError:
            rejects.append((place, number, f"there is no record at '{'.'.join(path)}'", whole(text)))
        except ValueError:
            rejects.append((place, number, "it is no JSON object", whole(text)))
    return Opened(texts, numbers, rejects)


def _values(form: PushFormat, plain: bytes) -> Iterator[tuple[int, bytes]]:
    """Its records' lines or places, from 1, as the gateway's answer counts them, and their texts."""
    if form == "ndjson":
        lines = enumerate(plain.split(b"\n"), start=1)
        yield from ((number, line) for number, line in lines if line and not line.isspace())
    elif plain.lstrip()[:1] == b"[":
        yield from enumerate(map(bytes, _array.decode(plain)), start=1)
    else:
        yield 1, plain


def _at(text: bytes, path: list[str]) -> list[bytes]:
    for step in path:
        text = bytes(_object.decode(text)[step])
    return [*map(bytes, _array.decode(text))] if path and text[:1] == b"[" else [text]


def place_of(delivery: StoredDelivery) -> str:
    """How a delivery is called where records are told of."""
    return f"delivery {delivery.id}"


def whole(text: bytes) -> str:
    """A record's text as it is kept. A byte that is no UTF-8 is written as `\\xff`, and then a backslash as two."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def shown(body: bytes) -> str:
    """The first MB of a delivery that cannot be taken apart. All of it is in the inbox."""
    return whole(body[:_SHOWN_BYTES])

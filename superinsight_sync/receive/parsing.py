"""Bodies become records, exactly: no whole number turns into a float, ``007`` stays text, nothing is guessed.

What is wrong with the whole (no JSON, too many records) refuses it; what is wrong with one record is told by
its place and sets that record aside. Neither ever repeats a value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from superinsight_sync.model.push import PushFormat
from superinsight_sync.receive.refusals import (
    MalformedError,
    UnprocessableError,
    UnsupportedError,
)

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_MOST_VALUES, _VALUES_OF_EACH = 8_000_000, 800
_MOST_NESTS, _NESTS_OF_EACH = 1_000_000, 100
"""So many values, and objects and arrays among them, a body may hold; or so many for each record it may have."""
_plain = msgspec.json.Decoder()
_exact = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is set aside. `place` counts from 1: its line, or its place in the array."""

    place: int
    reason: str


class Parsed(NamedTuple):
    """Records in the order they came, and those set aside. `places` are the records' lines or places, from 1."""

    records: list[dict[str, Any]]
    places: list[int]
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class ParseRules:
    """How a body is read.

    Attributes:
        records: most records. nesting: most levels of values within values. record_bytes: most of one line.
        exact: fractions come as Decimal, with every digit; without it as float, which is enough to check.
        unique_keys: an object that has a key twice is set aside; else the last one counts.
        nul: whether text may hold the character NUL, which many databases refuse.
        columns: CSV without a header: their names.
        element: XML: the name of the element that is a record. Default: the root's children.
    """

    records: int = 10_000
    nesting: int = 64
    record_bytes: int = 1 << 20
    exact: bool = False
    unique_keys: bool = False
    nul: bool = False
    columns: tuple[str, ...] | None = None
    element: str | None = None


def parse(body: bytes, form: PushFormat, rules: ParseRules | None = None) -> Parsed:
    """The records of a body.

    Raises:
        MalformedError: it is not of that format. UnsupportedError: no UTF-8.
        UnprocessableError: more records than allowed (then none is taken), or no records at all.
    """
    rules = rules or ParseRules()
    if body.startswith(_OTHER_BOMS):
        raise UnsupportedError("the text is UTF-16", hint="Send UTF-8")
    _check_amount(body, form, rules)
    parsed = _PARSERS[form](body.removeprefix(_BOM), rules)
    if len(parsed.records) + len(parsed.rejected) > rules.records:
        raise _too_many(rules)
    return parsed


def _check_amount(body: bytes, form: PushFormat, rules: ParseRules) -> None:
    """Raises UnprocessableError before a short text becomes many objects: `[],` twenty million times packs into 60 kB
    and takes 2 GB. Counts signs, also those within text, which is fast."""
    values = max(_MOST_VALUES, _VALUES_OF_EACH * rules.records)
    if form != "xml" and len(body) > values and body.count(b",") > values:
        raise UnprocessableError(f"more than {values} values", hint="Send them in several batches")
    nests = max(_MOST_NESTS, _NESTS_OF_EACH * rules.records)
    if form in ("json", "ndjson") and len(body) > nests and body.count(b"[") + body.count(b"{") > nests:
        raise UnprocessableError(f"more than {nests} objects and arrays", hint="Send them in several batches")


def _too_many(rules: ParseRules) -> UnprocessableError:
    return UnprocessableError(f"more than {rules.records} records", hint="Send them in several batches")


def decode(body: bytes, *, exact: bool = False) -> Any:
    """One JSON value. Raises MalformedError, UnprocessableError for one that is nested without end."""
    try:
        return (_exact if exact else _plain).decode(body)
    except RecursionError:
        raise UnprocessableError("values are nested too deeply") from None
    except UnicodeDecodeError:
        raise MalformedError("text is no UTF-8") from None
    except msgspec.DecodeError as error:
        raise MalformedError(_json_reason(error)) from None
    except (ArithmeticError, ValueError):
        raise MalformedError("a number is out of range") from None


def _json_reason(error: msgspec.DecodeError) -> str:
    """What the parser says, as far as it holds nothing of what was sent."""
    text = str(error)
    if "out of range" in text:
        return "a number is out of range"
    if "truncated" in text:
        return "no valid JSON: it ends too early, or holds half a surrogate pair"
    return f"no valid JSON: {text.removeprefix('JSON is malformed: ')}"


def _json(body: bytes, rules: ParseRules) -> Parsed:
    value = decode(body, exact=rules.exact)
    values = value if type(value) is list else [value]
    if len(values) > rules.records:
        raise _too_many(rules)
    raws: list[Any] | None = None
    if rules.unique_keys and values:
        raws = msgspec.json.decode(body, type=list[msgspec.Raw]) if type(value) is list else [body]
    check = _checker(body, rules)
    records: list[dict[str, Any]] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    for place, record in enumerate(values, start=1):
        reason = check(record)
        if reason is None and raws is not None:
            reason = _repeated_key(bytes(raws[place - 1]))
        if reason is None:
            records.append(record)
            places.append(place)
        else:
            rejected.append(Rejected(place, reason))
    return Parsed(records, places, rejected)


def _ndjson(body: bytes, rules: ParseRules) -> Parsed:
    records: list[dict[str, Any]] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    check = _checker(body, rules)
    for place, line in enumerate(_lines(body), start=1):
        if not line or line.isspace():
            continue
        if len(records) + len(rejected) >= rules.records:
            raise _too_many(rules)
        reason = "longer than a record may be" if len(line) > rules.record_bytes else None
        try:
            record: Any = decode(line, exact=rules.exact) if reason is None else None
        except (MalformedError, UnprocessableError) as error:
            reason = error.message
        if reason is None:
            reason = check(record)
        if reason is None and rules.unique_keys:
            reason = _repeated_key(line)
        if reason is None:
            records.append(record)
            places.append(place)
        else:
            rejected.append(Rejected(place, reason))
    return Parsed(records, places, rejected)


def unfit(text: bytes, rules: ParseRules) -> str | None:
    """Why `parse` sets a JSON text aside that can be read; None if it does not, or the text cannot be read."""
    if text.count(b"{") + text.count(b"[") <= rules.nesting and b"\\u0000" not in text:
        return None
    try:
        return _checker(text, rules)(decode(text))
    except (MalformedError, UnprocessableError):
        return None


def _lines(body: bytes) -> Iterator[bytes]:
    """Lines one at a time: a body of nothing but line feeds makes no list of them."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        yield body[start:end]
        start = end + 1


def _checker(body: bytes, rules: ParseRules) -> Callable[[Any], str | None]:
    """What finds out why a decoded value cannot be a record. Counts first what costs little to count."""
    is_flat = body.find(b"{", 1) < 0 and b"[" not in body
    may_be_deep = not is_flat and body.count(b"{") + body.count(b"[") > rules.nesting
    may_have_nul = not rules.nul and b"\\" in body and b"\\u0000" in body

    def check(record: Any) -> str | None:
        if type(record) is not dict:
            return "a record must be a JSON object"
        if may_be_deep and _depth_over(record, rules.nesting):
            return f"nested deeper than {rules.nesting} levels"
        if may_have_nul and _has_nul(record):
            return "text holds the character NUL"
        return None

    return check


def _depth_over(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _has_nul(record: dict[str, Any]) -> bool:
    waiting: list[Any] = [record]
    while waiting:
        value = waiting.pop()
        if type(value) is str:
            if "\0" in value:
                return True
        elif type(value) is dict:
            waiting.extend(value)
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
    return False


def _repeated_key(text: bytes) -> str | None:
    import json

    repeated = False

    def pairs(found: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({key for key, _ in found}) < len(found)

    json.loads(text, object_pairs_hook=pairs, parse_int=str, parse_float=str)
    return "an object has the same key twice" if repeated else None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise UnsupportedError("the text is no UTF-8", hint="Send UTF-8") from None


def _csv(body: bytes, rules: ParseRules) -> Parsed:
    """Every cell is text as it stands; an empty line is none."""
    import csv
    import io

    reader = csv.reader(io.StringIO(_text(body), newline=""), strict=True)
    records: list[dict[str, Any]] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    try:
        names = list(rules.columns) if rules.columns else next(reader, [])
        _check_names(names)
        line = reader.line_num + 1
        for cells in reader:
            place, line = line, reader.line_num + 1
            if not cells:
                continue
            if len(records) + len(rejected) >= rules.records:
                raise _too_many(rules)
            if len(cells) != len(names):
                rejected.append(Rejected(place, f"{len(cells)} cells, {len(names)} columns"))
            elif not rules.nul and any("\0" in c for c in cells):
                rejected.append(Rejected(place, "text holds the character NUL"))
            else:
                records.append(dict(zip(names, cells, strict=True)))
                places.append(place)
    except csv.Error:
        raise MalformedError(f"no valid CSV at line {reader.line_num}") from None
    return Parsed(records, places, rejected)


def _check_names(names: list[str]) -> None:
    if not names:
        raise MalformedError("the CSV has no header")
    if len(set(names)) < len(names) or not all(n.strip() for n in names):
        raise MalformedError("the CSV's header has an empty name, or one twice")


def _xml(body: bytes, rules: ParseRules) -> Parsed:
    from superinsight_sync.receive.xml_records import xml_records

    records: list[dict[str, Any]] = []
    places: list[int] = []
    for place, record in enumerate(xml_records(body, rules.element, rules.nesting), start=1):
        if place > rules.records:
            raise _too_many(rules)
        records.append(record)
        places.append(place)
    return Parsed(records, places, [])


_PARSERS: dict[str, Callable[[bytes, ParseRules], Parsed]] = {
    "json": _json,
    "ndjson": _ndjson,
    "csv": _csv,
    "xml": _xml,
}

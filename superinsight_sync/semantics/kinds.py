"""What kind of thing a column holds, guessed from its name, type and numbers, and a sentence that says so."""

import re
from collections.abc import Mapping, Sequence

from superinsight_sync.semantics.model import SemanticType
from superinsight_sync.semantics.profile import ColumnProfile
from superinsight_sync.semantics.sketch import SMALL
from superinsight_sync.semantics.words import expand

MAX_CODE_LENGTH = 12
"""Texts up to this length may be codes."""

_MAX_CATEGORIES_SHOWN = 12
_NUMBER = re.compile(r"^u?int|^(half)?float|^double|^decimal")


def is_number(type_: str) -> bool:
    """Whether an Arrow type's text is a number's."""
    return _NUMBER.match(type_) is not None


_BY_LAST_WORD: Mapping[str, SemanticType] = {
    "id": "identifier",
    "key": "identifier",
    "uuid": "identifier",
    "guid": "identifier",
    "pk": "identifier",
    "fk": "identifier",
    "num": "identifier",
    "no": "identifier",
    "nbr": "identifier",
    "number": "identifier",
    "code": "code",
    "cd": "code",
    "sku": "code",
    "faa": "code",
    "iata": "code",
    "icao": "code",
    "name": "name",
    "title": "name",
    "label": "name",
    "url": "url",
    "uri": "url",
    "link": "url",
    "website": "url",
    "country": "country",
    "currency": "currency",
    "curr": "currency",
    "description": "text",
    "desc": "text",
    "comment": "text",
    "comments": "text",
    "note": "text",
    "notes": "text",
    "message": "text",
    "msg": "text",
    "body": "text",
}
_BY_LAST_WORD_OF_NUMBER: Mapping[str, SemanticType] = {
    "lat": "latitude",
    "latitude": "latitude",
    "lon": "longitude",
    "lng": "longitude",
    "long": "longitude",
    "longitude": "longitude",
    "year": "year",
    "yr": "year",
    "month": "month",
    "day": "day",
    "hour": "hour",
    "minute": "minute",
    "pct": "percentage",
    "percent": "percentage",
    "percentage": "percentage",
    "ratio": "quantity",
    "rate": "quantity",
    "share": "quantity",
    "count": "count",
    "cnt": "count",
    "qty": "count",
    "quantity": "count",
    "seats": "count",
    "engines": "count",
    "amount": "amount",
    "amt": "amount",
    "price": "amount",
    "cost": "amount",
    "total": "amount",
    "fee": "amount",
    "revenue": "amount",
    "salary": "amount",
    "balance": "amount",
    "usd": "amount",
    "eur": "amount",
    "tax": "amount",
    "delay": "duration",
    "duration": "duration",
    "dur": "duration",
    "elapsed": "duration",
    "age": "duration",
}
_FLAG_FIRST = frozenset({"is", "has", "had", "was", "can", "should", "flag", "ist", "hat"})
_FLAG_LAST = frozenset({"flag", "flg", "bool", "yn", "ind"})
_YES_AND_NO = (
    {"0", "1"},
    {"y", "n"},
    {"yes", "no"},
    {"t", "f"},
    {"true", "false"},
    {"on", "off"},
    {"j", "n"},
    {"ja", "nein"},
    {"o", "n"},
    {"oui", "non"},
    {"s", "n"},
    {"si", "no"},
    {"sí", "no"},
    {"是", "否"},
)
_MOMENTS = frozenset(
    {"dep", "departure", "arr", "arrival", "start", "end", "begin", "open", "close", "sched", "created"}
)
_DURATION_UNITS = frozenset(
    {
        "nanoseconds",
        "microseconds",
        "milliseconds",
        "seconds",
        "minutes",
        "hours",
        "days",
        "weeks",
        "months",
        "years",
    }
)


def semantic_type_of(
    column: ColumnProfile, words: Sequence[str], unit: str | None, primary_key: Sequence[str]
) -> tuple[SemanticType, float]:
    """What kind of thing a column holds, and how sure that is."""
    match column.sensitive:
        case None:
            pass
        case "pay":
            return "amount", 0.8
        case "personal_text":
            return "text", 0.8
        case kind:
            return kind, 0.8
    if tuple(primary_key) == (column.name,):
        return "identifier", 0.9
    by_type = _by_type(column.type)
    if by_type:
        return by_type, 0.9
    last = words[-1] if words else ""
    if flag := _is_flag(column, words):
        return "boolean", flag
    if is_number(column.type):
        return _of_number(words, unit)
    if last in _BY_LAST_WORD:
        return _BY_LAST_WORD[last], 0.7
    if column.patterns and column.patterns[0][0].startswith("9999-99-99"):
        return ("date" if column.length_max == len("9999-99-99") else "timestamp"), 0.8
    if column.top or 0 < column.distinct <= SMALL < column.rows / 10:
        return "category", 0.6
    if (column.length_max or 0) <= MAX_CODE_LENGTH and column.patterns:
        return "code", 0.5
    return "text", 0.4


def _is_flag(column: ColumnProfile, words: Sequence[str]) -> float:
    """How sure it is that a column says yes or no: by its two values, unless its name says what is counted."""
    named = bool(words) and (words[0] in _FLAG_FIRST or words[-1] in _FLAG_LAST)
    if is_number(column.type):
        bits = 0 < column.distinct <= 2 and column.distinct_exact and {column.low, column.high} <= {0, 1}
        other = bool(words) and (words[-1] in _BY_LAST_WORD_OF_NUMBER or words[-1] in _BY_LAST_WORD)
        return 0.8 if bits and (named or (column.distinct == 2 and not other)) else 0.0
    values = {value.casefold() for value, _ in column.top}
    two = len(values) == column.distinct == 2 and any(values == pair for pair in _YES_AND_NO)
    one = named and len(values) == column.distinct == 1 and any(values < pair for pair in _YES_AND_NO)
    return 0.8 if two or one else 0.0


def _of_number(words: Sequence[str], unit: str | None) -> tuple[SemanticType, float]:
    last = words[-1] if words else ""
    if last in _BY_LAST_WORD_OF_NUMBER:
        return _BY_LAST_WORD_OF_NUMBER[last], 0.7
    if unit == "percent":
        return "percentage", 0.7
    if unit in _DURATION_UNITS:
        return "duration", 0.7
    if _BY_LAST_WORD.get(last) in ("identifier", "code"):
        return _BY_LAST_WORD[last], 0.7
    if last == "time":
        return ("time" if _MOMENTS & set(words) else "duration"), 0.4
    return "quantity", 0.4


def _by_type(type_: str) -> SemanticType | None:
    starts: tuple[tuple[str, SemanticType], ...] = (
        ("bool", "boolean"),
        ("timestamp", "timestamp"),
        ("date", "date"),
        ("time", "time"),
        ("duration", "duration"),
        ("month_day_nano", "duration"),
        ("list", "structure"),
        ("large_list", "structure"),
        ("fixed_size_list", "structure"),
        ("struct", "structure"),
        ("map", "structure"),
        ("binary", "binary"),
        ("large_binary", "binary"),
        ("fixed_size_binary", "binary"),
        ("null", "unknown"),
    )
    return next((kind for start, kind in starts if type_.startswith(start)), None)


_NOUNS: Mapping[str, str] = {
    "identifier": "identifies a record or a thing",
    "code": "a code",
    "category": "a category",
    "boolean": "yes or no",
    "count": "a count",
    "quantity": "a measured number",
    "amount": "an amount of money",
    "percentage": "a percentage",
    "timestamp": "a point in time",
    "date": "a calendar date",
    "time": "a time of day",
    "duration": "a length of time",
    "year": "a calendar year",
    "month": "a month, 1 to 12",
    "day": "a day of the month",
    "hour": "an hour of the day",
    "minute": "a minute of the hour",
    "latitude": "degrees north",
    "longitude": "degrees east",
    "name": "a name",
    "text": "free text",
    "email": "an e-mail address",
    "phone": "a telephone number",
    "national_id": "an official personal number",
    "card": "a payment card number",
    "iban": "a bank account",
    "ip": "a network address",
    "person_name": "the name of a person",
    "address": "a postal address",
    "birth_date": "a date of birth",
    "plate": "the number plate of a vehicle",
    "company_id": "the official number of a company",
    "secret": "a secret",
    "url": "a web address",
    "country": "a country",
    "currency": "a currency",
    "binary": "binary data",
    "structure": "structured data",
    "unknown": "no value so far",
}


def sentence(column: ColumnProfile, words: Sequence[str], kind: SemanticType, unit: str | None) -> str:
    """A sentence in English. Values appear only where the profile shows them."""
    named = " ".join(expand(list(words))) or column.name
    text = f"{named[:1].upper()}{named[1:]}: {_NOUNS[kind]}"
    if unit and unit != "percent":
        text += f", in {unit}"
    shown = sorted(value for value, _ in column.top)
    numbers = kind in ("year", "month", "day", "hour", "minute", "quantity", "count", "boolean")
    if shown and len(shown) == column.distinct <= _MAX_CATEGORIES_SHOWN and not numbers:
        text += f"; one of {', '.join(shown)}"
    return text + "."

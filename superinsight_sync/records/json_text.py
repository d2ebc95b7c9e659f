"""JSON text into Python values and back without losing anything, record by record."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, Protocol

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.records.text_records import MAX_RECORD_BYTES, Located, Readable

MAX_DEPTH = 100
"""A record nested deeper is refused; how deep the parser could go depends on its caller."""
_CHUNK_BYTES = 1 << 20
_CHUNK_CHARACTERS = 4_000_000
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\r\n]*")
_EXACT_DIGITS = 15
"""A decimal text of so many digits survives float64 and back (IEEE 754, DBL_DIG)."""


_MOST_DIGITS = 1_100
"""The exact value of a float64 has at most 767 significant digits."""


class _BadValueError(ValueError):
    """JSON that can be parsed but not kept."""


class OnBad(Protocol):
    def __call__(self, line: int, reason: str, record: str, /) -> None: ...


@dataclass(frozen=True)
class Parsed:
    """One record: the line it starts on, its text, its object."""

    line: int
    text: str
    value: dict[str, Any]


class Records:
    """Some records: their objects, and where each stands."""

    def __init__(self, values: list[dict[str, Any]], places: list[tuple[int, str | bytes | None]]) -> None:
        self.values = values
        self._places = places

    def place_of(self, index: int, reason: str) -> tuple[int, str, str]:
        """What to tell of one: its line, the reason, its text."""
        line, text = self._places[index]
        if text is None:
            text = text_of(self.values[index])
        return line, reason, text if isinstance(text, str) else text.decode().strip(" \t\r")


def gathered(records: Iterator[Parsed], most: int) -> Iterator[Records]:
    """The records in pieces of at most `most` and about 4 million characters."""
    while piece := list(_bounded(records, most)):
        yield Records([r.value for r in piece], [(r.line, r.text) for r in piece])


def _bounded(records: Iterator[Parsed], most: int) -> Iterator[Parsed]:
    characters = 0
    for record in islice(records, most):
        yield record
        characters += len(record.text)
        if characters > _CHUNK_CHARACTERS:
            return


def number_of(text: str) -> float | Decimal:
    """A float if it is the number that is written, or was printed to so many digits; else a Decimal."""
    value = float(text)
    if len(text) <= _EXACT_DIGITS and "e" not in text and "E" not in text:
        return value
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise _BadValueError("a number's exponent is out of bounds") from None
    return value if math.isfinite(value) and _is_printed(value, exact) else exact


def _is_printed(value: float, exact: Decimal) -> bool:
    """Whether a number is what a float's text says, be that its shortest or one of any number of digits."""
    if Decimal(repr(value)) == exact:
        return True
    digits = len(exact.as_tuple().digits)
    return digits <= _MOST_DIGITS and Decimal(f"{value:.{digits - 1}e}") == exact


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _BadValueError("a key is there twice")
    return found


def _constant(name: str) -> Any:
    raise _BadValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=number_of, parse_constant=_constant)
_SKELETON = json.JSONDecoder(parse_float=len, parse_int=len)
"""Finds the end of a value that is JSON but no record."""


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [v for values in inner for v in values]
    return any(isinstance(v, dict | list) for v in level)


def _checked(text: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _BadValueError("it is no JSON object")
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise _BadValueError("nested too deep")
    if _SURROGATE.search(text):
        try:
            text_of(value).encode()
        except UnicodeEncodeError:
            raise _BadValueError("a text holds half a surrogate pair") from None
    return value


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at column {error.colno}: {error.msg.partition(':')[0]}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error) if isinstance(error, _BadValueError) else "an integer has too many digits"


def record_of(text: str) -> dict[str, Any]:
    """The object that a text is. Raises ValueError that says, without values, why it can be no record."""
    try:
        return _checked(text, _DECODER.decode(text))
    except (ValueError, RecursionError) as error:
        raise _BadValueError(_reason(error)) from None


def parsed_line(line: int, raw: bytes, on_bad: OnBad) -> Parsed | None:
    """One line of JSON Lines; None if it is blank or went to `on_bad`."""
    text = raw.decode().strip(" \t\r")
    if not text:
        return None
    try:
        return Parsed(line, text, _checked(text, _DECODER.decode(text)))
    except (ValueError, RecursionError) as error:
        on_bad(line, _reason(error), text)
        return None


def document(stream: Readable, place: Located, on_bad: OnBad) -> Iterator[Parsed]:
    """The objects of one JSON array, or the one object that the file is.

    Raises:
        DataError: where the text is no JSON: what follows cannot be told apart from it.
    """
    window = _Window(stream, place)
    first = window.skip_space()
    if first != "[":
        if first:
            yield from window.element(on_bad)
        if window.skip_space():
            raise ConfigError(
                f"another value follows on line {window.line}",
                where=place.where,
                hint="Write format: {type: jsonl} if every line is a record",
            )
        return
    window.at += 1
    if window.skip_space() == "]":
        window.at += 1
    else:
        while True:
            yield from window.element(on_bad)
            sign = window.skip_space()
            window.at += 1
            if sign == "]":
                break
            if sign != ",":
                raise window.broken("a comma or the end of the array is missing")
            window.skip_space()
    if window.skip_space():
        raise window.broken("something follows the array")


class _Window:
    """The part of a document that is being looked at."""

    def __init__(self, stream: Readable, place: Located) -> None:
        self._stream = stream
        self._place = place
        self._pending = b""
        self._ended = False
        self.text = ""
        self.at = 0
        self._line = 1
        self._counted = 0

    @property
    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def broken(self, what: str) -> DataError:
        return DataError(
            f"line {self.line}: no JSON: {what}", where=self._place.where, hint="Have the file written again"
        )

    def more(self) -> bool:
        """Reads on, dropping what was looked at. False at the end."""
        if self._ended:
            return False
        self._line = self.line
        self.text, self.at, self._counted = self.text[self.at :], 0, 0
        data = self._pending + self._stream.read(max(_CHUNK_BYTES, len(self.text)))
        self._ended = len(data) == len(self._pending)
        cut = len(data) - _incomplete(data)
        self.text += data[:cut].decode()
        self._pending = data[cut:]
        return True

    def skip_space(self) -> str:
        """Goes to the next sign and returns it; an empty text at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def element(self, on_bad: OnBad) -> Iterator[Parsed]:
        """The value that starts here; one that is JSON but no record goes to `on_bad`."""
        while True:
            try:
                value, end = self._decode()
            except RecursionError:
                raise self.broken("nested too deep") from None
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > MAX_RECORD_BYTES:
                    raise self.broken(f"no value of at most {MAX_RECORD_BYTES >> 20} MB") from None
                if not self.more():
                    raise self.broken(error.msg.partition(":")[0]) from None
                continue
            if end < len(self.text) or not isinstance(value, int | float) or not self.more():
                break
        line, text = self.line, self.text[self.at : end]
        self.at = end
        try:
            if isinstance(value, ValueError):
                raise value
            parsed = Parsed(line, text, _checked(text, value))
        except ValueError as error:
            on_bad(line, _reason(error), text)
        else:
            yield parsed

    def _decode(self) -> tuple[Any, int]:
        """The value or what is wrong with it, and where it ends. Raises JSONDecodeError if it is no JSON."""
        try:
            return _DECODER.raw_decode(self.text, self.at)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            return error, _SKELETON.raw_decode(self.text, self.at)[1]


def _incomplete(data: bytes) -> int:
    """How many bytes at the end belong to a sign that is cut off."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            return 0
    return 0


def text_of(value: Any) -> str:
    """A parsed value as JSON text again, with every number as exact as it was."""
    match value:
        case Decimal():
            return str(value)
        case dict():
            return "{" + ", ".join(f"{text_of(k)}: {text_of(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(text_of, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def plain_text_of(value: Any) -> str:
    """A value as the text of a cell: texts without quotes, numbers without exponent where they are short."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return format(Decimal(repr(value)), "f")
    return text_of(value)


def object_of(text: str) -> tuple[dict[str, Any] | None, str]:
    """The JSON object that a text is, by the rules of JSON Lines; or None and why it is none."""
    try:
        return _checked(text, _DECODER.decode(text)), ""
    except (ValueError, RecursionError) as error:
        return None, _reason(error)


def problem_of(text: str) -> str:
    """Why a text is no JSON value by the rules of JSON Lines (which takes objects only); empty if it is one."""
    _, reason = object_of(f'{{"": {text}\n}}')
    return reason

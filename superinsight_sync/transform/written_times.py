"""Dates and times written by strptime's signs, as SQL that reads nothing else.

DuckDB's own strptime ignores a weekday, lets day 366 and week 53 run into the next year, takes offsets of any size
and guesses what `BST` means. So what a text says twice must agree here, an offset is one that exists, and a zone is
UTC, GMT or a name of the time zone database.
"""

import re
from dataclasses import dataclass

from superinsight_sync.core.sql import literal
from superinsight_sync.transform.calendar_names import MONTHS, WEEKDAYS, arabic, number_of_name
from superinsight_sync.transform.numbers import let, narrow

OFFSET = r"(?:[Zz]|[+-](?:0\d|1[0-3])(?::?[0-5]\d)?|[+-]14(?::?00)?)"
_AREAS = "Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada|Chile|Etc|Europe|Indian|Mexico|Pacific"
_ZONE = rf"(?i:UTC|GMT|(?:{_AREAS})/[A-Za-z0-9_+/-]+)"
_NAME = r"\p{L}+(?:-feira)?\.?"
_PART = re.compile(r"%-?(.)|[^%]+")
_PATTERNS = {
    **dict.fromkeys("aAbBh", _NAME),
    **dict.fromkeys("YG", r"\d{4}"),
    **dict.fromkeys("dmyHIMSUWV", r"\d{1,2}"),
    **dict.fromkeys("uw", r"\d"),
    "j": r"\d{1,3}",
    **dict.fromkeys("fgn", r"\d{1,9}"),
    "p": "[AaPp][Mm]",
    "z": OFFSET,
    "Z": _ZONE,
    "%": "%",
}
_SAID_TWICE = {
    "j": "dayofyear({w})",
    "u": "isodow({w})",
    "w": "dayofweek({w})",
    "V": "weekofyear({w})",
    "G": "isoyear({w})",
    "U": "CAST(strftime({w}, '%U') AS INTEGER)",
    "W": "CAST(strftime({w}, '%W') AS INTEGER)",
}
_CAREFUL = frozenset("aAbBhzZ").union(_SAID_TWICE)
_ENGLISH = "['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']"
_CHINESE = frozenset("年月日号")


@dataclass(frozen=True)
class Moment:
    """SQL over a text.

    Attributes:
        written: the TIMESTAMP that is written there; NULL where the text is not of this format.
        instant: the TIMESTAMPTZ, where an offset is written too.
        zone: the zone's name, where one is written.
    """

    written: str
    instant: str | None = None
    zone: str | None = None


def read(text: str, pattern: str) -> Moment:
    """What a text says by a pattern of strptime."""
    text = narrow(text)
    if not _CHINESE.isdisjoint(pattern):
        text = arabic(text)
    signs = [m.group(1) for m in _PART.finditer(pattern)]
    if _CAREFUL.isdisjoint(s for s in signs if s):
        return Moment(_four_digit_year(f"try_strptime({text}, {literal(pattern)})", signs))
    return _carefully(text, pattern, signs)


def _carefully(text: str, pattern: str, signs: "list[str | None]") -> Moment:
    pieces = [m.group(0) for m in _PART.finditer(pattern)]
    regex = "".join(f"({_regex(p, s)})" for p, s in zip(pieces, signs, strict=True))
    names = ", ".join(literal(f"p{n}") for n in range(len(pieces)))
    found = f"regexp_extract({text}, {literal(f'^{regex}$')}, [{names}])"
    token = [f"struct_extract(g, 'p{n}')" for n in range(len(pieces))]
    by_number = "".join(
        "%m" if s in ("b", "B", "h") else "%a" if s == "A" else p for p, s in zip(pieces, signs, strict=True)
    )
    zoned = "z" in signs or "Z" in signs

    def parsed(offset: "str | None") -> str:
        again = " || ".join(_canonical(t, s, offset) for t, s in zip(token, signs, strict=True))
        return f"try_strptime({again}, {literal(by_number)})"

    written = parsed("'+00:00'")
    if zoned:
        written = f"timezone('UTC', {written})"
    agrees = " AND ".join(
        _agrees(t, s) for t, s in zip(token, signs, strict=True) if s in _SAID_TWICE or s in ("a", "A")
    )
    if agrees:
        written = let("w", written, f"CASE WHEN {agrees} THEN w END")
    written = let("g", found, _four_digit_year(written, signs))
    instant = let("g", found, parsed(None)) if "z" in signs else None
    zone = None
    if "Z" in signs:
        zone = let("g", found, f"CASE WHEN {parsed(None)} IS NOT NULL THEN {token[signs.index('Z')]} END")
    return Moment(written, instant, zone)


def _regex(piece: str, sign: "str | None") -> str:
    if sign is not None:
        return _PATTERNS.get(sign, ".+?")
    return r"\s+".join(re.escape(p) for p in re.split(r"\s+", piece))


def _canonical(token: str, sign: "str | None", offset: "str | None") -> str:
    """A part of the text as DuckDB reads it."""
    match sign:
        case "b" | "B" | "h":
            return f"lpad(CAST({number_of_name(token, MONTHS)} AS VARCHAR), 2, '0')"
        case "a" | "A":
            return f"list_extract({_ENGLISH}, {number_of_name(token, WEEKDAYS)})"
        case "z":
            return offset or f"CASE WHEN lower({token}) = 'z' THEN '+00:00' ELSE {token} END"
        case "Z":
            return "'UTC'" if offset else token
    return token


def _agrees(token: str, sign: "str | None") -> str:
    if sign in ("a", "A"):
        return f"isodow(w) = {number_of_name(token, WEEKDAYS)}"
    return f"{_SAID_TWICE[sign or ''].format(w='w')} = TRY_CAST({token} AS INTEGER)"


def _four_digit_year(moment: str, signs: "list[str | None]") -> str:
    """`%Y` reads `26` as the year 26; such a text is not of this format."""
    return f"CASE WHEN year({moment}) >= 1000 THEN {moment} END" if "Y" in signs else moment

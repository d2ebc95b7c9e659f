"""Dates and times as SQL: read by ISO 8601 or by declared formats, and never guessed.

A time that a zone's clock skips or shows twice (daylight saving) has no one instant, so it does not convert.
"""

from dataclasses import dataclass
from typing import Literal

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import literal

Kind = Literal["date", "instant", "local"]
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6}0*)?)?"
_ISO_LOCAL = rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{_TIME})?"
_ISO_INSTANT = rf"\d{{4}}-\d{{2}}-\d{{2}}[T ]{_TIME} ?(?:Z|[+-]\d{{2}}(?::?\d{{2}})?)"
_NUMERIC = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")


@dataclass(frozen=True)
class Reading:
    """What a cell is to become, and what is known of how it is written.

    Attributes:
        kind: `date`, `instant` (a timestamp in UTC) or `local` (a timestamp without a zone).
        cut: whether a date may lose its time of day.
    """

    kind: Kind
    formats: tuple[str, ...] = ()
    day_first: bool | None = None
    timezone: str | None = None
    cut: bool = False


def of_text(text: str, reading: Reading) -> str:
    """A date or time out of text; NULL where no reading fits, or where two formats read it differently."""
    if not reading.formats:
        return _iso(text, reading)
    read = [_by_format(text, f, reading) for f in reading.formats]
    if len(read) == 1:
        return read[0]
    listed = ", ".join(read)
    return f"CASE WHEN least({listed}) = greatest({listed}) THEN least({listed}) END"


def of_epoch(number: str, reading: Reading) -> str:
    """Out of whole seconds or milliseconds since 1970. Raises ConfigError without one such format."""
    units = [EPOCHS[f] for f in reading.formats if f in EPOCHS]
    if len(units) != 1:
        raise ConfigError(
            "a number becomes a date or time only by a declared unit",
            hint="Set format: epoch_s, epoch_ms or epoch_us",
        )
    moment = f"TRY(make_timestamp({number} * {units[0]}))"
    return of_instant(f"timezone('UTC', {moment})", reading)


def of_local(moment: str, reading: Reading) -> str:
    """From a TIMESTAMP without a zone."""
    if reading.kind == "local":
        return moment
    if reading.kind == "date":
        return _date(moment, reading)
    zone = literal(reading.timezone or "UTC")
    instant = f"timezone({zone}, {moment})"
    if reading.timezone in (None, "UTC"):
        return instant
    others = " AND ".join(
        f"timezone({zone}, {instant} {sign} INTERVAL '{minutes}' MINUTE) <> {moment}"
        for sign in "+-"
        for minutes in (30, 60)
    )
    return f"CASE WHEN timezone({zone}, {instant}) = {moment} AND {others} THEN {instant} END"


def of_instant(moment: str, reading: Reading) -> str:
    """From a TIMESTAMPTZ."""
    if reading.kind == "instant":
        return moment
    local = f"timezone({literal(reading.timezone or 'UTC')}, {moment})"
    return local if reading.kind == "local" else _date(local, reading)


def _date(moment: str, reading: Reading) -> str:
    day = f"CAST({moment} AS DATE)"
    return day if reading.cut else f"CASE WHEN CAST({day} AS TIMESTAMP) = {moment} THEN {day} END"


def _iso(text: str, reading: Reading) -> str:
    local = of_local(f"TRY_CAST({text} AS TIMESTAMP)", reading)
    cases = [f"WHEN regexp_full_match({text}, {literal(_ISO_LOCAL)}) THEN {local}"]
    if reading.kind == "instant" or reading.timezone:
        instant = of_instant(f"TRY_CAST({text} AS TIMESTAMPTZ)", reading)
        cases.append(f"WHEN regexp_full_match({text}, {literal(_ISO_INSTANT)}) THEN {instant}")
    if reading.day_first is not None:
        pattern = _NUMERIC[0 if reading.day_first else 1]
        formats = [pattern.format(sign) + time for sign in "/.-" for time in _TIMES]
        listed = ", ".join(literal(f) for f in formats)
        moment = _four_digit_year(f"try_strptime({text}, [{listed}])")
        cases.append(f"ELSE {of_local(moment, reading)}")
    return f"CASE {' '.join(cases)} END"


def _by_format(text: str, pattern: str, reading: Reading) -> str:
    if pattern in EPOCHS:
        whole = f"CASE WHEN regexp_full_match({text}, '-?\\d+') THEN TRY_CAST({text} AS BIGINT) END"
        return of_epoch(whole, Reading(reading.kind, (pattern,), None, reading.timezone, reading.cut))
    moment = f"try_strptime({text}, {literal(pattern)})"
    if "%Y" in pattern:
        moment = _four_digit_year(moment)
    return of_instant(moment, reading) if "%z" in pattern or "%Z" in pattern else of_local(moment, reading)


def _four_digit_year(moment: str) -> str:
    """`%Y` reads `26` as the year 26; such a text is not of this format."""
    return f"CASE WHEN year({moment}) >= 1000 THEN {moment} END"

"""Dates and times as SQL: read by ISO 8601 or by declared formats, and never guessed.

A time that a zone's clock skips or shows twice (daylight saving) has no one instant, so it does not convert.
"""

from dataclasses import dataclass, replace
from typing import Literal

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import literal
from superinsight_sync.transform.numbers import PLAIN, floating, let, narrow
from superinsight_sync.transform.written_times import OFFSET, read

Kind = Literal["date", "instant", "local"]
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
EXCEL = {"excel": "TIMESTAMP '1899-12-30'", "excel_1904": "TIMESTAMP '1904-01-01'"}
"""Serial numbers of days, and where they count from."""
_LAST_SERIAL = {"excel": 2_958_466, "excel_1904": 2_957_004}
_YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6}0*)?)?"
_ISO_LOCAL = rf"{_YEAR}-\d{{2}}-\d{{2}}(?:[T ]{_TIME})?"
_ISO_INSTANT = rf"{_YEAR}-\d{{2}}-\d{{2}}[T ]{_TIME} ?{OFFSET}"
_ISO_WEEK = r"\d{4}-W\d{2}-\d"
_BOUNDS = {
    "date": ("DATE '0001-01-01'", "DATE '9999-12-31'"),
    "instant": ("TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"),
    "local": ("TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"),
}
"""The years that Python and ISO 8601 know."""
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
    found = [_by_format(text, f, reading) for f in reading.formats]
    if len(found) == 1:
        return found[0]
    return let("r", f"[{', '.join(found)}]", "CASE WHEN list_min(r) = list_max(r) THEN list_min(r) END")


def of_epoch(number: str, reading: Reading) -> str:
    """Out of whole seconds or milliseconds since 1970. Raises ConfigError without one such format."""
    units = [EPOCHS[f] for f in reading.formats if f in EPOCHS]
    if len(units) != 1:
        raise ConfigError(
            "a number becomes a date or time only by a declared unit",
            hint="Set format: epoch_s, epoch_ms, epoch_us, excel or excel_1904",
        )
    moment = f"TRY(make_timestamp({number} * {units[0]}))"
    return of_instant(_in_utc(moment), reading)


def of_serial(number: str, reading: Reading) -> str:
    """Out of a spreadsheet's serial number (DOUBLE): days, and parts of a day to the millisecond.

    There is no 29 February 1900, though Excel has a number for it; below 1 there is a time and no day.
    """
    name = next(f for f in reading.formats if f in EXCEL)
    least, gap = (1, "AND NOT (n >= 60 AND n < 61)") if name == "excel" else (0, "")
    early = "+ CASE WHEN n < 60 THEN 1 ELSE 0 END" if name == "excel" else ""
    moment = (
        f"{EXCEL[name]} + to_days(CAST(floor(n) AS INTEGER) {early}) "
        "+ to_milliseconds(CAST(round((n - floor(n)) * 86400000) AS BIGINT))"
    )
    kept = f"CASE WHEN n >= {least} AND n < {_LAST_SERIAL[name]} {gap} THEN {moment} END"
    return of_local(let("n", number, kept), reading)


def of_local(moment: str, reading: Reading, zone: str | None = None) -> str:
    """From a TIMESTAMP without a zone. `zone` is SQL for the name of the one it is in, if that is known."""
    if zone is None and reading.kind == "local":
        return moment
    if zone is None and reading.kind == "date":
        return _date(moment, reading)
    if zone is None and reading.timezone in (None, "UTC"):
        return _in_utc(moment)
    name = zone or literal(reading.timezone or "UTC")
    others = " AND ".join(
        f"timezone(z, i {sign} INTERVAL '{minutes}' MINUTE) <> m" for sign in "+-" for minutes in (30, 60)
    )
    only = let("i", "timezone(z, m)", f"CASE WHEN timezone(z, i) = m AND {others} THEN i END")
    instant = let("m", moment, let("z", name, only))
    return _bounded(instant, reading) if reading.kind == "instant" else of_instant(instant, reading)


def of_instant(moment: str, reading: Reading) -> str:
    """From a TIMESTAMPTZ."""
    if reading.kind == "instant":
        return _bounded(moment, reading)
    local = f"timezone({literal(reading.timezone or 'UTC')}, {moment})"
    return _bounded(local if reading.kind == "local" else _date(local, reading), reading)


def _in_utc(moment: str) -> str:
    """A TIMESTAMP as the TIMESTAMPTZ it is in UTC. `timezone` would ask the zone's calendar for every row."""
    return f"make_timestamptz(epoch_us({moment}))"


def _bounded(value: str, reading: Reading) -> str:
    low, high = _BOUNDS[reading.kind]
    return f"CASE WHEN {value} BETWEEN {low} AND {high} THEN {value} END"


def _date(moment: str, reading: Reading) -> str:
    day = f"CAST({moment} AS DATE)"
    return day if reading.cut else f"CASE WHEN CAST({day} AS TIMESTAMP) = {moment} THEN {day} END"


def _iso(text: str, reading: Reading) -> str:
    week = of_local(read(text, "%G-W%V-%u").written, reading)
    text = narrow(text)
    local = of_local(f"TRY_CAST({text} AS TIMESTAMP)", reading)
    cases = [f"WHEN regexp_full_match({text}, {literal(_ISO_LOCAL)}) THEN {local}"]
    if reading.kind == "instant" or reading.timezone:
        instant = of_instant(f"TRY_CAST(upper({text}) AS TIMESTAMPTZ)", reading)
        cases.append(f"WHEN regexp_full_match({text}, {literal(_ISO_INSTANT)}) THEN {instant}")
    cases.append(f"WHEN regexp_full_match({text}, {literal(_ISO_WEEK)}) THEN {week}")
    if reading.day_first is not None:
        pattern = _NUMERIC[0 if reading.day_first else 1]
        formats = [pattern.format(sign) + time for sign in "/.-" for time in _TIMES]
        moment = f"try_strptime({text}, [{', '.join(map(literal, formats))}])"
        cases.append(f"ELSE {of_local(f'CASE WHEN year({moment}) >= 1000 THEN {moment} END', reading)}")
    return f"CASE {' '.join(cases)} END"


def _by_format(text: str, pattern: str, reading: Reading) -> str:
    if pattern in EPOCHS:
        whole = f"CASE WHEN regexp_full_match({narrow(text)}, '-?\\d+') THEN TRY_CAST({narrow(text)} AS BIGINT) END"
        return of_epoch(whole, replace(reading, formats=(pattern,)))
    if pattern in EXCEL:
        return of_serial(floating(text, "DOUBLE", PLAIN, rounds=True), replace(reading, formats=(pattern,)))
    moment = read(text, pattern)
    if moment.instant is not None:
        return f"CASE WHEN {moment.written} IS NOT NULL THEN {of_instant(moment.instant, reading)} END"
    return of_local(moment.written, reading, moment.zone)

"""Cron expressions as names that a person reads: ``15 2 * * *`` is ``daily_02_15``.

Two expressions have one name exactly if they mean the same moments field by field, so a name is stable and unique.
"""

import re

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SIGNS = {"*": "any", "/": "_by_", "-": "_to_", ",": "_and_", "#": "_nth_"}


def cron_name(cron: str) -> str:
    """The name of a cron expression of five fields; letters, digits and ``_``, beginning with a word of its own."""
    minute, hour, day, month, weekday = (_normal(f, place) for place, f in enumerate(cron.lower().split()))
    at = f"{hour:0>2}_{minute:0>2}"
    match (minute.isdigit(), hour.isdigit(), day, month, weekday):
        case (True, True, "*", "*", "*"):
            return f"daily_{at}"
        case (True, True, "*", "*", "mon-fri"):
            return f"weekdays_{at}"
        case (True, True, "*", "*", _) if weekday in _DAYS:
            return f"weekly_{weekday}_{at}"
        case (True, True, _, "*", "*") if day.isdigit():
            return f"monthly_{day:0>2}_{at}"
        case (True, True, _, _, "*") if day.isdigit() and month in _MONTHS:
            return f"yearly_{month}_{day:0>2}_{at}"
        case (True, False, "*", "*", "*") if hour == "*":
            return f"hourly_{minute:0>2}"
        case (True, False, "*", "*", "*") if every := re.fullmatch(r"\*/(\d+)", hour):
            return f"every_{every[1]}_hours_{minute:0>2}"
        case (False, False, "*", "*", "*") if hour == "*" and (
            every := re.fullmatch(r"\*(?:/(\d+))?", minute)
        ):
            return f"every_{every[1]}_minutes" if every[1] else "every_minute"
    return "cron_" + "__".join(map(_spelled, (minute, hour, day, month, weekday)))


def _normal(field: str, place: int) -> str:
    """One way to write a field: numbers without leading zeros, months and weekdays as words, ``*`` for all."""
    field = "*" if re.fullmatch(r"\?|\*/0*1", field) else field
    parts = []
    for part in field.split(","):
        head, slash, step = part.partition("/")
        low, dash, high = head.partition("-")
        step = str(int(step)) if step else ""
        parts.append(f"{_value(low, place)}{dash}{_value(high, place)}{slash}{step}")
    return ",".join(parts)


def _value(text: str, place: int) -> str:
    day, sign, nth = text.partition("#")
    if sign:
        return f"{_value(day, place)}#{int(nth)}"
    if not text.isdigit():
        return text
    number = int(text)
    if place == 3 and 1 <= number <= 12:
        return _MONTHS[number - 1]
    return _DAYS[number % 7] if place == 4 and number <= 7 else str(number)


def _spelled(field: str) -> str:
    return "".join(_SIGNS.get(c, c) for c in field)

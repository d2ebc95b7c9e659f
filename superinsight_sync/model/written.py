"""Values of declarations that are written in a form of their own: names, durations, sizes, cron."""

import re
from datetime import timedelta
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
RESERVED_PREFIX = "_sis_"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(value: object) -> object:
    """``10m``, ``1h30m``, ``7d`` or a number of seconds as a timedelta; anything else is left to pydantic."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    if isinstance(value, str):
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", value)
        if parts and "".join(n + u for n, u in parts) == value.replace(" ", ""):
            return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in parts))
        raise ValueError(f"'{value}' is not a duration; write it like 30s, 10m, 1h30m or 7d")
    return value


_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_size(value: object) -> object:
    """``64MB``, ``1GiB`` or a number of bytes as an int."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", value.strip())
        if found and found.group(2).lower() in _SIZES:
            return int(float(found.group(1)) * _SIZES[found.group(2).lower()])
        raise ValueError(f"'{value}' is not a size; write it like 64MB or 1GiB")
    return value


_LONGEST_MONTH_DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


@cache
def check_cron(value: str) -> str:
    """A five-field cron expression, so at most one tick a minute, of days that come: what Dagster can run."""
    from croniter import croniter

    fields = value.split()
    nearest_weekday = len(fields) == 5 and "w" in fields[2].lower()  # which Dagster's older croniter has not
    if len(fields) != 5 or nearest_weekday or not croniter.is_valid(value):
        raise ValueError(f"'{value}' is no cron expression of five fields, such as */15 * * * * (UTC)")
    if not _comes(value):
        raise ValueError(f"'{value}' names a day that no month of it has, so it would never come")
    return value


def _comes(cron: str) -> bool:
    """Whether there is such a day. Beside a weekday, where either counts, the day of the month must exist too."""
    from croniter import CroniterBadDateError, croniter

    days, months = croniter.expand(cron)[0][2:4]
    longest = max(_LONGEST_MONTH_DAYS.get(m, 31) if isinstance(m, int) else 31 for m in months)
    if all(isinstance(d, int) and d > longest for d in days):
        return False
    try:
        croniter(cron, 0.0).get_next()
    except CroniterBadDateError:
        return False
    return True


def check_source_name(value: str) -> str:
    """`datasets` and `entities` are groups, `lake` and `io_manager` are resources of every project."""
    if value in ("datasets", "entities"):
        raise ValueError(
            f"'{value}' is what the group of all {value} is called; give the source another name"
        )
    if value in ("lake", "io_manager"):
        raise ValueError(f"'{value}' is a resource of every project; give the source another name")
    return value


Cron = Annotated[str, AfterValidator(check_cron)]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=str | float),
]
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=str | int)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
SourceName = Annotated[Name, AfterValidator(check_source_name)]

"""What may be declared under `expect`, checked without Great Expectations: loading must stay cheap."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import Duration, ExpectSpec
from superinsight_sync.quality.catalogue import GX_TYPES

Scalar = bool | int | Decimal | float | datetime | date | time | str
"""A value in a declaration. YAML gives all but decimals and times, which are written as text."""

_STREAM_KEY = r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$"
_MAX_NAME = 63


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Columns = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_as_tuple)]


class BuiltinCheck(BaseModel):
    """Base of the built-in checks' arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns it reads."""
        column = getattr(self, "column", None)
        return (column,) if isinstance(column, str) else tuple(getattr(self, "columns", ()))


class NotNull(BuiltinCheck):
    """No value of the column is NULL. NaN and empty text are values."""

    column: str


class Unique(BuiltinCheck):
    """No two rows have equal values in the columns. Rows with a NULL in one of them are left out, as in SQL.

    `failed` counts the rows that would have to go: all but one of each group of equal rows.
    """

    columns: Columns
    """One column, or several that are unique together."""

    @model_validator(mode="before")
    @classmethod
    def _column_is_columns(cls, data: object) -> object:
        if isinstance(data, dict) and "column" in data and "columns" not in data:
            return {**{k: v for k, v in data.items() if k != "column"}, "columns": data["column"]}
        return data


class Range(BuiltinCheck):
    """Every value lies within the bounds, which count as inside. NULL passes; NaN is in no range."""

    column: str
    min: Scalar | None = None
    max: Scalar | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range needs min, max or both")
        return self


class Set(BuiltinCheck):
    """Every value is one of `values`. NULL passes."""

    column: str
    values: tuple[Scalar, ...] = Field(min_length=1)


class Reference(BuiltinCheck):
    """Every value occurs in a column of another refined stream. NULL passes."""

    column: str
    to: str = Field(pattern=_STREAM_KEY)
    """`<source>/<stream>`."""
    to_column: str | None = None
    """Default: the column's own name."""


class Freshness(BuiltinCheck):
    """The newest value of a date or timestamp column is at most `max_age` old. No value at all fails.

    Timestamps without a zone are UTC; a date counts from its midnight UTC. A newest value more than five minutes in the
    future (a day, of dates) fails too: it would hide that nothing new comes.
    """

    column: str
    max_age: Duration


class RowCount(BuiltinCheck):
    """The number of rows lies within the bounds, which count as inside, and equals the source's if asked."""

    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)
    match_source: bool = False
    """Whether the source must have exactly as many rows now."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None and not self.match_source:
            raise ValueError("row_count needs min, max or match_source: true")
        return self


BUILTIN_CHECKS: Mapping[str, type[BuiltinCheck]] = {
    "not_null": NotNull,
    "unique": Unique,
    "range": Range,
    "set": Set,
    "reference": Reference,
    "freshness": Freshness,
    "row_count": RowCount,
}


def validate_specs(expectations: Sequence[ExpectSpec]) -> None:
    """Raises ConfigError for an unknown type, wrong arguments, or two expectations of one name."""
    names: set[str] = set()
    for spec in expectations:
        if spec.type in BUILTIN_CHECKS:
            parse_builtin(spec)
        elif spec.type in GX_TYPES:
            _check_gx(spec)
        else:
            raise _unknown_type(spec)
        name = check_name(spec)
        if name in names:
            raise ConfigError(
                f"two expectations are named '{name}'",
                where=f"expect '{name}'",
                hint="Give one of them a `name`",
            )
        names.add(name)


def parse_builtin(spec: ExpectSpec) -> BuiltinCheck:
    """The validated arguments of a built-in check. Raises ConfigError naming the valid ones."""
    model = BUILTIN_CHECKS[spec.type]
    try:
        return model.model_validate(spec.arguments)
    except ValidationError as error:
        valid = tuple(model.model_fields)
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(p) for p in first["loc"][:2])
        raise _wrong_argument(spec, place, first["msg"], valid) from None


def check_name(spec: ExpectSpec) -> str:
    """The asset check's name: the declared one, else type and columns, such as ``not_null_order_id``.

    Stable, and unique in a stream unless two expectations have both in common.
    """
    if spec.name:
        return spec.name
    arguments = spec.arguments
    parts = [arguments.get(k) for k in ("column", "columns", "column_A", "column_B", "column_list")]
    columns = [c for p in parts if p is not None for c in ([p] if isinstance(p, str) else p)]
    text = "_".join([spec.type, *map(str, columns)])
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")
    if name == text and len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}_{fingerprint(text)[:8]}"


def _check_gx(spec: ExpectSpec) -> None:
    _, needed, optional = GX_TYPES[spec.type]
    valid = (*needed, *optional)
    for key in spec.arguments:
        if key not in valid:
            raise _wrong_argument(spec, key, "is not an argument of it", valid)
    for key in needed:
        if key not in spec.arguments:
            raise _wrong_argument(spec, key, "is missing", valid)


def _unknown_type(spec: ExpectSpec) -> ConfigError:
    everything = (*BUILTIN_CHECKS, *GX_TYPES)
    close = get_close_matches(spec.type, everything, n=3)
    did_you_mean = f"Did you mean {' or '.join(close)}? " if close else ""
    valid = GX_TYPES if spec.type.startswith("expect") else BUILTIN_CHECKS
    more = "" if valid is GX_TYPES else ", or an expect_… type of Great Expectations"
    return ConfigError(
        f"unknown expectation '{spec.type}'",
        where="expect",
        hint=f"{did_you_mean}Valid: {', '.join(valid)}{more}",
    )


def _wrong_argument(spec: ExpectSpec, key: str, problem: str, valid: Sequence[str]) -> ConfigError:
    close = get_close_matches(key, valid, n=1)
    did_you_mean = f"Did you mean '{close[0]}'? " if close and close[0] != key else ""
    what = f"argument '{key}': {problem}" if key else problem
    return ConfigError(
        what,
        where=f"expect '{check_name(spec)}'",
        hint=f"{did_you_mean}Arguments of {spec.type}: {', '.join(valid)}",
    )

"""The built-in checks on DuckDB: those that read row by row share one pass over the columns they need.

NULL passes every check but `not_null`; see each check in `expectations` for the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.duckdb_session import DEFAULT_MEMORY_LIMIT_BYTES, open_duckdb
from superinsight_sync.core.errors import SisError
from superinsight_sync.core.sql import quote
from superinsight_sync.quality.expectations import (
    BuiltinCheck,
    Freshness,
    NotNull,
    Range,
    Reference,
    RowCount,
    Set,
    Unique,
)
from superinsight_sync.quality.literals import UnsuitableError, kind_of, not_among, outside

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset

_TABLE = "checked"
_CLOCK_DIFFERENCE_US = 300 * 1_000_000
"""Clocks of the customer and here may differ by so much: five minutes."""
_REFERENCED = "referenced"


@dataclass(frozen=True)
class Finding:
    """What a check found. `error` says why it could not be run; then the other fields mean nothing."""

    passed: bool = False
    checked: int = 0
    failed: int = 0
    observed: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What checks may ask beyond the table itself."""

    references: "Callable[[str], pyarrow.dataset.Dataset]"
    source_count: Callable[[], int | None]
    now: datetime
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES
    scratch_dir: Path | None = None


@dataclass(frozen=True)
class _Plan:
    """SQL expressions, and how their values (after the row count) are read."""

    expressions: tuple[str, ...]
    read: Callable[[int, Sequence[Any]], Finding]
    source: str = _TABLE


def run_builtin(
    checks: Sequence[BuiltinCheck],
    data: "pyarrow.dataset.Dataset | pa.RecordBatchReader",
    around: Surroundings,
) -> list[Finding]:
    """A finding for each check, in order. A check that cannot be run does not stop the others."""
    findings: list[Finding | None] = [_missing_column(c, data.schema) for c in checks]
    todo = [i for i, found in enumerate(findings) if found is None]
    with open_duckdb(around.memory_limit_bytes, around.scratch_dir) as con:
        try:
            _register(con, data, {name for i in todo for name in checks[i].reads})
        except _engine_errors() as error:
            return [f or Finding(error=_cannot(error)) for f in findings]
        plans: dict[int, _Plan] = {}
        for i in todo:
            try:
                plans[i] = _plan(checks[i], con, data.schema, around)
            except (UnsuitableError, SisError) as error:
                findings[i] = Finding(error=str(error))
            except _engine_errors() as error:
                findings[i] = Finding(error=_cannot(error))
        for i, found in _run(con, plans).items():
            findings[i] = found
    return [f or Finding(error="the check was not run") for f in findings]


def _engine_errors() -> tuple[type[Exception], ...]:
    import duckdb
    import pyarrow as pa

    return (duckdb.Error, pa.ArrowException, OSError)


def _cannot(error: Exception) -> str:
    """Engines quote values in their messages, so only the kind of the error is told."""
    return f"the check could not be run ({type(error).__name__})"


def _missing_column(check: BuiltinCheck, schema: "pa.Schema") -> Finding | None:
    for name in check.reads:
        if name not in schema.names:
            return Finding(error=no_column(name, schema.names))
    return None


def no_column(name: str, names: Sequence[str]) -> str:
    """The message for a column that is not there."""
    shown = [n for n in names if not n.startswith("_sis_")]
    close = get_close_matches(name, shown, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"there is no column '{name}'; {hint}columns: {', '.join(shown)}"


def _register(
    con: "duckdb.DuckDBPyConnection", data: "pyarrow.dataset.Dataset | pa.RecordBatchReader", needed: set[str]
) -> None:
    """Makes the needed columns readable as often as checks ask. A reader gives its rows once, so the engine
    keeps them, and spills."""
    import pyarrow as pa

    kept = [f for f in data.schema if f.name in needed] or list(data.schema)[:1]
    if isinstance(data, pa.RecordBatchReader):
        con.register("incoming", data)
        names = ", ".join(quote(f.name) for f in kept)
        con.execute(f"CREATE TEMP TABLE {_TABLE} AS SELECT {names} FROM incoming")  # noqa: S608 - quoted names
    else:
        con.register(_TABLE, data.replace_schema(pa.schema(kept)))


def _run(con: "duckdb.DuckDBPyConnection", plans: Mapping[int, _Plan]) -> dict[int, Finding]:
    """Checks over the table in one query; if that fails, each alone: only the broken ones are lost."""
    together = {i: p for i, p in plans.items() if p.source == _TABLE}
    groups = [together] if together else []
    groups += [{i: p} for i, p in plans.items() if p.source != _TABLE]
    found: dict[int, Finding] = {}
    while groups:
        group = groups.pop()
        try:
            found |= _query(con, group)
        except _engine_errors() as error:
            if len(group) == 1:
                found |= {i: Finding(error=_cannot(error)) for i in group}
            else:
                groups += [{i: p} for i, p in group.items()]
    return found


def _query(con: "duckdb.DuckDBPyConnection", group: Mapping[int, _Plan]) -> dict[int, Finding]:
    source = next(iter(group.values())).source
    expressions = ["count(*)", *(e for plan in group.values() for e in plan.expressions)]
    row = con.execute(f"SELECT {', '.join(expressions)} FROM {source}").fetchone()  # noqa: S608 - built here
    values = list(row or ())
    found, at = {}, 1
    for i, plan in group.items():
        found[i] = plan.read(values[0], values[at : at + len(plan.expressions)])
        at += len(plan.expressions)
    return found


def _plan(
    check: BuiltinCheck, con: "duckdb.DuckDBPyConnection", schema: "pa.Schema", around: Surroundings
) -> _Plan:
    match check:
        case NotNull():
            return _Plan(
                (f"count(*) FILTER ({quote(check.column)} IS NULL)",), lambda rows, v: _of(rows, v[0])
            )
        case Range():
            type_ = schema.field(check.column).type
            return _violations(check.column, outside(quote(check.column), type_, check.min, check.max))
        case Set():
            type_ = schema.field(check.column).type
            return _violations(check.column, not_among(quote(check.column), type_, check.values))
        case Unique():
            return _unique(check)
        case Reference():
            return _reference(check, con, schema, around)
        case Freshness():
            return _freshness(check, schema, around.now)
        case RowCount():
            return _row_count(check, around)
    raise UnsuitableError(f"{type(check).__name__} is no built-in check")


def _of(checked: int, failed: int) -> Finding:
    return Finding(passed=failed == 0, checked=checked, failed=failed)


def _violations(column: str, condition: str) -> _Plan:
    return _Plan(
        (f"count({quote(column)})", f"count(*) FILTER ({condition})"), lambda rows, v: _of(v[0], v[1])
    )


def _unique(check: Unique) -> _Plan:
    names = [quote(c) for c in check.columns]
    complete = " AND ".join(f"{n} IS NOT NULL" for n in names)
    groups = f"(SELECT count(*) AS n FROM {_TABLE} WHERE {complete} GROUP BY {', '.join(names)})"  # noqa: S608 - quoted
    expressions = ("coalesce(sum(n), 0)::BIGINT", "coalesce(sum(n - 1), 0)::BIGINT")
    return _Plan(expressions, lambda rows, v: _of(v[0], v[1]), groups)


def _reference(
    check: Reference, con: "duckdb.DuckDBPyConnection", schema: "pa.Schema", around: Surroundings
) -> _Plan:
    import pyarrow as pa

    target = around.references(check.to)
    to_column = check.to_column or check.column
    if to_column not in target.schema.names:
        raise UnsuitableError(f"{check.to}: {no_column(to_column, target.schema.names)}")
    ours, theirs = schema.field(check.column).type, target.schema.field(to_column).type
    zones = [getattr(t, "tz", None) is None for t in (ours, theirs)]
    if kind_of(ours) is None or kind_of(ours) != kind_of(theirs) or zones[0] != zones[1]:
        raise UnsuitableError(f"type {ours} cannot be compared with {theirs} of {check.to}.{to_column}")
    name = f"{_REFERENCED}_{fingerprint([check.to, to_column])[:16]}"
    con.register(name, target.replace_schema(pa.schema([target.schema.field(to_column)])))
    known = f"(SELECT DISTINCT {quote(to_column)} AS key FROM {name})"  # noqa: S608 - quoted names
    column = f"{_TABLE}.{quote(check.column)}"
    found = f"(SELECT {column} AS ours, k.key FROM {_TABLE} LEFT JOIN {known} AS k ON {column} = k.key)"  # noqa: S608
    expressions = ("count(ours)", "count(*) FILTER (ours IS NOT NULL AND key IS NULL)")
    return _Plan(expressions, lambda rows, v: _of(v[0], v[1]), found)


def _freshness(check: Freshness, schema: "pa.Schema", now: datetime) -> _Plan:
    type_ = schema.field(check.column).type
    if kind_of(type_) not in ("date", "timestamp"):
        raise UnsuitableError(f"freshness needs a date or timestamp column; '{check.column}' is {type_}")
    column = quote(check.column)
    now_us = round(now.timestamp() * 1_000_000)
    ahead_us = 86_400_000_000 if kind_of(type_) == "date" else _CLOCK_DIFFERENCE_US
    limit_us = round(check.max_age.total_seconds() * 1_000_000)

    def read(rows: int, values: Sequence[Any]) -> Finding:
        checked, newest_us, ahead = values
        if newest_us is None:
            return Finding(observed="there is no value")
        age_us = now_us - newest_us
        text = f"the newest value is {_span(age_us)} old; allowed: {_span(limit_us)}"
        if age_us < -ahead_us:
            text = f"the newest value is {_span(-age_us)} in the future: it says nothing of how fresh the rows are"
            return Finding(checked=checked, failed=ahead, observed=text)
        return Finding(passed=age_us <= limit_us, checked=checked, observed=text)

    at = f"epoch_us({column}::TIMESTAMPTZ)"
    later = f"count(*) FILTER ({at} > {now_us + ahead_us})"
    return _Plan((f"count({column})", f"max({at})", later), read)


def _row_count(check: RowCount, around: Surroundings) -> _Plan:
    expected = around.source_count() if check.match_source else None
    if check.match_source and expected is None:
        raise UnsuitableError("the source does not tell its row count")
    low = max((n for n in (check.min, expected) if n is not None), default=0)

    def read(rows: int, values: Sequence[Any]) -> Finding:
        highest = min((n for n in (check.max, expected) if n is not None), default=rows)
        failed = max(low - rows, rows - highest, 0)
        text = f"{rows} rows" if expected is None else f"{rows} rows; the source has {expected}"
        return Finding(passed=failed == 0, checked=rows, failed=failed, observed=text)

    return _Plan((), read)


def _span(microseconds: int) -> str:
    """A length of time in its two greatest units: `3h 12m`."""
    seconds = abs(microseconds) // 1_000_000
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[str] = []
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return ("-" if microseconds < 0 else "") + " ".join(parts[:2])

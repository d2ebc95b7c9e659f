"""A dataset in numbers, per column and split: counted on one thread, so that they repeat to the digit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.sql import quote
from superinsight_sync.export.batches import read_file
from superinsight_sync.export.select import BUCKET, Reopened, duckdb_errors
from superinsight_sync.export.staging import Staged
from superinsight_sync.export.types import has_text

Kind = Literal["number", "time", "text", "boolean", "list", "other"]

BINS = 24
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TAIL = 0.005
MAX_DISTINCT_FOR_VALUES = 50
MIN_ROWS_FOR_VALUE = 5
"""A value that fewer rows have is not shown by itself: it may be a person."""
MAX_VALUES = 10
OTHERS = ""
"""Stands for all other values where values are counted."""
_EXACT_DISTINCT = 2_000
"""Sets that are about so large are counted exactly."""
_LONG_BYTES = 256
_HUGE = 1e150
"""From here on squares and sums leave the range of a double."""
_LONG_TAIL = 4
_EXACT_QUANTILE_ROWS = 2_000_000
"""Exact quantiles keep a column's values in memory; above this many rows they are a t-digest's."""


@dataclass(frozen=True)
class Count:
    """How many different values there are; an estimate (HyperLogLog, about 5 % off) is never above the rows."""

    value: int
    exact: bool = True


@dataclass(frozen=True)
class Measured:
    """Numbers of one column in one split (or in all).

    The measure is the number itself, seconds since 1970 of a time, characters of a text, elements of a list.
    """

    nulls: int = 0
    distinct: Count = Count(0)
    non_finite: int = 0
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[float, ...] = ()
    """At 5, 25, 50, 75 and 95 %."""
    tails: tuple[float, ...] = ()
    """The same at 0.5 and 99.5 %."""


@dataclass(frozen=True)
class Histogram:
    """Equal bins between `low` and `high`; what lies outside is counted in the outermost ones."""

    low: float
    high: float
    clipped: bool
    counts: Mapping[str, tuple[int, ...]]
    """Split → rows per bin."""


@dataclass(frozen=True)
class Drift:
    """How far a split's distribution is from the first split's.

    Attributes:
        psi: population stability index (Siddiqi, "Credit Risk Scorecards", 2006), over the bins or values,
            half a row added to each.
        ks: the greatest distance between the cumulative shares (Kolmogorov-Smirnov), over the bins.
        noise: the PSI that two samples of these sizes from one distribution have on average.
    """

    psi: float
    ks: float | None
    noise: float

    @property
    def level(self) -> Literal["none", "some", "strong"]:
        """By the customary limits 0.1 and 0.25, once the sampling noise is taken off."""
        beyond = self.psi - 2 * self.noise
        return "strong" if beyond > 0.25 else "some" if beyond > 0.1 else "none"


@dataclass(frozen=True)
class ColumnStatistics:
    """`values`: the most frequent values → rows per split; only of columns with few different ones."""

    name: str
    type: str
    kind: Kind
    overall: Measured
    by_split: Mapping[str, Measured]
    histogram: Histogram | None = None
    values: Mapping[str, Mapping[str, int]] | None = None
    drift: Mapping[str, Drift] | None = None
    readings: frozenset[str] = frozenset()
    """What some of its texts could be taken for by a reader that guesses: `date`, `number`."""


@dataclass(frozen=True)
class DatasetStatistics:
    """`groups_by_split`: how many different groups there are."""

    rows_by_split: Mapping[str, int]
    groups_by_split: Mapping[str, Count]
    columns: tuple[ColumnStatistics, ...]

    @property
    def rows(self) -> int:
        return sum(self.rows_by_split.values())

    @property
    def exact_quantiles(self) -> bool:
        return self.rows <= _EXACT_QUANTILE_ROWS


def dataset_statistics(staged: Staged, *, scratch_dir: Path, memory_limit_bytes: int) -> DatasetStatistics:
    """Two passes over the staged rows, column by column."""
    with duckdb_errors("statistics"), open_duckdb(memory_limit_bytes, scratch_dir) as connection:
        connection.execute("SET threads = 1")
        connection.execute("SET preserve_insertion_order = true")
        connection.execute("SET enable_progress_bar = false")
        columns = tuple(_column(connection, field, staged) for field in staged.schema)
        _look_at(connection, staged, BUCKET)
        groups = _distinct(connection, quote(BUCKET), staged)
        groups.pop("")
        return DatasetStatistics(dict(staged.rows), groups, columns)


def _look_at(connection: duckdb.DuckDBPyConnection, staged: Staged, column: str) -> None:
    """Makes one column of all splits the view `_sis_rows`; the others are not read."""
    for number, path in enumerate(staged.paths.values()):
        connection.register(f"_sis_{number}", Reopened(lambda p=path: read_file(p, [column])))  # type: ignore[misc]
    parts = (f"SELECT {n} AS _sis_split, * FROM _sis_{n}" for n in range(len(staged.paths)))  # noqa: S608
    connection.execute(f"CREATE OR REPLACE TEMP VIEW _sis_rows AS {' UNION ALL '.join(parts)}")


def _short(column: str, kind: pa.DataType) -> str:
    """Stands for the value where values are told apart: of a long one its digest, so that sets of them stay small."""
    if kind in (pa.string(), pa.large_string()):
        return f"CASE WHEN strlen({column}) > {_LONG_BYTES} THEN sha256({column}) ELSE {column} END"
    if kind in (pa.binary(), pa.large_binary()):
        return f"sha256({column})"
    return column


def _distinct(connection: duckdb.DuckDBPyConnection, column: str, staged: Staged) -> dict[str, Count]:
    """Split → how many different values it has, and those of all rows at the empty name."""
    splits = tuple(staged.paths)
    values = f"(SELECT _sis_split, {column} AS v FROM _sis_rows)"  # noqa: S608
    about = connection.sql(
        f"""SELECT _sis_split, approx_count_distinct(v), count(v) FROM {values}
            GROUP BY GROUPING SETS ((_sis_split), ())"""  # noqa: S608
    ).fetchall()
    most = max((distinct for _, distinct, _ in about), default=0)
    if most <= _EXACT_DISTINCT:
        exact = connection.sql(
            f"""SELECT _sis_split, count(DISTINCT v), 0 FROM {values}
                GROUP BY GROUPING SETS ((_sis_split), ())"""  # noqa: S608
        ).fetchall()
        counts = {n: Count(distinct) for n, distinct, _ in exact}
    else:
        counts = {n: Count(min(distinct, rows), exact=False) for n, distinct, rows in about}
    return {
        "": counts.get(None, Count(0)),
        **{split: counts.get(number, Count(0)) for number, split in enumerate(splits)},
    }


def _column(connection: duckdb.DuckDBPyConnection, field: pa.Field, staged: Staged) -> ColumnStatistics:
    _look_at(connection, staged, field.name)
    kind = _kind(field.type)
    column, measure = quote(field.name), _measure(field, kind)
    splits = tuple(staged.paths)
    exact = sum(staged.rows.values()) <= _EXACT_QUANTILE_ROWS
    quantile = "quantile_disc" if exact else "approx_quantile"
    distinct = _distinct(connection, _short(column, field.type), staged)
    measured = _measured(connection, column, measure, distinct, quantile)
    overall = measured.pop("", Measured())
    histogram = _histogram(connection, measure, overall, splits) if measure else None
    values = None
    if kind in ("text", "boolean") and 0 < overall.distinct.value <= MAX_DISTINCT_FOR_VALUES:
        values = _values(connection, column, splits)
        histogram = None if values else histogram
    drift = _drifts(splits, histogram, values)
    return ColumnStatistics(
        field.name,
        str(field.type),
        kind,
        overall,
        measured,
        histogram,
        values or None,
        drift,
        _readings(connection, field),
    )


def _readings(connection: duckdb.DuckDBPyConnection, field: pa.Field) -> frozenset[str]:
    if not has_text(field.type):
        return frozenset()
    text = f"left(trim(CAST({quote(field.name)} AS VARCHAR)), 100)"
    anywhere = "" if field.type.num_fields else "^"
    found = connection.sql(
        f"""SELECT bool_or(regexp_matches({text}, '{anywhere}\\d{{4}}-\\d{{2}}-\\d{{2}}')),
                bool_or(TRY_CAST({text} AS DOUBLE) IS NOT NULL OR lower({text}) IN ('true', 'false'))
            FROM _sis_rows"""  # noqa: S608
    ).fetchall()[0]
    return frozenset(name for name, is_so in zip(("date", "number"), found, strict=True) if is_so)


def _kind(kind: pa.DataType) -> Kind:
    t = pa.types
    if t.is_boolean(kind):
        return "boolean"
    if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        return "number"
    if t.is_timestamp(kind) or t.is_date(kind):
        return "time"
    if t.is_string(kind) or t.is_large_string(kind):
        return "text"
    if t.is_list(kind) or t.is_large_list(kind) or t.is_map(kind):
        return "list"
    return "other"


def _measure(field: pa.Field, kind: Kind) -> str | None:
    column = quote(field.name)
    match kind:
        case "number":
            return f"CAST({column} AS DOUBLE)"
        case "time":
            return f"CAST(epoch({column}) AS DOUBLE)"
        case "text":
            return f"CAST(length({column}) AS DOUBLE)"
        case "list":
            counted = "cardinality" if pa.types.is_map(field.type) else "len"
            return f"CAST({counted}({column}) AS DOUBLE)"
    return None


def _measured(
    connection: duckdb.DuckDBPyConnection,
    column: str,
    measure: str | None,
    distinct: Mapping[str, Count],
    quantile: str,
) -> dict[str, Measured]:
    """Split → its numbers, and those of all rows at the empty name."""
    finite = f"CASE WHEN isfinite({measure}) THEN {measure} END" if measure else "CAST(NULL AS DOUBLE)"
    quantiles = ", ".join(map(str, (_TAIL, *QUANTILES, 1 - _TAIL)))
    rows = connection.sql(
        f"""SELECT _sis_split, count(*) FILTER (n), count(m) - count(f),
                min(f), max(f), avg(f) FILTER (abs(f) < {_HUGE}), stddev_samp(f) FILTER (abs(f) < {_HUGE}),
                {quantile}(f, [{quantiles}])
            FROM (SELECT _sis_split, {column} IS NULL AS n, {measure or "NULL"} AS m, {finite} AS f FROM _sis_rows)
            GROUP BY GROUPING SETS ((_sis_split), ())"""  # noqa: S608
    ).fetchall()
    splits = [split for split in distinct if split]
    found = dict.fromkeys(splits, Measured())
    for number, nulls, non_finite, low, high, mean, std, at in rows:
        name = "" if number is None else splits[number]
        if low is not None and max(-low, high) >= _HUGE:
            mean = std = None
        at = tuple(at or ())
        found[name] = Measured(
            nulls, distinct[name], non_finite, low, high, mean, std, at[1:-1], at[:1] + at[-1:]
        )
    return found


def _histogram(
    connection: duckdb.DuckDBPyConnection, measure: str, overall: Measured, splits: Sequence[str]
) -> Histogram | None:
    """Over the whole span, or over the middle 99 % where a few values would leave the rest in one bin."""
    if overall.min is None or overall.max is None or overall.max - overall.min == math.inf:
        return None
    low, high = overall.min, overall.max
    tail_low, tail_high = overall.tails
    clipped = high - low > _LONG_TAIL * (tail_high - tail_low) > 0
    if clipped:
        low, high = tail_low, tail_high
    width = (high - low) / BINS
    if width == 0:
        high, width = low + 1, 1 / BINS
    bin_number = f"greatest(0, floor(({measure} - {low!r}) / {width!r}))"
    rows = connection.sql(
        f"""SELECT _sis_split, CAST(least({BINS - 1}, {bin_number}) AS INTEGER), count(*)
            FROM _sis_rows WHERE isfinite({measure}) GROUP BY ALL"""  # noqa: S608
    ).fetchall()
    counts = {split: [0] * BINS for split in splits}
    for number, at, count in rows:
        counts[splits[number]][at] = count
    return Histogram(low, high, clipped, {split: tuple(c) for split, c in counts.items()})


def _values(
    connection: duckdb.DuckDBPyConnection, column: str, splits: Sequence[str]
) -> dict[str, dict[str, int]]:
    """The most frequent values, the most frequent first, and under "" the rows of all others."""
    rows = connection.sql(
        f"""SELECT _sis_split, CAST({column} AS VARCHAR), count(*)
            FROM _sis_rows WHERE {column} IS NOT NULL GROUP BY ALL"""  # noqa: S608
    ).fetchall()
    found: dict[str, dict[str, int]] = {}
    for number, value, count in rows:
        found.setdefault(value, dict.fromkeys(splits, 0))[splits[number]] = count
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    shown = {v: c for v, c in ranked[:MAX_VALUES] if v and sum(c.values()) >= MIN_ROWS_FOR_VALUE}
    rest = [counts for value, counts in ranked if value not in shown]
    if shown and rest:
        shown[OTHERS] = {split: sum(counts[split] for counts in rest) for split in splits}
    return shown


def _drifts(
    splits: Sequence[str], histogram: Histogram | None, values: Mapping[str, Mapping[str, int]] | None
) -> dict[str, Drift] | None:
    if values:
        shares = {split: [counts[split] for counts in values.values()] for split in splits}
    elif histogram:
        shares = {split: list(counts) for split, counts in histogram.counts.items()}
    else:
        return None
    first = shares[splits[0]]
    return {
        split: _drift(first, shares[split], ordered=not values)
        for split in splits[1:]
        if sum(first) and sum(shares[split])
    }


def _drift(base: Sequence[int], other: Sequence[int], *, ordered: bool) -> Drift:
    used = [(b, o) for b, o in zip(base, other, strict=True) if b or o]
    total_b, total_o = sum(base), sum(other)
    smooth_b, smooth_o = total_b + 0.5 * len(used), total_o + 0.5 * len(used)
    psi = sum(
        ((o + 0.5) / smooth_o - (b + 0.5) / smooth_b)
        * math.log(((o + 0.5) / smooth_o) / ((b + 0.5) / smooth_b))
        for b, o in used
    )
    ks, gap = 0.0, 0.0
    for b, o in used:
        gap += b / total_b - o / total_o
        ks = max(ks, abs(gap))
    return Drift(psi, ks if ordered else None, (len(used) - 1) * (1 / total_b + 1 / total_o))

"""A stream in numbers, for descriptions: never rows, and no value of a sensitive column.

Two scans in DuckDB with a hard memory limit. The first computes every column's statistics; the second,
knowing how many distinct values there are, samples them to find sensitive columns and counts the values of
small sets.
The same rows in any order give the same profile.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from superinsight_sync.core.duck import DEFAULT_MEMORY_LIMIT_BYTES, open_duckdb
from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.core.sql import quote
from superinsight_sync.security.sensitive import SensitiveKind, classify, holds_sensitive

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset

MAX_TOP_DISTINCT = 50
MIN_ROWS_PER_VALUE = 5
"""A value is shown only if so many rows have it; a minimum or mean only if so many are behind it."""

_SAMPLE = 400
_SAMPLE_TEXT_LENGTH = 200
_MAX_SHOWN_TEXT = 60
_PATTERN_LENGTH = 32
_SHOWN_PATTERNS = 10
_MAX_KEY_CANDIDATES = 8
_TABLE = "profiled"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnProfile(_Frozen):
    """One column in numbers. `distinct` is approximate (HyperLogLog) unless `unique` is known.

    `low`, `high` and `mean` are ISO texts for dates and timestamps. `patterns` (letters as a and A,
    digits as 9) come with shares of a sample of distinct values, `top` values with row counts. Sensitive
    columns have none of these.
    """

    name: str
    type: str
    rows: int
    nulls: int
    distinct: int
    unique: bool | None = None
    low: float | int | str | None = None
    high: float | int | str | None = None
    mean: float | str | None = None
    length_min: int | None = None
    length_max: int | None = None
    length_mean: float | None = None
    patterns: tuple[tuple[str, float], ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    sensitive: SensitiveKind | None = None

    @property
    def null_share(self) -> float:
        """Rounded to four decimals."""
        return round(self.nulls / self.rows, 4) if self.rows else 0.0


class Profile(_Frozen):
    """A stream in numbers; the columns in the table's order."""

    rows: int
    columns: tuple[ColumnProfile, ...]


@dataclass(frozen=True)
class _Column:
    """How a column is looked at."""

    name: str
    type: "pa.DataType"
    readable: bool
    """Whether the engine knows the type."""
    flat: bool
    text: bool
    numeric: bool
    temporal: bool

    @property
    def sql(self) -> str:
        return quote(self.name)


@dataclass
class _Facts:
    """What the scans found of one column."""

    nulls: int = 0
    distinct: int = 0
    exact_distinct: int | None = None
    low: Any = None
    high: Any = None
    mean: Any = None
    length_min: int | None = None
    length_max: int | None = None
    length_mean: float | None = None
    sample: Sequence[str] = ()
    values: Mapping[str, int] | None = None


def profile(
    data: "pyarrow.dataset.Dataset | pa.RecordBatchReader",
    *,
    table: str = "",
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
    scratch_dir: Path | None = None,
) -> Profile:
    """The profile of a table's data columns (system columns are left out).

    Args:
        data: the rows. A reader gives them only once, so the engine keeps them, on disk if they are many.
        table: the stream's name: in `customers` a column `name` is a person's.
        memory_limit_bytes: over it the engine spills.
        scratch_dir: where it spills. Default: the system's temporary folder.

    Raises DataError if the engine cannot take the rows, TransientError if they cannot be read.
    """
    import duckdb
    import pyarrow as pa

    columns = [_column(f) for f in data.schema if not f.name.startswith("_sis_")]
    facts = {c.name: _Facts() for c in columns}
    with open_duckdb(memory_limit_bytes, scratch_dir) as con:
        try:
            _register(con, data, columns, facts)
            rows = _first_scan(con, columns, facts)
            _second_scan(con, columns, facts, rows)
        except (duckdb.Error, pa.ArrowException) as error:
            raise DataError(f"the rows could not be profiled ({type(error).__name__})") from None
        except OSError as error:
            raise TransientError(f"the rows could not be read ({type(error).__name__})") from None
    return Profile(rows=rows, columns=tuple(_profile(c, rows, facts[c.name], table) for c in columns))


def _column(field: "pa.Field") -> _Column:
    import pyarrow.types as pt

    type_ = field.type.value_type if pt.is_dictionary(field.type) else field.type
    readable = not (pt.is_decimal256(type_) or pt.is_float16(type_) or pt.is_null(type_))
    return _Column(
        name=field.name,
        type=type_,
        readable=readable,
        flat=readable and not pt.is_nested(type_),
        text=pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_),
        numeric=readable and (pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_)),
        temporal=pt.is_date(type_) or pt.is_timestamp(type_),
    )


def _register(
    con: "duckdb.DuckDBPyConnection",
    data: "pyarrow.dataset.Dataset | pa.RecordBatchReader",
    columns: Sequence[_Column],
    facts: Mapping[str, _Facts],
) -> None:
    """Makes the readable columns scannable, and counts the NULLs of the others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    other = [c.name for c in columns if not c.readable]
    kept = [data.schema.field(c.name) for c in columns if c.readable]
    filler = pa.field("_sis_filler", pa.bool_())
    if isinstance(data, pa.RecordBatchReader):
        schema = pa.schema([*kept, filler])

        def batches() -> "Iterator[pa.RecordBatch]":
            for batch in data:
                for name in other:
                    facts[name].nulls += batch.column(name).null_count
                arrays = [batch.column(f.name) for f in kept]
                yield pa.RecordBatch.from_arrays(
                    [*arrays, pa.nulls(batch.num_rows, pa.bool_())], schema=schema
                )

        con.register("incoming", pa.RecordBatchReader.from_batches(schema, batches()))
        con.execute(f"CREATE TEMP TABLE {_TABLE} AS SELECT * FROM incoming")  # noqa: S608 - constant names
        return
    for name in other:
        facts[name].nulls = data.count_rows(filter=pc.field(name).is_null())
    con.register(_TABLE, data.replace_schema(pa.schema([*kept, filler])))


def _first_scan(
    con: "duckdb.DuckDBPyConnection", columns: Sequence[_Column], facts: Mapping[str, _Facts]
) -> int:
    """Counts, bounds and lengths of every column. Returns the number of rows."""
    wanted: list[tuple[str, str, str]] = []
    for c in columns:
        if not c.readable:
            continue
        wanted.append((c.name, "nulls", f"count(*) FILTER ({c.sql} IS NULL)"))
        if c.flat:
            wanted.append((c.name, "distinct", f"approx_count_distinct({c.sql})"))
        if c.numeric:
            finite = f"FILTER (isfinite({c.sql}::DOUBLE))"
            wanted += [
                (c.name, key, f"{f}({c.sql}) {finite}") for key, f in (("low", "min"), ("high", "max"))
            ]
            wanted.append((c.name, "mean", f"favg({c.sql}::DOUBLE) {finite}"))
        if c.temporal:
            wanted += [
                (c.name, key, f"{f}({c.sql})::VARCHAR") for key, f in (("low", "min"), ("high", "max"))
            ]
            mean = f"make_timestamp(avg(epoch_us({c.sql}::TIMESTAMPTZ))::BIGINT)::VARCHAR"
            wanted.append((c.name, "mean", mean))
        if c.text:
            length = f"length({c.sql})"
            wanted += [(c.name, f"length_{k}", f"{f}({length})") for k, f in _LENGTHS.items()]
    values = _select(con, ["count(*)", *(sql for _, _, sql in wanted)])
    for (name, key, _), value in zip(wanted, values[1:], strict=True):
        setattr(facts[name], key, value)
    return int(values[0])


_LENGTHS = {"min": "min", "max": "max", "mean": "avg"}


def _second_scan(
    con: "duckdb.DuckDBPyConnection", columns: Sequence[_Column], facts: Mapping[str, _Facts], rows: int
) -> None:
    """Samples of distinct values, histograms of small sets, and exact distinct counts of likely keys."""
    wanted: list[tuple[str, str, str]] = []
    keys = 0
    for c in columns:
        fact = facts[c.name]
        if not c.flat or fact.nulls == rows:
            continue
        small = fact.distinct <= MAX_TOP_DISTINCT + 5
        whole = _is_whole(c)
        if c.text or (whole and isinstance(fact.high, int) and fact.high >= 10**8):
            nth = max(1, fact.distinct // _SAMPLE)
            text = f"left({c.sql}::VARCHAR, {_SAMPLE_TEXT_LENGTH})"
            sample = f"list(DISTINCT {text}) FILTER ({c.sql} IS NOT NULL AND hash({c.sql}) % {nth} = 0)"
            wanted.append((c.name, "sample", sample))
        if small and (c.text or whole):
            shown = f"{c.sql} IS NOT NULL AND length({c.sql}::VARCHAR) <= {_MAX_SHOWN_TEXT}"
            wanted.append((c.name, "values", f"histogram({c.sql}::VARCHAR) FILTER ({shown})"))
        likely = rows > 0 and fact.nulls == 0 and fact.distinct >= 0.85 * rows
        if likely and (c.text or whole) and keys < _MAX_KEY_CANDIDATES:
            keys += 1
            wanted.append((c.name, "exact_distinct", f"count(DISTINCT {c.sql})"))
    if not wanted:
        return
    for (name, key, _), value in zip(wanted, _select(con, [sql for _, _, sql in wanted]), strict=True):
        setattr(facts[name], key, value)


def _select(con: "duckdb.DuckDBPyConnection", expressions: Sequence[str]) -> tuple[Any, ...]:
    row = con.execute(f"SELECT {', '.join(expressions)} FROM {_TABLE}").fetchone()  # noqa: S608 - built here
    return tuple(row or ())


def _is_whole(column: _Column) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_integer(column.type) or pt.is_boolean(column.type))


def _profile(column: _Column, rows: int, fact: _Facts, table: str) -> ColumnProfile:
    sensitive = classify(column.name, sorted(fact.sample or ()), table=table)
    base = ColumnProfile(
        name=column.name,
        type=str(column.type),
        rows=rows,
        nulls=fact.nulls if column.readable or fact.nulls else rows if str(column.type) == "null" else 0,
        distinct=min(fact.exact_distinct or fact.distinct, rows - fact.nulls) if column.flat else 0,
        unique=None if fact.exact_distinct is None else fact.exact_distinct == rows,
        sensitive=sensitive,
    )
    if sensitive or rows - fact.nulls < MIN_ROWS_PER_VALUE:
        return base
    return base.model_copy(
        update={
            "low": _scalar(fact.low),
            "high": _scalar(fact.high),
            "mean": _scalar(fact.mean, digits=6),
            "length_min": fact.length_min,
            "length_max": fact.length_max,
            "length_mean": _scalar(fact.length_mean, digits=6),
            "patterns": _patterns(fact),
            "top": _top(fact),
        }
    )


def _scalar(value: Any, digits: int = 15) -> float | int | str | None:
    """A value that JSON can hold. The last digits of a sum depend on the order of rows: they go."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value if isinstance(value, int | str) else None


def _top(fact: _Facts) -> tuple[tuple[str, int], ...]:
    values = fact.values or {}
    if len(values) > MAX_TOP_DISTINCT:
        return ()
    shown = [(v, n) for v, n in values.items() if n >= MIN_ROWS_PER_VALUE and not holds_sensitive(v)]
    return tuple(sorted(shown, key=lambda pair: (-pair[1], pair[0])))


def _patterns(fact: _Facts) -> tuple[tuple[str, float], ...]:
    """Shapes that at least a few sampled values share, with their shares of the sample."""
    counts = Counter(_shape(v[:_PATTERN_LENGTH]) for v in fact.sample or ())
    shown = sorted((-n, shape) for shape, n in counts.items() if n >= MIN_ROWS_PER_VALUE)
    return tuple((shape, round(-n / counts.total(), 4)) for n, shape in shown[:_SHOWN_PATTERNS])


def _shape(text: str) -> str:
    """Letters as a and A, digits as 9; ASCII punctuation stays, anything else is ?."""
    return "".join(map(_shape_of, text))


def _shape_of(char: str) -> str:
    if char.isupper() or char.istitle():
        return "A"
    if char.isalpha():
        return "a"
    if char.isnumeric():
        return "9"
    return char if " " <= char <= "~" else "?"

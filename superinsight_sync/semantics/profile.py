"""A stream in numbers, for descriptions: never rows, and no value of a sensitive column.

Read in slices of columns, in parts that are bounded by bytes; what is kept of a column has a fixed size. The same
rows in any order and in any parts give the same profile, and new rows can be added to it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from superinsight_sync.core.duckdb_session import DEFAULT_MEMORY_LIMIT_BYTES, open_duckdb
from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.security.sensitive import SensitiveKind, commonest, kind_of_name
from superinsight_sync.semantics.tally import Column, Tally, count, scaled

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset

MIN_ROWS_PER_VALUE = 5
"""A value is shown only if so many rows have it; a minimum or mean only if so many are behind it."""

_SLICE = 25
"""Columns that are read at a time."""
_PART_ROWS = 1 << 20
_MOST_PART_BYTES = 64 << 20
_SHOWN_PATTERNS = 10
_MAX_KEY_CANDIDATES = 8
_SAMPLED_NUMBERS_FROM = 10**8
"""Whole numbers below it are no telephones and no cards."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnProfile(_Frozen):
    """One column in numbers. `distinct` is an estimate, about 3 % off, unless `distinct_exact`.

    `low`, `high` and `mean` are ISO texts for dates and timestamps. `patterns` (letters as a and A,
    digits as 9) come with shares of a sample of distinct values, `top` values with row counts. Sensitive
    columns have none of these.
    """

    name: str
    type: str
    rows: int
    nulls: int
    distinct: int
    distinct_exact: bool = True
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


@dataclass
class Counted:
    """What was counted of a table, from which its profile is made, and to which new rows can be added."""

    rows: int
    columns: tuple[Column, ...]
    tallies: dict[str, Tally]
    unique: dict[str, bool]
    """Columns that may be a key, and whether each of their values has one row."""

    def state(self) -> dict[str, Any]:
        """As `core.canonical` takes it. It holds no value that may not be shown."""
        return {
            "rows": self.rows,
            "types": {c.name: str(c.type) for c in self.columns},
            "tallies": {name: tally.state() for name, tally in self.tallies.items()},
            "unique": self.unique,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any], schema: "pa.Schema") -> "Counted | None":
        """From its state; None if the table has other columns now."""
        columns = _columns(schema)
        if {c.name: str(c.type) for c in columns} != state["types"]:
            return None
        tallies = {name: Tally.of(tally) for name, tally in state["tallies"].items()}
        return cls(state["rows"], columns, tallies, dict(state["unique"]))


def profile(
    data: "pyarrow.dataset.Dataset",
    *,
    table: str = "",
    keyed: bool = False,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
    scratch_dir: Path | None = None,
) -> Profile:
    """The profile of a table's data columns (system columns are left out).

    Args:
        data: the rows.
        table: the stream's name: in `customers` a column `name` is a person's.
        keyed: whether the key is known; if not, columns that may be one are counted exactly.
        memory_limit_bytes: over it the engine spills.
        scratch_dir: where it spills. Default: the system's temporary folder.

    Raises DataError if the engine cannot take the rows, TransientError if they cannot be read.
    """
    counted = count_table(data, keyed=keyed, memory_limit_bytes=memory_limit_bytes, scratch_dir=scratch_dir)
    return profile_of(counted, table=table)


def count_table(
    data: "pyarrow.dataset.Dataset",
    *,
    keyed: bool = False,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
    scratch_dir: Path | None = None,
) -> Counted:
    """Counts a table's data columns. Arguments and errors are those of `profile`."""
    import duckdb
    import pyarrow as pa

    columns = _columns(data.schema)
    tallies = {c.name: Tally() for c in columns}
    part_bytes = min(_MOST_PART_BYTES, memory_limit_bytes // 8)
    with open_duckdb(memory_limit_bytes, scratch_dir) as con:
        try:
            for at in range(0, len(columns), _SLICE):
                some = columns[at : at + _SLICE]
                for part in _parts(data, [c.name for c in some], part_bytes):
                    count(con, part, some, tallies)
            rows = tallies[columns[0].name].rows if columns else data.count_rows()
            candidates = [] if keyed else _key_candidates(columns, tallies, rows)
            unique = {c.name: _is_unique(con, data, c, rows, part_bytes) for c in candidates}
        except (duckdb.Error, pa.ArrowException) as error:
            raise DataError(f"the rows could not be profiled ({type(error).__name__})") from None
        except OSError as error:
            raise TransientError(f"the rows could not be read ({type(error).__name__})") from None
    return Counted(rows, columns, tallies, unique)


def add_rows(
    counted: Counted,
    rows: "pa.RecordBatchReader",
    *,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
    scratch_dir: Path | None = None,
) -> None:
    """Adds new rows to what was counted. Errors are those of `profile`."""
    import duckdb
    import pyarrow as pa

    with open_duckdb(memory_limit_bytes, scratch_dir) as con:
        try:
            for batch in rows:
                part = pa.Table.from_batches([batch])
                for at in range(0, len(counted.columns), _SLICE):
                    count(con, part, counted.columns[at : at + _SLICE], counted.tallies)
                counted.rows += batch.num_rows
        except (duckdb.Error, pa.ArrowException) as error:
            raise DataError(f"the rows could not be profiled ({type(error).__name__})") from None


def _columns(schema: "pa.Schema") -> tuple[Column, ...]:
    return tuple(Column.of(f) for f in schema if not f.name.startswith("_sis_"))


def profile_of(counted: Counted, *, table: str = "") -> Profile:
    """The profile of what was counted."""
    columns = (
        _profile(c, counted.tallies[c.name], counted.unique.get(c.name), table) for c in counted.columns
    )
    return Profile(rows=counted.rows, columns=tuple(columns))


def _parts(data: "pyarrow.dataset.Dataset", columns: Sequence[str], part_bytes: int) -> "Iterator[pa.Table]":
    """The columns' rows in tables of about `part_bytes` at most."""
    import pyarrow as pa

    from superinsight_sync.lake.bounded import bounded_batches

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in bounded_batches(data, columns, batch_bytes=part_bytes // 4):
        if held and (size + batch.nbytes > part_bytes or rows + batch.num_rows > _PART_ROWS):
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if held:
        yield pa.Table.from_batches(held)


def _key_candidates(columns: Sequence[Column], tallies: dict[str, Tally], rows: int) -> list[Column]:
    """Texts and whole numbers without NULL and without a value that is known to be there twice."""
    found = [
        c
        for c in columns
        if (c.text or c.whole) and rows and not tallies[c.name].nulls and not tallies[c.name].sketch.repeated
    ]
    return found[:_MAX_KEY_CANDIDATES]


def _is_unique(
    con: "duckdb.DuckDBPyConnection",
    data: "pyarrow.dataset.Dataset",
    column: Column,
    rows: int,
    part_bytes: int,
) -> bool:
    """Whether each value has one row, counted over the whole column; long texts by their hash."""
    from superinsight_sync.lake.bounded import bounded_reader

    con.register("single", bounded_reader(data, [column.name], batch_bytes=part_bytes))
    value = f"hash({column.sql})" if column.text else column.sql
    found = con.execute(f"SELECT count(DISTINCT {value}) FROM single").fetchall()  # noqa: S608 - a quoted name
    con.unregister("single")
    return bool(found[0][0] == rows)


def _profile(column: Column, tally: Tally, unique: bool | None, table: str) -> ColumnProfile:
    sketch, known = tally.sketch, tally.rows - tally.nulls
    sensitive = _sensitive(column, tally, table)
    base = ColumnProfile(
        name=column.name,
        type=str(column.type),
        rows=tally.rows,
        nulls=tally.nulls,
        distinct=known if unique else min(sketch.distinct, known),
        distinct_exact=bool(unique) or sketch.whole,
        unique=unique,
        sensitive=sensitive,
    )
    if sensitive or known < MIN_ROWS_PER_VALUE:
        return base
    shown = {"patterns": _patterns(tally) if _is_sampled(column, tally) else (), "top": _top(column, tally)}
    return base.model_copy(update=_bounds(column, tally) | shown)


def _bounds(column: Column, tally: Tally) -> dict[str, Any]:
    if not tally.numbers:
        return {}
    low, high, mean = tally.low, tally.high, tally.total / tally.numbers
    if column.text:
        return {"length_min": low, "length_max": high, "length_mean": _scalar(mean, digits=6)}
    if column.temporal:
        at = _EPOCH + timedelta(microseconds=round(mean)) if abs(mean) < 6e16 else None
        mean_text = str(at.replace(tzinfo=None)) if at else None
        return {"low": tally.low_text, "high": tally.high_text, "mean": mean_text}
    return {
        "low": _scalar(low),
        "high": _scalar(high),
        "mean": _scalar(_mean(low, high, scaled(tally.total, tally.numbers)), digits=6),
    }


def _mean(low: Any, high: Any, mean: float) -> float:
    """What is left of large numbers that add up to nearly nothing depends on the order of rows: it is nothing."""
    return mean if abs(mean) > 1e-9 * max(abs(float(low)), abs(float(high))) else 0.0


def _is_sampled(column: Column, tally: Tally) -> bool:
    """Whether it may hold texts that mean something: telephones are numbers at times."""
    large = isinstance(tally.high, int) and tally.high >= _SAMPLED_NUMBERS_FROM
    return column.text or (column.whole and large)


def _sensitive(column: Column, tally: Tally, table: str) -> SensitiveKind | None:
    """By what the values look like, by the name, or by what stands within texts."""
    looks = list(tally.sketch.looks.values()) if _is_sampled(column, tally) else []
    inside = column.text and any(look.inside for look in looks)
    by_value = commonest(look.kind for look in looks)
    return by_value or kind_of_name(column.name, table) or ("personal_text" if inside else None)


def _scalar(value: Any, digits: int = 15) -> float | int | str | None:
    """A value that JSON can hold. The last digits of a sum depend on the order of rows: they go."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value if isinstance(value, int | str) else None


def _top(column: Column, tally: Tally) -> tuple[tuple[str, int], ...]:
    """The values of a small set with their rows."""
    if not (column.text or column.whole):
        return ()
    shown = [(text, rows) for text, rows in tally.sketch.shown() if rows >= MIN_ROWS_PER_VALUE]
    return tuple(sorted(shown, key=lambda pair: (-pair[1], pair[0])))


def _patterns(tally: Tally) -> tuple[tuple[str, float], ...]:
    """Shapes that at least a few sampled values share, with their shares of the sample."""
    counts = Counter(look.shape for look in tally.sketch.looks.values())
    shown = sorted((-n, shape) for shape, n in counts.items() if n >= MIN_ROWS_PER_VALUE)
    return tuple((shape, round(-n / counts.total(), 4)) for n, shape in shown[:_SHOWN_PATTERNS])

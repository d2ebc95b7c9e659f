"""Counts a column's values: numbers that can be added up from parts, in whatever order the parts come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from superinsight_sync.core.sql import quote
from superinsight_sync.semantics.sketch import HASHES, SIZE, Sketch

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_TABLE = "part"
_TEXT_LENGTH = 2_000
"""So much of a text is looked at."""
_SCALE = 2.0**-64
_MARGIN = 3
"""So many times more values than are kept are asked for, since the engine's guess of their number is rough."""


@dataclass(frozen=True)
class Column:
    """How a column is looked at."""

    name: str
    type: "pa.DataType"
    readable: bool
    """Whether the engine knows the type."""
    flat: bool
    text: bool
    numeric: bool
    temporal: bool
    whole: bool
    """Integers and booleans."""

    @property
    def sql(self) -> str:
        return quote(self.name)

    @classmethod
    def of(cls, data: "pa.Field") -> "Column":
        """By its Arrow field."""
        import pyarrow.types as pt

        kind = data.type.value_type if pt.is_dictionary(data.type) else data.type
        readable = not (pt.is_decimal256(kind) or pt.is_float16(kind) or pt.is_null(kind))
        return cls(
            name=data.name,
            type=kind,
            readable=readable,
            flat=readable and not pt.is_nested(kind),
            text=pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind),
            numeric=readable and (pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)),
            temporal=pt.is_date(kind) or pt.is_timestamp(kind),
            whole=bool(pt.is_integer(kind) or pt.is_boolean(kind)),
        )


def scaled(total: float, numbers: int) -> float:
    """The mean of numbers with a scaled total."""
    return total / numbers / _SCALE


@dataclass
class Tally:
    """What was counted of one column.

    `numbers` are finite numbers, points in time (as microseconds) or texts (their length); `low`, `high` and
    `total` are theirs. The total of numbers is scaled by 2^-64, so that it stays finite.
    """

    rows: int = 0
    nulls: int = 0
    numbers: int = 0
    low: Any = None
    high: Any = None
    total: Any = 0
    low_text: str | None = None
    high_text: str | None = None
    """How the engine writes the bounds of times."""
    sketch: Sketch = field(default_factory=Sketch)

    def add(self, found: Sequence[Any], texts: Sequence[str | None]) -> None:
        """Adds what was counted of some rows: how many, low, high, total, and how the bounds are written."""
        numbers, low, high, total = found
        if not numbers:
            return
        if self.numbers == 0 or low < self.low:
            self.low, self.low_text = low, texts[0]
        if self.numbers == 0 or high > self.high:
            self.high, self.high_text = high, texts[1]
        self.numbers += numbers
        self.total += total

    def state(self) -> dict[str, Any]:
        """As `core.canonical` takes it."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sketch"}
        return {**kept, "sketch": self.sketch.state()}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Tally":
        """From its state."""
        return cls(**{**state, "sketch": Sketch.of(state["sketch"])})


def count(
    con: "duckdb.DuckDBPyConnection",
    part: "pa.Table",
    columns: Sequence[Column],
    tallies: Mapping[str, Tally],
) -> None:
    """Adds the rows of a part, which is in memory, to the columns' tallies. Raises duckdb.Error."""
    for c in columns:
        tallies[c.name].rows += part.num_rows
        tallies[c.name].nulls += part.column(c.name).null_count
    flat = [c for c in columns if c.flat]
    if not flat or not part.num_rows:
        return
    con.register(_TABLE, part.select([c.name for c in flat]))
    try:
        asked = [sql for c in flat for sql in _numbers(c)]
        found = con.execute(f"SELECT {', '.join(asked)} FROM {_TABLE}").fetchall()  # noqa: S608 - built here
        values = list(found[0])
        for c in flat:
            mine = [values.pop(0) for _ in _numbers(c)]
            if len(mine) > 1:
                tallies[c.name].add(mine[1:5], mine[5:] or (None, None))
            _distinct(con, c, tallies[c.name].sketch, int(mine[0]))
    finally:
        con.unregister(_TABLE)


def _numbers(c: Column) -> list[str]:
    """SQL of the number of distinct values, about; and where there is a measure of its count and bounds."""
    distinct = f"approx_count_distinct({c.sql})"
    if c.numeric:
        finite = f"FILTER (isfinite({c.sql}::DOUBLE))"
        bounds = [f"{f}({c.sql}) {finite}" for f in ("count", "min", "max")]
        return [distinct, *bounds, f"fsum({c.sql}::DOUBLE * {_SCALE!r}) {finite}"]
    if c.temporal:
        at = f"epoch_us(TRY_CAST({c.sql} AS TIMESTAMPTZ))"
        texts = [f"min({c.sql})::VARCHAR", f"max({c.sql})::VARCHAR"]
        return [distinct, f"count({at})", f"min({at})", f"max({at})", f"sum({at})", *texts]
    if c.text:
        length = f"length({c.sql})"
        return [distinct, f"count({c.sql})", f"min({length})", f"max({length})", f"sum({length})"]
    return [distinct]


def _distinct(con: "duckdb.DuckDBPyConnection", c: Column, sketch: Sketch, about: int) -> None:
    """Adds the part's values to the sketch: those whose hash may be among the smallest."""
    guessed = sketch.whole and about > _MARGIN * SIZE
    found = _values(con, c, _MARGIN * SIZE * HASHES // about if guessed else sketch.bound)
    if guessed and len(found) < SIZE:
        guessed, found = False, _values(con, c, sketch.bound)
    sketch.add(found, whole=not guessed)


def _values(con: "duckdb.DuckDBPyConnection", c: Column, bound: int) -> list[tuple[int, int, str | None]]:
    text = f"any_value(left({c.sql}::VARCHAR, {_TEXT_LENGTH}))" if c.text or c.whole else "NULL"
    few = f"AND hash({c.sql}) <= {bound}" if bound < HASHES - 1 else ""
    return con.execute(
        f"SELECT hash({c.sql}), count(*), {text} FROM {_TABLE} WHERE {c.sql} IS NOT NULL {few} GROUP BY 1"  # noqa: S608
    ).fetchall()

"""Compares two readings of the same records by key: which are missing, extra or different, and in which columns.

Of each row its key and a hash for each column are kept, in a DuckDB that spills beyond its memory limit. Both sides
are hashed here, from values of the same Arrow types, so that no text form of a value has to be agreed on. Hashes have
64 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.sql import quote
from superinsight_sync.lake.system_columns import row_hash

if TYPE_CHECKING:
    import duckdb

Side = Literal["source", "lake"]
_NEWER = "_sis_newer"
_SHOWN = 1_000


@dataclass(frozen=True)
class Comparison:
    """Numbers of rows, and of differing keys by column.

    Attributes:
        missing: rows that the source has and the lake has not; `extra` the other way round.
        different: keys of both that have other values, without those in flight.
        in_flight_missing, in_flight_different: the same, of rows newer than the checkpoint.
        columns: column → keys that differ in it.
        keys: a sample of the differing keys, with `_sis_found`. It holds values: for people who ask for them only.
    """

    source: int
    lake: int
    missing: int
    extra: int
    different: int
    in_flight_missing: int
    in_flight_different: int
    columns: dict[str, int] = field(default_factory=dict)
    keys: pa.Table | None = None

    @property
    def in_flight(self) -> int:
        """Rows newer than the checkpoint, which the next pull brings."""
        return self.in_flight_missing + self.in_flight_different

    @property
    def wrong(self) -> int:
        """Rows that differ and that no pull is known to bring."""
        return self.missing + self.extra + self.different


class Comparing:
    """Takes the rows of both sides, batch by batch.

    Args:
        duck: an open DuckDB, which keeps the hashes.
        schema: keys and compared columns with the types that both sides come in.
    """

    def __init__(
        self,
        duck: "duckdb.DuckDBPyConnection",
        keys: Sequence[str],
        columns: Sequence[str],
        schema: pa.Schema,
    ) -> None:
        self._duck, self._keys, self._columns = duck, list(keys), [c for c in columns if c not in keys]
        hashes = [pa.field(self._hash(i), pa.int64()) for i in range(len(self._columns))]
        held = pa.schema([*(schema.field(k) for k in keys), pa.field(_NEWER, pa.bool_()), *hashes])
        for side in ("source", "lake"):
            duck.register("nothing", held.empty_table())
            duck.execute(f"CREATE TABLE {side}_rows AS SELECT * FROM nothing")  # noqa: S608 - names of ours
            duck.unregister("nothing")

    @staticmethod
    def _hash(number: int) -> str:
        return f"_sis_hash_{number}"

    def add(self, side: Side, batch: pa.RecordBatch, newer: pa.Array | None = None) -> None:
        """Takes a batch. `newer` marks rows that are newer than the checkpoint."""
        if not batch.num_rows:
            return
        rows = {k: batch.column(k) for k in self._keys}
        rows[_NEWER] = pa.repeat(pa.scalar(False), batch.num_rows) if newer is None else newer
        for number, name in enumerate(self._columns):
            rows[self._hash(number)] = row_hash(
                pa.RecordBatch.from_arrays([_bits(batch.column(name))], names=[name])
            )
        self._duck.register("incoming", pa.table(rows))
        self._duck.execute(f"INSERT INTO {side}_rows SELECT * FROM incoming")  # noqa: S608 - names of ours
        self._duck.unregister("incoming")

    def compared(self) -> Comparison:
        """What was found, once both sides are complete. NULL keys match NULL."""
        self._duck.execute(self._join())
        differ = [
            f"count(*) FILTER (found = 'different' AND NOT newer AND d{i})" for i in range(len(self._columns))
        ]
        (row,) = self._duck.execute(
            "SELECT coalesce(sum(s), 0), coalesce(sum(l), 0),"  # noqa: S608 - names of ours
            " coalesce(sum(s - l) FILTER (s > l AND NOT newer), 0), coalesce(sum(l - s) FILTER (l > s), 0),"
            " count(*) FILTER (found = 'different' AND NOT newer), coalesce(sum(s - l) FILTER (s > l AND newer), 0),"
            f" count(*) FILTER (found = 'different' AND newer) {''.join(', ' + d for d in differ)} FROM pairs"
        ).fetchall()
        counts = [int(n) for n in row]
        keys = ", ".join(f"k{i} AS {quote(k)}" for i, k in enumerate(self._keys))
        shown = self._duck.sql(
            f"SELECT {keys}, found AS _sis_found FROM pairs WHERE found <> 'same'"  # noqa: S608 - quoted names
            f" AND (NOT newer OR found = 'extra') ORDER BY ALL LIMIT {_SHOWN}"
        ).to_arrow_table()
        columns = {n: c for n, c in zip(self._columns, counts[7:], strict=True) if c}
        return Comparison(
            source=counts[0],
            lake=counts[1],
            missing=counts[2],
            extra=counts[3],
            different=counts[4],
            in_flight_missing=counts[5],
            in_flight_different=counts[6],
            columns=columns,
            keys=shown,
        )

    def _join(self) -> str:
        """One row for each key: how often each side has it, and in which columns the sums of hashes differ."""
        names = [self._hash(i) for i in range(len(self._columns))]
        listed = ", ".join(map(quote, self._keys))
        sums = "".join(f", sum({n}::HUGEINT) AS {n}" for n in names)
        on = " AND ".join(f"s.{quote(k)} IS NOT DISTINCT FROM l.{quote(k)}" for k in self._keys)
        picked = ", ".join(f"coalesce(s.{quote(k)}, l.{quote(k)}) AS k{i}" for i, k in enumerate(self._keys))
        differ = "".join(f", s.{n} IS DISTINCT FROM l.{n} AS d{i}" for i, n in enumerate(names))
        any_of = " OR ".join(f"s.{n} IS DISTINCT FROM l.{n}" for n in names) or "false"
        found = (
            "CASE WHEN coalesce(s.n, 0) > coalesce(l.n, 0) THEN 'missing' WHEN coalesce(s.n, 0) < coalesce(l.n, 0)"
            f" THEN 'extra' WHEN {any_of} THEN 'different' ELSE 'same' END"
        )
        grouped = "SELECT {0}, count(*) AS n, bool_or({1}) AS newer{2} FROM {3}_rows GROUP BY {0}"
        source, lake = (grouped.format(listed, _NEWER, sums, side) for side in ("source", "lake"))
        return (
            f"CREATE TABLE pairs AS SELECT {picked}, coalesce(s.n, 0) AS s, coalesce(l.n, 0) AS l,"  # noqa: S608
            f" coalesce(s.newer, false) AS newer, {found} AS found{differ}"
            f" FROM ({source}) s FULL OUTER JOIN ({lake}) l ON {on}"
        )


def _bits(values: pa.Array) -> pa.Array:
    """Floats as their bits, so that 0.0 is not -0.0; every NaN is one NaN. Others as they are."""
    if not (pa.types.is_float32(values.type) or pa.types.is_float64(values.type)):
        return values
    one = pc.if_else(pc.is_nan(values), pa.scalar(float("nan"), values.type), values)
    return one.view(pa.int32() if pa.types.is_float32(values.type) else pa.int64())

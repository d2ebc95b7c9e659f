"""What refining costs: 12 columns, six casts, one rule.

python -m benchmarks.refine speed    CPU seconds of a million rows, beside polars doing the same in memory
python -m benchmarks.refine rows 20  peak memory of so many million rows
python -m benchmarks.refine cells    peak memory of 10,000 rows with a text of 100 kB
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from superinsight_sync.model.declaration import StepSpec
from superinsight_sync.transform.engine import refine
from superinsight_sync.transform.protocol import StepContext

TYPES = {
    "amount": "decimal(12,2)",
    "qty": "int64",
    "price": "float64",
    "at": "timestamp",
    "day": "date",
    "ok": "bool",
}

LIMIT_BYTES = 1 << 30
CELL_BYTES = 100_000


def raw_rows(rows: int) -> pa.Table:
    """Rows as they land: six columns of text that says something else, three of text, three of numbers."""
    n = pl.col("id")
    cents = (n * 37 % 10_000_000).cast(pl.Decimal(14, 2)) / 100
    frame = pl.DataFrame({"id": pl.int_range(rows, eager=True)}).with_columns(
        amount=cents.cast(pl.Decimal(14, 2)).cast(pl.String),
        qty=(n % 97).cast(pl.String),
        price=(n * 0.25).cast(pl.String),
        at=(pl.datetime(2026, 1, 1) + pl.duration(seconds=n)).dt.strftime("%Y-%m-%dT%H:%M:%S"),
        day=(pl.date(2020, 1, 1) + pl.duration(days=n % 2000)).dt.strftime("%Y-%m-%d"),
        ok=pl.when(n % 2 == 0).then(pl.lit("true")).otherwise(pl.lit("no")),
        name=pl.format("customer {}", n % 5000),
        code=pl.format("A{}", n % 99),
        note=pl.format("some text {}", n),
        twice=n * 2,
        half=n / 2,
    )
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    plain = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in table.schema]
    return table.cast(pa.schema(plain))


def ours(raw: pa.RecordBatchReader) -> int:
    """Rows that pass."""
    steps = [
        StepSpec.model_validate({"step": "cast", "columns": TYPES}),
        StepSpec.model_validate({"step": "rule", "name": "positive", "check": "amount >= 0"}),
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        refine(
            lambda: raw,
            steps,
            StepContext(("id",)),
            scratch_dir=Path(folder),
            memory_limit_bytes=LIMIT_BYTES,
        ) as refined,
    ):
        return sum(len(batch) for batch in refined.open())


def in_polars(raw: pa.Table) -> int:
    """Rows that pass. Nothing is set aside, and what does not convert ends it."""
    frame = pl.from_arrow(raw)
    assert isinstance(frame, pl.DataFrame)
    done = frame.lazy().with_columns(
        pl.col("amount").cast(pl.Decimal(12, 2)),
        pl.col("qty").cast(pl.Int64),
        pl.col("price").cast(pl.Float64),
        pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%S", time_zone="UTC"),
        pl.col("day").str.to_date("%Y-%m-%d"),
        pl.col("ok").is_in(["true", "yes"]),
    )
    return done.filter(pl.col("amount") >= 0).collect().height


def many(millions: int) -> pa.RecordBatchReader:
    """The same rows again and again."""
    some = raw_rows(100_000)
    return pa.RecordBatchReader.from_batches(
        some.schema, (batch for _ in range(millions * 10) for batch in some.to_batches(50_000))
    )


def long_cells() -> pa.RecordBatchReader:
    """Rows whose notes are long, in batches as the lake gives them."""
    some = raw_rows(10_000)
    place = some.schema.get_field_index("note")

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in some.to_batches(160):
            notes = [f"{i:08d}" * (CELL_BYTES // 8) for i in batch["id"].to_pylist()]
            yield batch.set_column(place, some.schema.field(place), pa.array(notes))

    return pa.RecordBatchReader.from_batches(some.schema, batches())


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Prints one of them."""
    what = sys.argv[1] if len(sys.argv) > 1 else "speed"
    if what == "speed":
        raw = raw_rows(1_000_000)
        for name, work in (("ours", lambda: ours(raw.to_reader(65_536))), ("polars", lambda: in_polars(raw))):
            started = time.process_time()
            passed = work()
            print(f"{name:10} {passed:>9} rows {time.process_time() - started:6.2f} CPU s")
        return
    rows = many(int(sys.argv[2])) if what == "rows" else long_cells()
    before = peak_mb()
    print(f"{ours(rows):>9} rows, limit {LIMIT_BYTES >> 20} MB, before {before} MB, peak {peak_mb()} MB")


if __name__ == "__main__":
    main()

"""What it costs to make entities, and to make them again after one record in a hundred changed.

python -m benchmarks.entities 100000    CPU seconds and peak memory, for so many things in each of three streams
"""

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from superinsight_sync.core.settings import load_settings
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.model.tables import Checkpoint, Commit, TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.resolve import resolve_entity

SOURCES = ("crm", "shop", "erp")
SPEC = EntitySpec.model_validate(
    {
        "name": "customer",
        "streams": [{"stream": f"{s}/customers", "key": ["id"], "time": "changed"} for s in SOURCES],
        "match": [{"equal": ["email"]}],
        "strategy": [{"strategy": "newest"}],
    }
)


def rows_of(source: str, first: int, last: int, step: int, minute: int) -> pa.Table:
    """Customers of 8 columns; 5 in 100 have another phone in each source."""
    n = pl.col("n")
    differs = pl.when(n % 20 == 7).then(pl.lit(source)).otherwise(pl.lit("all"))
    frame = pl.DataFrame({"n": pl.int_range(first, last, step, eager=True)}).select(
        id=pl.format("{}{}", pl.lit(source[0]), n),
        email=pl.format("person{}@example.com", n),
        name=pl.format("Person {} {}", n % 977, pl.lit(minute if minute > 9 else 0)),
        phone=pl.format("+49 {} {}", n, differs),
        city=pl.format("city {}", n % 331),
        amount=n * 3 % 1000,
        note=pl.format("some text {}", n % 5000),
        changed=pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(minutes=minute),
    )
    found = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    plain = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in found.schema]
    return found.cast(pa.schema(plain))


def land(engine: Engine, source: str, rows: pa.Table, load: str) -> None:
    """Merges them into the refined table."""
    at = datetime.now(UTC)
    engine.lake.merge(
        TableRef("default", source, "customers", "refined"),
        lambda: add_system_columns(rows.to_reader(65_536), load_id=load, extracted_at=at),
        Commit(load, {"": Checkpoint(load, at)}),
        keys=["id"],
    )


def timed(engine: Engine, what: str) -> float:
    """CPU seconds of one resolve, which it prints."""
    begun = time.process_time()
    result = resolve_entity(engine, SPEC)
    spent = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{what:30} {spent:6.1f} s CPU, peak {peak} MB, {result.touched} of {result.rows} entities made, ",
        end="",
    )
    print(f"{dict(result.conflicts)}")
    return spent


def main(things: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine("bench", load_settings({"SIS_PROJECT_DIR": folder}))
        for number, source in enumerate(SOURCES):
            land(engine, source, rows_of(source, 0, things, 1, number), f"first-{source}")
        first = timed(engine, f"first time, 3 x {things:,}")
        land(engine, "crm", rows_of("crm", 0, things, 100, 10), "second")
        again = timed(engine, "after 1 % of a stream changed")
        print(f"{again / first:.2f} of the first time")


if __name__ == "__main__":
    main(int(sys.argv[1]))

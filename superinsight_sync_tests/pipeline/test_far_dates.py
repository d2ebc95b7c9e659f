"""Dates and times that Python has none for: they land, are refined, described and shown, or are refused by name."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.arrow_values import rows_of
from superinsight_sync.core.errors import DataError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.describe import describe_stream
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.read_stats import Extremes, check_calendar
from superinsight_sync.pipeline.refine import refine_stream

_DAY_US = 86_400 * 10**6
_FAR, _EARLY = 3_672_149, -735_280
"""12024-01-02, the year 44 BC."""
TIMES = [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")]


def far(dtype: pa.DataType, *days: int | None) -> pa.Array:
    unit = 1 if pa.types.is_date(dtype) else _DAY_US
    kind = pa.int32() if unit == 1 else pa.int64()
    return pa.array([None if d is None else d * unit for d in days], kind).cast(dtype)


@pytest.mark.parametrize("dtype", TIMES, ids=str)
@pytest.mark.parametrize("sync", [{}, {"mode": "incremental", "cursor": "v"}], ids=["full", "incremental"])
def test_far_dates_land_and_go_on_to_the_end(
    engine: Engine, tmp_path: Path, dtype: pa.DataType, sync: dict[str, Any]
) -> None:
    values = far(dtype, _FAR, _EARLY, 20_000, None)
    pq.write_table(pa.table({"id": range(4), "v": values}), tmp_path / "a.parquet")
    source = SourceSpec.model_validate(
        {
            "name": "far",
            "connection": {"kind": "files", "path": str(tmp_path), "settle": "0s"},
            "streams": [{"name": "s", "path": "a.parquet", "primary_key": ["id"], "sync": sync}],
        }
    )
    stream = source.streams[0]
    found = pull_stream(engine, source, stream)
    assert str(found.stats.least["v"]).startswith("-004")
    assert str(found.stats.greatest["v"]).startswith("12024")
    pull_stream(engine, source, stream, force=True)
    refine_stream(engine, source, stream)
    describe_stream(engine, source, stream)
    table = engine.lake.scan(table_of(source, stream, "refined")).read_all().sort_by("id")
    assert table["v"].combine_chunks().equals(values)
    assert rows_of(table)[0]["v"].startswith("12024-01-02")


def test_far_dates_of_a_database_land_at_every_depth(engine: Engine, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "far.duckdb")) as db:
        db.execute(
            "CREATE TABLE s AS SELECT 1 AS id, DATE '12024-01-02' AS d, TIMESTAMPTZ '0044-03-15 (BC) 00:00:00+00' AS t,"
            " [TIMESTAMP '12024-01-02'] AS l, {'a': DATE '0044-03-15 (BC)'} AS st"
        )
    source = SourceSpec.model_validate(
        {
            "name": "far",
            "connection": {"kind": "duckdb", "path": str(tmp_path / "far.duckdb")},
            "streams": [{"name": "s", "table": "s", "sync": {"mode": "incremental", "cursor": "t"}}],
        }
    )
    (stream,) = source.streams
    pull_stream(engine, source, stream)
    pull_stream(engine, source, stream)
    refine_stream(engine, source, stream)
    describe_stream(engine, source, stream)
    found = engine.lake.scan(table_of(source, stream, "refined"), columns=["d", "t", "l", "st"]).read_all()
    assert rows_of(found) == [
        {
            "d": "12024-01-02",
            "t": "-0043-03-15 00:00:00.000000Z",
            "l": ["12024-01-02 00:00:00.000000"],
            "st": {"a": "-0043-03-15"},
        }
    ]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
        pa.array([2**63 - 1], pa.int64()).cast(pa.timestamp("us")),
        pa.array([-(2**63) + 1], pa.int64()).cast(pa.timestamp("us", "UTC")),
    ],
    ids=str,
)
def test_what_no_calendar_has_is_refused_by_name(values: pa.Array) -> None:
    with pytest.raises(DataError, match="column 'v' holds a date or time that is infinite"):
        check_calendar(pa.record_batch({"v": values}))


@pytest.mark.parametrize("dtype", TIMES, ids=str)
def test_a_statistic_is_of_all_batches(dtype: pa.DataType) -> None:
    extremes = Extremes()
    for days in ((_FAR, None), (0,), (None,), (_EARLY,), (1,)):
        extremes.add(pa.record_batch({"v": far(dtype, *days)}))
    assert (extremes.least["v"][:4], extremes.greatest["v"][:5]) == ("-004", "12024")
    near = Extremes()
    near.add(pa.record_batch({"v": far(pa.date32(), 0, 1)}))
    assert near.least == {"v": date(1970, 1, 1)}

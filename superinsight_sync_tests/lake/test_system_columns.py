"""Load, time, hash and partition on every row."""

from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.lake.system_columns import (
    add_system_columns,
    partition_keys,
    row_hash,
    row_hash_algorithm,
)
from superinsight_sync.model.tables import SYSTEM_COLUMNS
from superinsight_sync.model.window import PartitionUnit, partition_key

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
UNITS: tuple[PartitionUnit, ...] = ("hour", "day", "week", "month")
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))


def test_the_columns_are_appended_and_the_data_stays() -> None:
    rows = pa.table(
        {"a": [1, 2], "at": pa.array([AT, None], pa.timestamp("us", "UTC")), "_sis_hash": ["old", "old"]}
    )
    found = add_system_columns(
        rows.to_reader(), load_id="l", extracted_at=AT, partition_of=("at", "hour")
    ).read_all()
    assert found.column_names == ["a", "at", *SYSTEM_COLUMNS]
    assert found["_sis_load_id"].to_pylist() == ["l", "l"]
    assert found["_sis_extracted_at"].to_pylist() == [AT, AT]
    assert found["_sis_partition"].to_pylist() == ["2026-01-02-03:00", None]
    assert found.schema.field("_sis_hash").type == pa.int64()
    kept = rows.append_column("_sis_partition", pa.array(["p", "q"]))
    again = add_system_columns(kept.to_reader(), load_id="l", extracted_at=AT)
    assert again.read_all()["_sis_partition"].to_pylist() == ["p", "q"]
    assert (
        add_system_columns(rows.schema.empty_table().to_reader(), load_id="l", extracted_at=AT)
        .read_all()
        .num_rows
        == 0
    )


ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-9, 9),
        st.none() | st.text("aé😀", max_size=2),
        st.none() | st.lists(st.booleans(), max_size=2),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@given(rows=ROWS, size=st.integers(1, 4))
def test_equal_rows_have_equal_hashes_in_every_batch_and_others_differ(
    rows: list[tuple[object, ...]], size: int
) -> None:
    kinds = [pa.int64(), pa.string(), pa.list_(pa.bool_())]
    table = pa.table({f"c{i}": pa.array([r[i] for r in rows], t) for i, t in enumerate(kinds)})
    hashes = [h for b in table.to_batches(max_chunksize=size) for h in row_hash(b).to_pylist()]
    assert hashes == row_hash(table.combine_chunks().to_batches()[0]).to_pylist()
    seen = dict(zip(map(repr, rows), hashes, strict=True))
    assert len(set(seen.values())) == len(seen)


def test_the_hash_of_a_row_is_the_same_in_another_process() -> None:
    import subprocess
    import sys

    code = (
        "import pyarrow as pa; from superinsight_sync.lake.system_columns import *;"
        "batch = pa.record_batch({'a': [1, None], 'b': ['', None]});"
        "print(row_hash(batch).to_pylist(), row_hash_algorithm())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout for _ in range(2)
    }
    here = (
        f"{row_hash(pa.record_batch({'a': [1, None], 'b': ['', None]})).to_pylist()} {row_hash_algorithm()}"
    )
    assert {r.decode().strip() for r in runs} == {here}


def test_types_the_hash_cannot_read_are_hashed_as_they_are_kept() -> None:
    batch = pa.record_batch(
        {
            "big": pa.array([1, 2], pa.decimal256(30, 2)),
            "span": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        }
    )
    assert len(set(row_hash(batch).to_pylist())) == 2


@given(times=st.lists(st.none() | TIMES, max_size=8), unit=st.sampled_from(UNITS))
def test_partition_keys_are_those_of_the_windows(times: list[datetime | None], unit: PartitionUnit) -> None:
    expected = [partition_key(unit, t) if t else None for t in times]
    berlin = pa.array(times, pa.timestamp("us", "Europe/Berlin"))
    assert partition_keys(berlin, unit, "c").to_pylist() == expected
    naive = pa.array([t.replace(tzinfo=None) if t else None for t in times], pa.timestamp("us"))
    assert partition_keys(naive, unit, "c").to_pylist() == expected
    east = timezone(timedelta(hours=5, minutes=30))
    for write in (
        lambda t: t.replace(tzinfo=None).isoformat(),
        lambda t: t.replace(tzinfo=None).isoformat(" "),
        lambda t: t.isoformat(),
        lambda t: t.isoformat().replace("+00:00", "Z"),
        lambda t: t.astimezone(east).isoformat(),
    ):
        text = pa.array([write(t) if t else None for t in times], pa.string())
        assert partition_keys(text, unit, "c").to_pylist() == expected
    days = pa.array([t.date() if t else None for t in times], pa.date32())
    expected = [partition_key(unit, t.replace(hour=0)) if t else None for t in times]
    assert partition_keys(days, unit, "c").to_pylist() == expected


def test_date_text_and_mixed_zones_have_keys() -> None:
    text = pa.array(["2026-03-01", "2026-03-01T23:00:00-02:00", "2026-03-01 23:00", None])
    assert partition_keys(text, "day", "c").to_pylist() == ["2026-03-01", "2026-03-02", "2026-03-01", None]
    assert partition_keys(pa.array([date(1969, 12, 31)]), "month", "c").to_pylist() == ["1969-12-01"]


def test_a_cursor_without_calendar_is_refused() -> None:
    rows = pa.table({"a": [1]})
    with pytest.raises(ConfigError, match="'b' is not among"):
        add_system_columns(rows.to_reader(), load_id="l", extracted_at=AT, partition_of=("b", "day"))
    with pytest.raises(ConfigError, match="no calendar partition"):
        add_system_columns(rows.to_reader(), load_id="l", extracted_at=AT, partition_of=("a", "day"))
    with pytest.raises(DataError, match="no ISO 8601") as caught:
        partition_keys(pa.array(["secret-value"]), "day", "c")
    assert "secret-value" not in str(caught.value)
    with pytest.raises(DataError, match="years 1 to 9999"):
        partition_keys(pa.array([2**62], pa.timestamp("us")), "day", "c")

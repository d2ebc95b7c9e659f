"""Datasets of every shape: wide, long, large; what is read and held follows what is asked."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from superinsight_sync.core.errors import DataError
from superinsight_sync.export.batches import cut, row_bytes
from superinsight_sync.export.select import columns_used, select_rows
from superinsight_sync_tests.export.making import MEMORY_BYTES, build, dataset, digests, local


def test_batches_are_bounded_by_bytes_and_cut_by_content_alone() -> None:
    table = pa.table({"n": range(9_000), "t": ["x" * (n % 7) * 1_000 for n in range(9_000)]})
    ways = [
        [len(b) for b in cut(table.to_batches(max_chunksize=size), 4_096, 4 << 20)]
        for size in (9_000, 777, 2_048)
    ]
    assert ways[0] == ways[1] == ways[2]
    assert sum(ways[0]) == 9_000
    assert max(row_bytes(b).sum() for b in cut(table.to_batches(), 4_096, 4 << 20)) <= 4 << 20


def test_a_wide_dataset_is_sorted_by_a_narrow_key_and_repeats(tmp_path: Path) -> None:
    wide = pa.table({f"c{n}": [(i * n) % 7 / 2 for i in range(50)] for n in range(300)})
    spec = dataset(formats=["parquet"])
    with select_rows(
        spec, {"rows": ds.dataset(wide)}, scratch_dir=tmp_path, memory_limit_bytes=MEMORY_BYTES
    ) as rows:
        assert sum(len(b) for b in rows.rows) == 50
    narrow = wide.select(wide.column_names[:40])
    shuffled = narrow.take(pa.array(reversed(range(50))))
    spec = dataset(formats=["csv"], order_by=["C3"])
    first, again = build(spec, tmp_path / "1", rows=narrow), build(spec, tmp_path / "2", rows=shuffled)
    assert digests(first) == digests(again)
    read = local(first, "data/train.csv").read_text().splitlines()
    keys = [float(line.split(",")[3]) for line in read[1:]]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("select", "used"),
    [
        ('SELECT id, total + 2 AS "Sum" FROM rows', ["id", "Total"]),
        ("SELECT count(*) AS n FROM rows WHERE TOTAL > 1", ["Total"]),
        ("SELECT count(*) AS n FROM rows", ["id"]),
        ("SELECT * EXCLUDE (id) FROM rows", ["id", "Total", 'o"k']),
        ("SELECT r.* FROM rows r", ["id", "Total", 'o"k']),
        ('SELECT "o""k" AS x FROM rows', ['o"k']),
    ],
)
def test_only_columns_that_the_select_may_need_are_read(select: str, used: list[str]) -> None:
    assert columns_used(select, ["id", "Total", 'o"k']) == used


def test_rows_without_a_group_can_be_refused(tmp_path: Path) -> None:
    spec = dataset(split={"group_by": ["G"], "null_groups": "refuse"})
    build(spec, tmp_path / "1", rows=pa.table({"g": ["a", "b"]}))
    with pytest.raises(DataError, match="'g' is NULL"):
        build(spec, tmp_path / "2", rows=pa.table({"g": ["a", None]}))


def test_counts_in_reports_are_exact_or_marked_and_never_above_the_rows(tmp_path: Path) -> None:
    species = pa.table({"s": ["Adelie", "Chinstrap", "Gentoo"] * 100, "id": [n // 2 for n in range(300)]})
    built = build(dataset(formats=["parquet"]), tmp_path / "1", rows=species)
    card = local(built, "README.md").read_text()
    assert "| s | `string` | shop/rows.s | 0 | 3 |" in card
    assert "| id | `int64` | shop/rows.id | 0 | 150 |" in card
    many = build(dataset(formats=["parquet"]), tmp_path / "2", rows=pa.table({"x": range(12_000)}))
    distinct = many.statistics.columns[0].overall.distinct
    assert distinct.value <= 12_000
    assert not distinct.exact
    assert f"≈ {distinct.value:,}" in local(many, "report.html").read_text()


@pytest.mark.parametrize("order_by", [["kind"], []])
def test_long_cells_are_ordered_in_buckets_bounded_by_bytes(tmp_path: Path, order_by: list[str]) -> None:
    """60 MB of cells pass where 32 MB may be used, and come in the same bytes whatever way they arrive."""
    cells = [f"{n:06d}" + "long cell " * 10_000 for n in range(600)]
    table = pa.table({"kind": [None if n % 9 == 0 else n % 5 for n in range(600)], "t": cells})
    other = table.take(pa.array(sorted(range(600), key=lambda n: n * 7_919 % 600)))
    spec = dataset(formats=["jsonl"], order_by=order_by, split={"ratios": {"train": 0.8, "test": 0.2}})
    builds = [
        build(spec, tmp_path / str(size), rows_per_batch=size, memory_bytes=32 << 20, rows=rows)
        for size, rows in ((600, table), (7, other))
    ]
    assert digests(builds[0]) == digests(builds[1])
    read = [
        [json.loads(line) for line in local(builds[0], f"data/{split}.jsonl").open()]
        for split in ("train", "test")
    ]
    assert sorted(row["t"] for rows in read for row in rows) == cells
    if order_by:
        for rows in read:
            kinds = [row["kind"] for row in rows]
            assert kinds == sorted(kinds, key=lambda kind: (kind is None, kind))
    with select_rows(
        spec, {"rows": ds.dataset(table)}, scratch_dir=tmp_path / "s", memory_limit_bytes=32 << 20
    ) as chosen:
        sizes = [row_bytes(batch).sum() for batch in chosen.rows]
    assert max(sizes) <= (32 << 20) // 16 + 200_000
    assert len(sizes) >= 60_000_000 // (2 << 20)

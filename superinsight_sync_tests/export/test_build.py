"""Equal inputs and declaration give equal bytes; what comes out is what the SELECT says."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync_tests.export.making import build, dataset, digests, local, orders

SPLIT = {"split": {"group_by": ["customer"], "seed": 3}}


def rows_of(
    built: object, splits: tuple[str, ...] = ("train", "validation", "test")
) -> list[dict[str, object]]:
    lines = [local(built, f"data/{s}.jsonl").read_text(encoding="utf-8") for s in splits]  # type: ignore[arg-type]
    return [json.loads(line) for text in lines for line in text.split("\n")[:-1]]


@pytest.mark.parametrize(
    "select",
    [
        "SELECT * FROM rows",
        "SELECT customer, sum(amount) AS total, count(*) AS n, any_value(note) AS x FROM rows GROUP BY ALL",
    ],
)
def test_a_rebuild_gives_the_same_bytes_however_the_input_is_cut(tmp_path: Path, select: str) -> None:
    spec = dataset(select=select, **SPLIT)
    table = orders(20_000)
    first = build(spec, tmp_path / "1", rows=table)
    again = build(spec, tmp_path / "2", rows=table)
    cut = build(spec, tmp_path / "3", rows_per_batch=777, rows=table)
    assert digests(first) == digests(again) == digests(cut)
    assert first.content_fingerprint == again.content_fingerprint == cut.content_fingerprint
    assert len(digests(first)) == 4 * 3 + 2 + 2


def test_the_order_of_input_rows_does_not_matter(tmp_path: Path) -> None:
    table = orders(5_000)
    shuffled = table.take(pa.array(reversed(range(5_000))))
    spec = dataset(order_by=["customer"], **SPLIT)
    assert digests(build(spec, tmp_path / "1", rows=table)) == digests(
        build(spec, tmp_path / "2", rows=shuffled)
    )


def test_both_zeros_keep_their_place(tmp_path: Path) -> None:
    forth = pa.table({"x": [0.0, -0.0, 1.0], "l": [[0.0], [0.0], [-0.0]]})
    back = forth.take(pa.array([2, 1, 0]))
    spec = dataset(split={"ratios": {"whole": 1}})
    assert digests(build(spec, tmp_path / "1", rows=forth)) == digests(build(spec, tmp_path / "2", rows=back))


def test_every_row_is_in_one_file_and_no_customer_in_two(tmp_path: Path) -> None:
    built = build(dataset(**SPLIT), tmp_path / "w", rows=orders(3_000))
    assert sorted(r["order_id"] for r in rows_of(built)) == list(range(1, 3_001))  # type: ignore[type-var]
    customers = [
        {r["customer"] for r in rows_of(built, (s,)) if r["customer"]}
        for s in ("train", "validation", "test")
    ]
    assert not (customers[0] & customers[1] or customers[0] & customers[2] or customers[1] & customers[2])
    frames = [pd.read_parquet(local(built, f"data/{s}.parquet")) for s in ("train", "validation", "test")]
    assert sum(map(len, frames)) == 3_000
    assert built.fields["rows_by_split"] == {
        s: len(f) for s, f in zip(("train", "validation", "test"), frames, strict=True)
    }


def test_rows_come_as_ordered(tmp_path: Path) -> None:
    built = build(
        dataset(order_by=["amount"], split={"ratios": {"whole": 1}}), tmp_path / "w", rows=orders(500)
    )
    amounts = [r["amount"] for r in rows_of(built, ("whole",))]
    assert amounts == sorted(amounts)  # type: ignore[type-var]


def test_system_columns_are_not_seen(tmp_path: Path) -> None:
    built = build(dataset(), tmp_path / "w", rows=orders(10))
    assert [c["name"] for c in built.fields["columns"]] == ["order_id", "customer", "amount", "note"]
    reloaded = orders(10).set_column(4, "_sis_load_id", [["x"] * 10])
    assert digests(build(dataset(), tmp_path / "v", rows=reloaded)) == digests(built)


def test_lineage_goes_to_the_inputs_columns(tmp_path: Path) -> None:
    spec = dataset(
        inputs={"rows": "shop/orders", "people": "crm/people"},
        select="SELECT r.order_id, amount * rate AS price FROM rows r JOIN people p ON p.name = r.customer",
    )
    people = pa.table(
        {"name": ["c1", "c2"], "rate": pa.array([Decimal("1.5"), Decimal("2")], pa.decimal128(5, 2))}
    )
    built = build(spec, tmp_path / "w", rows=orders(100), people=people)
    assert built.lineage["price"] == (("people", "rate"), ("rows", "amount"))
    assert built.fields["columns"][1]["sources"] == ("crm/people.rate", "shop/orders.amount")


def test_an_input_read_twice_by_the_select_is_whole_both_times(tmp_path: Path) -> None:
    select = "SELECT a.order_id FROM rows a JOIN rows b ON a.order_id = b.order_id"
    built = build(dataset(select=select), tmp_path / "w", rows_per_batch=100, rows=orders(1_000))
    assert built.fields["rows"] == 1_000


def test_no_rows_make_a_whole_dataset(tmp_path: Path) -> None:
    built = build(dataset(**SPLIT), tmp_path / "w", rows=orders(0))
    assert built.fields["rows_by_split"] == {"train": 0, "validation": 0, "test": 0}
    assert json.loads(local(built, "data/train.json").read_text()) == []
    assert local(built, "data/test.csv").read_text() == '"order_id","customer","amount","note"\n'
    assert pq.read_table(local(built, "data/test.parquet")).num_rows == 0
    assert "<svg" in local(built, "report.html").read_text()


def test_a_split_without_rows_has_its_files(tmp_path: Path) -> None:
    one_group = pa.table({"g": ["same"] * 50, "n": range(50)})
    built = build(dataset(split={"group_by": ["g"]}), tmp_path / "w", rows=one_group)
    assert sorted(built.fields["rows_by_split"].values()) == [0, 0, 50]
    assert len(digests(built)) == 14 + 2


@pytest.mark.parametrize(
    "select",
    [
        "DROP TABLE rows",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM rows; SELECT 1",
        "COPY rows TO '/tmp/stolen.csv'",
        "SELECT getenv('HOME') AS h FROM rows",
        "SELECT random() AS r FROM rows",
        "SELECT now() AS r FROM rows",
        "SELECT * FROM _sis_input_rows",
        "SELECT _sis_load_id AS l FROM rows",
        "SELECT order_id AS _sis_bucket FROM rows",
        "SELECT order_id, customer AS ORDER_ID FROM rows",
    ],
)
def test_a_select_that_is_not_safe_is_refused(tmp_path: Path, select: str) -> None:
    with pytest.raises(ConfigError):
        build(dataset(select=select), tmp_path / "w", rows=orders(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order_by": ["amuont"]}, "order_by.*'amuont'.*'amount'"),
        ({"split": {"group_by": ["custmer"]}}, "group_by.*'custmer'.*'customer'"),
        ({"select": "SELECT INTERVAL 1 DAY AS i FROM rows"}, "'i'.*interval"),
        ({"select": "SELECT ordr_id FROM rows"}, "ordr_id"),
    ],
)
def test_a_wrong_declaration_is_told_with_the_column(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        build(dataset(**changes), tmp_path / "w", rows=orders(3))


def test_a_value_that_cannot_be_computed_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        build(dataset(select="SELECT CAST(note AS INTEGER) AS n FROM rows"), tmp_path / "w", rows=orders(5))
    assert "😀" not in str(raised.value)
    assert "TRY" in str(raised.value)


def test_sums_and_uuids_arrive_in_types_that_files_hold(tmp_path: Path) -> None:
    table = pa.table({"n": pa.array([2**62] * 4), "u": ["5b8b2e5e-6f3c-4b3a-9a51-0f1d6c5f0a01"] * 4})
    spec = dataset(
        select="SELECT CAST(u AS UUID) AS u, sum(n) AS s FROM rows GROUP BY ALL",
        split={"ratios": {"whole": 1}},
    )
    built = build(spec, tmp_path / "w", rows=table)
    assert pq.read_table(local(built, "data/whole.parquet")).to_pylist() == [
        {"u": "5b8b2e5e-6f3c-4b3a-9a51-0f1d6c5f0a01", "s": Decimal(2**64)}
    ]


def test_nan_is_null_in_json_and_told(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, float("nan"), float("-inf")], "l": [[float("inf")], None, [1.0]]})
    built = build(dataset(split={"ratios": {"whole": 1}}), tmp_path / "w", rows=table)
    assert built.fields["warnings"] == [
        "column 'x': 2 NaN or infinite values are null in json and jsonl",
        "column 'l': 1 NaN or infinite values are null in json and jsonl",
    ]
    assert "NaN or infinite" in local(built, "README.md").read_text()
    assert "NaN" in local(built, "data/whole.csv").read_text()


def test_times_of_any_zone_are_written_in_utc(tmp_path: Path) -> None:
    at = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    table = pa.table({"at": pa.array([at], pa.timestamp("us", "Europe/Berlin"))})
    built = build(dataset(split={"ratios": {"whole": 1}}), tmp_path / "w", rows=table)
    assert rows_of(built, ("whole",)) == [{"at": "2026-03-29T01:30:00.000000+00:00"}]


PROBE = """
import sys
from pathlib import Path
import pyarrow as pa
from superinsight_sync.export.build import build_dataset
from superinsight_sync_tests.export.making import dataset
text = pa.string()
schema = pa.schema([("id", pa.int64()), ("customer", text), ("amount", pa.float64()), ("text", text)])
rows = int(sys.argv[1])
def opened():
    def batches():
        for start in range(0, rows, 50_000):
            ids = pa.array(range(start, start + 50_000))
            customers = pa.array([f"c{(i * 7919) % 50_000}" for i in range(50_000)])
            texts = pa.array([f"{i:064d}" for i in range(start, start + 50_000)])
            yield pa.record_batch([ids, customers, ids.cast(pa.float64()), texts], schema=schema)
    return pa.RecordBatchReader.from_batches(schema, batches())
spec = dataset(order_by=["customer"], split={"group_by": ["customer"]}, formats=["jsonl", "csv", "parquet"])
work = Path(sys.argv[2])
built = build_dataset(spec, {"rows": opened}, {"rows": 1}, work_dir=work, memory_limit_bytes=192 << 20)
assert built.fields["rows"] == rows
# Not ru_maxrss, which a child has from its parent.
status = Path("/proc/self/status").read_text()
sys.stdout.write(str(int(status.split("VmHWM:")[1].split()[0]) >> 10))
"""


@pytest.mark.slow
def test_a_million_rows_stay_in_bounded_memory(tmp_path: Path) -> None:
    def peak_mb(rows: int) -> int:
        command = [sys.executable, "-c", PROBE, str(rows), str(tmp_path / str(rows))]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    small, large = peak_mb(200_000), peak_mb(1_000_000)
    assert large < 800, (small, large)
    assert large - small < 250, (small, large)

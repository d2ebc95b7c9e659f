import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync_tests.sources.customers import Customer, rows


def customer(request: pytest.FixtureRequest) -> Customer:
    folder = request.getfixturevalue("tmp_path_factory").mktemp("customer")
    (folder / "orders").mkdir()
    ids, notes, amounts, times = (list(values) for values in zip(*rows(), strict=True))
    table = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "note": pa.array(notes, pa.string()),
            "amount": pa.array(amounts, pa.decimal128(12, 2)),
            "updated_at": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )
    for number, start in enumerate(range(0, len(ids), 250)):
        pq.write_table(table.slice(start, 250), folder / "orders" / f"{number}.parquet", row_group_size=100)
    return Customer(
        {"kind": "files", "path": str(folder)},
        {"path": "orders/*.parquet"},
        ({"path": "orderz/*.parquet"}, "no file matches"),
        own_columns=("_sis_file",),
    )

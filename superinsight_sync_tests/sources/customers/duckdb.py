import duckdb
import pytest

from superinsight_sync_tests.sources.customers import Customer, rows


def customer(request: pytest.FixtureRequest) -> Customer:
    path = request.getfixturevalue("tmp_path_factory").mktemp("customer") / "customer.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute(
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, note VARCHAR, amount DECIMAL(12,2),"
            " updated_at TIMESTAMPTZ NOT NULL)"
        )
        db.executemany("INSERT INTO orders VALUES (?,?,?,?)", rows())
    return Customer(
        {"kind": "duckdb", "path": str(path)}, {"table": "orders"}, ({"table": "orderz"}, "orders")
    )

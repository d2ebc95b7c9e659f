import sqlite3
from contextlib import closing

import pytest

from superinsight_sync_tests.sources.customers import Customer, rows


def customer(request: pytest.FixtureRequest) -> Customer:
    path = request.getfixturevalue("tmp_path_factory").mktemp("customer") / "customer.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, amount TEXT, updated_at TEXT NOT NULL)"
        )
        db.executemany(
            "INSERT INTO orders VALUES (?,?,?,?)",
            [(n, note, f"{amount:.2f}", at.isoformat()) for n, note, amount, at in rows()],
        )
    return Customer(
        {"kind": "sqlite", "path": str(path)},
        {"table": "orders"},
        ({"table": "orderz"}, "orders"),
        exact_amount=False,
    )

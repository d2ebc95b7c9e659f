"""A small customer database for tests, and declarations over it."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec

ORDERS = """CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY, customer TEXT, amount TEXT, placed_at TEXT NOT NULL, updated_at TEXT NOT NULL)"""


def order(
    number: int, *, day: int | None = None, amount: str | None = None, updated: str | None = None
) -> tuple[Any, ...]:
    """One order, by default on one of the first 28 days of January 2026."""
    day = day or number % 28 + 1
    at = f"2026-01-{day:02d}T{number % 24:02d}:30:00Z"
    return (number, f"c{number % 7}", amount or f"{number}.{number % 100:02d}", at, updated or at)


def make_shop(path: Path, orders: Iterable[tuple[Any, ...]]) -> Path:
    """A SQLite database with a table `orders`."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(ORDERS)
        db.executemany("INSERT INTO orders VALUES (?,?,?,?,?)", list(orders))
    return path


def change(path: Path, sql: str, rows: Iterable[tuple[Any, ...]] = ((),)) -> None:
    """Changes the customer's database."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(sql, list(rows))


def shop_source(path: Path, **stream: Any) -> SourceSpec:
    """A source with one stream `orders`, full load unless said otherwise."""
    spec = {
        "name": "orders",
        "table": "orders",
        "primary_key": ["order_id"],
        "refine": [{"step": "cast", "columns": {"amount": "decimal(12,2)", "placed_at": "timestamp"}}],
        **stream,
    }
    spec = {k: v for k, v in spec.items() if v is not None}
    return SourceSpec.model_validate(
        {
            "name": "shop",
            "tenant": "acme",
            "connection": {"kind": "sqlite", "path": str(path)},
            "streams": [spec],
        }
    )


def shop_dataset(**changes: Any) -> DatasetSpec:
    """A dataset over the refined orders, split by customer."""
    return DatasetSpec.model_validate(
        {
            "name": "orders_sample",
            "tenant": "acme",
            "inputs": {"orders": "shop/orders"},
            "select": "SELECT order_id, customer, amount, placed_at FROM orders",
            "split": {"group_by": ["customer"]},
            "formats": ["jsonl", "csv", "parquet"],
            **changes,
        }
    )

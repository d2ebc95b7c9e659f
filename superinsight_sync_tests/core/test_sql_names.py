"""Outputs are called as the SELECT says, whatever the case of the names it uses."""

import duckdb
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import safe_select

TABLES = {"orders": ["Amount", "order_id", "CustomerId"], "people": ["Customerid", "NAME", "amount"]}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    for table, columns in TABLES.items():
        found.execute(f"CREATE TABLE {table} ({', '.join(c + ' INT' for c in columns)})")
    return found


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ("SELECT order_id AS Order_ID, amount AS AMOUNT FROM orders", ["Order_ID", "AMOUNT"]),
        ("SELECT amount AS customerID FROM orders", ["customerID"]),
        ("SELECT AMOUNT FROM orders", ["Amount"]),
        ("SELECT * FROM ORDERS", ["Amount", "order_id", "CustomerId"]),
        (
            "SELECT o.customerid, p.name AS Name FROM orders o JOIN people p ON o.CUSTOMERID = P.customerid",
            ["CustomerId", "Name"],
        ),
        ("SELECT o.*, p.NAME FROM orders AS O JOIN people p USING (CustomerID)", [*TABLES["orders"], "NAME"]),
        ("SELECT p.* FROM orders o JOIN people p ON o.amount = p.amount", TABLES["people"]),
        ("SELECT * EXCLUDE (amount) FROM people", ["Customerid", "NAME"]),
        ("SELECT p.* RENAME (amount AS Xx) FROM people p", ["Customerid", "NAME", "Xx"]),
        (
            "WITH c AS (SELECT amount AS aMount, * EXCLUDE (amount) FROM orders) SELECT * FROM C",
            ["aMount", "order_id", "CustomerId"],
        ),
        ("WITH C(x, Y) AS (SELECT amount, order_id FROM orders) SELECT * FROM c", ["x", "Y"]),
        ("SELECT s.A FROM (SELECT amount FROM orders) AS S(a)", ["a"]),
        ("SELECT amount AS Foo FROM orders UNION ALL SELECT amount AS BAR FROM people", ["Foo"]),
        ("SELECT sum(amount) AS Total, customerid FROM orders GROUP BY CustomerID", ["Total", "CustomerId"]),
        ("SELECT AMOUNT AS b, b + 1 AS C FROM orders", ["b", "C"]),
    ],
)
def test_names_are_those_that_were_written(
    connection: duckdb.DuckDBPyConnection, select: str, names: list[str]
) -> None:
    safe = safe_select(select, TABLES)
    assert connection.sql(safe.sql).columns == names
    assert list(safe.lineage) == names
    leaves = {leaf for sources in safe.lineage.values() for leaf in sources}
    assert leaves
    assert all(column in TABLES[table] for table, column in leaves)


@pytest.mark.parametrize("join", ["SELECT * FROM orders o JOIN people p ON o.amount = p.amount"])
def test_two_outputs_that_differ_only_in_case_are_refused(join: str) -> None:
    with pytest.raises(ConfigError, match="twice"):
        safe_select(join, TABLES)

import psycopg
import pytest

from superinsight_sync_tests.capture.customers import Customer


def customer(request: pytest.FixtureRequest) -> Customer:
    dsn: str = request.getfixturevalue("bank")

    def run(*statements: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            for statement in statements:
                db.execute(statement.encode())

    return Customer(dsn, run)

import os

import pytest
from bson import Decimal128
from pymongo import MongoClient

from superinsight_sync_tests.servers.mongo import MongoServer
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows


def customer(request: pytest.FixtureRequest) -> Customer:
    server: MongoServer = request.getfixturevalue("mongo_server")
    dsn = server.new_dsn()
    with MongoClient(dsn) as client:  # type: ignore[var-annotated]
        client.get_default_database()["orders"].insert_many(
            [
                {"_id": n, "id": n, "note": note, "amount": Decimal128(amount), "updated_at": at}
                for n, note, amount, at in rows()
            ]
        )
    os.environ["TEST_MONGO_DSN"] = dsn
    os.environ["TEST_MONGO_NOWHERE"] = f"mongodb://127.0.0.1:{free_port()}/x"
    nowhere = {"kind": "mongodb", "dsn": "{{ env.TEST_MONGO_NOWHERE }}", "connect_timeout": "200ms"}
    return Customer(
        {"kind": "mongodb", "dsn": "{{ env.TEST_MONGO_DSN }}"},
        {"collection": "orders", "options": {"columns": {"amount": "decimal(12,2)"}}},
        ({"collection": "orderz"}, "orders"),
        unreachable=nowhere,
        own_columns=("_id",),
    )

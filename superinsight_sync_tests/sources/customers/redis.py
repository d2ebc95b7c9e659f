import os

import pytest

from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.valkey import ValkeyServer
from superinsight_sync_tests.sources.customers import Customer, rows

COLUMNS = {"id": "int64", "note": "string", "amount": "decimal(12,2)", "updated_at": "timestamp"}


def customer(request: pytest.FixtureRequest) -> Customer:
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    os.environ["TEST_REDIS_DSN"] = server.dsn()
    os.environ["TEST_REDIS_WRONG"] = server.dsn(password="wrong-s3cret")
    os.environ["TEST_REDIS_AWAY"] = f"redis://127.0.0.1:{free_port()}/0"
    key = f"orders_{server.new_key()}"
    with server.connect() as redis:
        pipe = redis.pipeline(transaction=False)
        for n, note, amount, at in rows():
            entry = {"id": n, "note": note, "amount": f"{amount:.2f}", "updated_at": at.isoformat()}
            pipe.xadd(key, {k: v for k, v in entry.items() if v is not None})
        pipe.execute()

    def busy() -> int:
        with server.connect() as redis:
            return sum(c["name"] == "superinsight-sync" for c in redis.client_list())

    def at(variable: str) -> dict[str, str]:
        return {"kind": "redis", "dsn": f"{{{{ env.{variable} }}}}"}

    return Customer(
        at("TEST_REDIS_DSN"),
        {"topic": key, "options": {"columns": COLUMNS}},
        ({"topic": f"{key}x"}, key),
        wrong_password=(at("TEST_REDIS_WRONG"), "wrong-s3cret"),
        unreachable=at("TEST_REDIS_AWAY"),
        busy=busy,
        own_columns=("_id", "_at", "_rest"),
        cursors=False,
    )

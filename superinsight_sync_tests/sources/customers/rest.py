import os
from datetime import datetime

import pytest

from superinsight_sync_tests.servers.api import Asked, Reply, answer, fake_api
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows

_KINDS = {"id": "integer", "note": "string", "amount": "number", "updated_at": "string"}
_SCHEMA = {"type": "array", "items": {"properties": {n: {"type": t} for n, t in _KINDS.items()}}}
_CONTENT = {"content": {"application/json": {"schema": _SCHEMA}}}
_RECORDS = [
    {"id": n, "note": note, "amount": float(amount), "updated_at": at.isoformat()}
    for n, note, amount, at in rows()
]


def _api(asked: Asked) -> Reply:
    if asked.headers.get("authorization") != "Bearer right":
        return answer({"error": "who?"}, 401)
    if asked.path == "/openapi.json":
        return answer({"paths": {"/orders": {"get": {"responses": {"200": _CONTENT}}}}})
    if asked.path != "/orders":
        return answer({"error": "what?"}, 404)
    since = datetime.fromisoformat(asked.params.get("since", "2000-01-01T00:00Z"))
    found = [r for r in _RECORDS if datetime.fromisoformat(str(r["updated_at"])) >= since]
    page, size = int(asked.params.get("page", 1)), int(asked.params.get("size", 2_000))
    return answer(found[(page - 1) * size : page * size])


def customer(request: pytest.FixtureRequest) -> Customer:
    served = fake_api()
    api = served.__enter__()
    request.addfinalizer(lambda: served.__exit__(None, None, None))
    api.otherwise = _api
    os.environ["API_KEY_OF_TESTS"] = "right"
    os.environ["API_WRONG_KEY"] = "wr0ng-key"
    right = {"type": "bearer", "value": "{{ env.API_KEY_OF_TESTS }}"}
    wrong = {"type": "bearer", "value": "{{ env.API_WRONG_KEY }}"}
    connection = {"kind": "rest", "base_url": api.url, "auth": right, "allow_private": True}
    options = {
        "columns": {"amount": "decimal(12,2)", "updated_at": "timestamp"},
        "pagination": {"type": "page", "size_param": "size", "size": 250},
        "increment": {"since_param": "since"},
    }
    return Customer(
        connection,
        {"endpoint": "orders", "options": options},
        ({"endpoint": "orderz"}, "404"),
        wrong_password=({**connection, "auth": wrong}, "wr0ng-key"),
        unreachable={**connection, "base_url": f"http://127.0.0.1:{free_port()}"},
    )

import base64
import os
from typing import Any

import pytest

from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.soap import running_soap
from superinsight_sync_tests.sources.customers import Customer, rows

ACCOUNT = {"TEST_SOAP_PASSWORD": "right-s3cret", "TEST_SOAP_WRONG": "wrong-s3cret"}


def customer(request: pytest.FixtureRequest) -> Customer:
    running = running_soap()
    server = running.__enter__()
    request.addfinalizer(lambda: running.__exit__(None, None, None))
    os.environ.update(ACCOUNT)
    server.orders = [
        {"id": n, "note": note, "amount": amount, "updated_at": at} for n, note, amount, at in rows()
    ]
    right = "Basic " + base64.b64encode(f"ann:{ACCOUNT['TEST_SOAP_PASSWORD']}".encode()).decode()

    def door(environ: Any, start: Any) -> Any:
        if environ.get("HTTP_AUTHORIZATION") == right:
            return None
        start("401 Unauthorized", [("Content-Type", "text/plain")])
        return [b"no"]

    server.answer, server.lean = door, True
    base = {"kind": "soap", "wsdl": server.wsdl, "allow_private": True, "auth": "basic", "user": "ann"}
    options = {
        "columns": {"amount": "decimal(12,2)"},
        "since_param": "since",
        "page": {"param": "page", "size_param": "size", "size": 250},
    }
    return Customer(
        {**base, "password": "{{ env.TEST_SOAP_PASSWORD }}"},
        {"operation": "ListOrders", "options": options},
        ({"operation": "ListOrder", "options": options}, "ListOrders"),
        ({**base, "password": "{{ env.TEST_SOAP_WRONG }}"}, ACCOUNT["TEST_SOAP_WRONG"]),
        {"kind": "soap", "wsdl": f"http://127.0.0.1:{free_port()}/?wsdl", "allow_private": True},
    )

import hashlib
import json

import pytest

from superinsight_sync.core.settings import Settings
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync.state.opening import open_state
from superinsight_sync_tests.sources.customers import ROWS, Customer, rows

COLUMNS = {"amount": "decimal(12,2)", "updated_at": "timestamp"}


def customer(request: pytest.FixtureRequest) -> Customer:
    project: Settings = request.getfixturevalue("project")
    inbox = Inbox(open_state(project.database_url).database, project.landing_dir)
    for number in range(0, ROWS, 250):
        records = [
            {"id": n, "note": note, "amount": f"{amount:.2f}", "updated_at": at.isoformat()}
            for n, note, amount, at in rows()[number : number + 250]
        ]
        body = json.dumps(records).encode()
        digest = hashlib.sha256(body).hexdigest()
        name = f"d{number}"
        inbox.accept(
            Delivery(name, "acme", "till", "orders", name, digest, "json", "", body, len(body), len(records))
        )
    return Customer(
        {"kind": "inbox", "tenant": "acme", "source": "till"},
        {"endpoint": "orders", "options": {"columns": COLUMNS}},
        ({"endpoint": "orderss"}, "orders"),
        own_columns=("_sis_delivery", "_sis_seq", "_sis_received_at"),
        cursors=False,
    )

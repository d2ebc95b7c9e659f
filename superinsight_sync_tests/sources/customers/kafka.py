import json

import pytest

from superinsight_sync.sources.topics import kafka_topic
from superinsight_sync_tests.servers.kafka import KafkaServer
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows

COLUMNS = {"id": "int64", "note": "string", "amount": "decimal(12,2)", "updated_at": "timestamp"}


def customer(request: pytest.FixtureRequest) -> Customer:
    server: KafkaServer = request.getfixturevalue("kafka_server")
    # A read waits so long for a whole batch, also at the end of the topic: each of the property's 100.
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(kafka_topic, "_WAIT_S", 0.01)
    topic = server.new_topic("orders", partitions=3)
    messages = [
        {"id": n, "note": note, "amount": f"{amount:.2f}", "updated_at": at.isoformat()}
        for n, note, amount, at in rows()
    ]
    server.send(topic, [{"key": str(m["id"]), "value": json.dumps(m)} for m in messages])
    return Customer(
        {"kind": "kafka", "servers": server.servers},
        {"topic": topic, "options": {"columns": COLUMNS}},
        ({"topic": f"{topic}x"}, topic),
        unreachable={"kind": "kafka", "servers": f"127.0.0.1:{free_port()}", "timeout": "500ms"},
        own_columns=("_partition", "_offset", "_timestamp", "_key", "_headers", "_tombstone", "_rest"),
        cursors=False,
    )

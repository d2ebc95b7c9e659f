"""Connections to Kafka that can only read, and Kafka's errors as ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError

Offsets = dict[int, int]
"""Partition → offset."""

_ACCESS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_CONFIG = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._INVALID_ARG,
        KafkaError._SSL,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
_READ_ONLY = {
    # A group's name is demanded; the group is never joined and nothing is committed to it.
    "group.id": "superinsight-sync",
    "client.id": "superinsight-sync",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
    "fetch.max.bytes": 16 << 20,
    "max.partition.fetch.bytes": 4 << 20,
    "queued.max.messages.kbytes": 32 << 10,
    "reconnect.backoff.max.ms": 1000,
    "log_level": 0,
}


EARLIEST: Any = OffsetSpec.earliest()
LATEST: Any = OffsetSpec.latest()


def at_time(unix_ms: int) -> Any:
    """The first offset of a time."""
    return OffsetSpec.for_timestamp(unix_ms)


def mapped(error: KafkaError) -> SisError:
    """Our error of the class that Kafka's code stands for; texts of Kafka's own are left out."""
    name, code = error.name(), error.code()
    if code in _ACCESS:
        return AccessError(
            f"Kafka refuses the account ({name})", hint="Check the connection's account and its rights"
        )
    if code in _CONFIG:
        return ConfigError(f"Kafka refuses the request ({name})", hint="Check the connection and the topic")
    return TransientError(
        f"Kafka cannot be reached ({name})", hint="Check that the server runs and can be reached"
    )


class Client:
    """One consumer, assigned by hand, and the admin client for what a consumer cannot ask.

    Args:
        settings: those of librdkafka that say how to connect.
        timeout_s: longest wait for an answer.
    """

    def __init__(self, settings: dict[str, Any], timeout_s: float) -> None:
        self._fatal: KafkaError | None = None
        self._admin: AdminClient | None = None
        self._settings = {**settings, "error_cb": self._remember}
        self._timeout_s = timeout_s
        try:
            self.consumer = Consumer({**_READ_ONLY, **self._settings})
        except KafkaException as error:
            raise ConfigError(
                f"Kafka's client refuses the connection's settings ({error.args[0].name()})",
                where="connection",
                hint="Check servers, TLS files and sasl_mechanism",
            ) from None

    def _remember(self, error: KafkaError) -> None:
        if error.code() in _ACCESS or error.code() in _CONFIG:
            self._fatal = error

    def check(self) -> None:
        """Raises what the client has been told in the background, if that cannot pass by itself."""
        if self._fatal is not None:
            raise mapped(self._fatal)

    def topics(self) -> dict[str, tuple[int, ...]]:
        """All topics and their partitions. Asking for one by name could make a server create it."""
        with self._mapping():
            found = self.consumer.list_topics(timeout=self._timeout_s).topics
        return {name: tuple(sorted(topic.partitions)) for name, topic in found.items()}

    def offsets(self, topic: str, partitions: tuple[int, ...], spec: Any) -> Offsets:
        """An offset of each partition: `EARLIEST`, `LATEST` or the first of a time (-1 if there is none)."""
        asked = {TopicPartition(topic, p): spec for p in partitions}
        with self._mapping():
            futures = self._asking().list_offsets(asked, request_timeout=self._timeout_s)
            return {tp.partition: f.result(2 * self._timeout_s).offset for tp, f in futures.items()}

    def topic_id(self, topic: str) -> str | None:
        """The id that a topic has until it is deleted; None if the server gives none."""
        from confluent_kafka import TopicCollection

        try:
            futures = self._asking().describe_topics(
                TopicCollection([topic]), request_timeout=self._timeout_s
            )
            found = str(futures[topic].result(2 * self._timeout_s).topic_id)
        except (KafkaException, TimeoutError):
            return None
        return None if set(found) <= {"A", "="} else found

    def _asking(self) -> AdminClient:
        """Kept as long as the consumer: one that is dropped with a question open never answers it."""
        if self._admin is None:
            self._admin = AdminClient({"log_level": 0, **self._settings})
        return self._admin

    @contextmanager
    def _mapping(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self.consumer.poll(0)  # which hears why
            self.check()
            raise mapped(error.args[0]) from None
        except TimeoutError:
            raise TransientError(
                "Kafka does not answer", hint="Check that the server runs and can be reached"
            ) from None

    def close(self) -> None:
        """Ends the connections."""
        self.consumer.close()


@contextmanager
def connected(open_client: Callable[[], Client]) -> Iterator[Client]:
    """A client that is closed afterwards."""
    client = open_client()
    try:
        yield client
    finally:
        client.close()

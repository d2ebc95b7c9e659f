"""Kafka topics, read without a consumer group: nothing is committed, created or changed at the source."""

import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import Duration, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.opening import options_of
from superinsight_sync.sources.protocol import KindConfig
from superinsight_sync.sources.topics.options import TopicOptions, topic_of

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.sources.topics.kafka_client import Client
    from superinsight_sync.sources.topics.reading import Aside, TopicRead

_MOST_FOUND = 1_000


class Config(KindConfig):
    """How to reach a Kafka cluster."""

    servers: str = Field(min_length=1)
    """Some of its servers, `host:9092,host:9092`; may refer to the environment: "{{ env.X }}"."""
    tls: bool = False
    """Whether connections are encrypted."""
    tls_ca: str | None = None
    """File of the certificates that the servers' are checked against. Default: the system's."""
    tls_certificate: str | None = None
    """File of our certificate, where the servers ask for one."""
    tls_key: str | None = None
    """File of its private key."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How we say who we are."""
    user: str | None = None
    """The account, for `sasl_mechanism`."""
    password: str | None = None
    """Its password, by reference: "{{ env.KAFKA_PASSWORD }}"."""
    timeout: Duration = timedelta(seconds=30)
    """Longest wait for an answer; while reading, longest silence before the end of the topic."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({v is None for v in (self.sasl_mechanism, self.user, self.password)}) > 1:
            raise ValueError("sasl_mechanism, user and password belong together")
        if not self.tls and (self.tls_ca or self.tls_certificate or self.tls_key):
            raise ValueError("files for TLS need tls: true")
        return self


class Options(TopicOptions):
    """Of a Kafka topic."""

    value: Literal["json", "text", "bytes"] = "json"
    """What the messages' values are. JSON without `columns` is kept as its text in `_value`."""
    key: Literal["text", "bytes"] = "text"
    """What the messages' keys are."""

    @model_validator(mode="after")
    def _columns_are_json(self) -> Self:
        if self.columns and self.value != "json":
            raise ValueError("columns are taken from JSON values; leave out `value`")
        return self


class KafkaSource:
    """A Kafka cluster. Transactions that were aborted, or are open, are not read."""

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({"topic"}), cancel=True, positions=True)

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    def _connected(self) -> "AbstractContextManager[Client]":
        from superinsight_sync.sources.topics.kafka_client import Client, connected

        return connected(lambda: Client(self._librdkafka(), self._timeout_s))

    @property
    def _timeout_s(self) -> float:
        return self._config.timeout.total_seconds()

    def _librdkafka(self) -> dict[str, Any]:
        """The connection in librdkafka's words."""
        config = self._config
        protocol = ("SASL_" if config.sasl_mechanism else "") + ("SSL" if config.tls else "PLAINTEXT")
        files = {
            "ssl.ca.location": config.tls_ca,
            "ssl.certificate.location": config.tls_certificate,
            "ssl.key.location": config.tls_key,
        }
        said = {k: str(self._settings.project_dir / path) for k, path in files.items() if path}
        if config.sasl_mechanism:
            said |= {
                "sasl.mechanism": config.sasl_mechanism,
                "sasl.username": resolve(config.user or ""),
                "sasl.password": resolve(config.password or ""),
            }
        return {"bootstrap.servers": resolve(config.servers), "security.protocol": protocol, **said}

    def probe(self) -> Probe:
        started = time.perf_counter()
        with self._connected() as client:
            topics = client.topics()
            latency_ms = 1000 * (time.perf_counter() - started)
        return Probe(
            "Kafka", latency_ms, details={"topics": len(topics), "rights": "the server does not tell"}
        )

    def discover(self) -> Iterator[FoundStream]:
        """A stream for each topic that is not Kafka's own, at most a thousand; the columns are the fields of
        some of its messages, where these are JSON objects."""
        from superinsight_sync.model.naming import topic_name
        from superinsight_sync.sources.topics.kafka_discovery import sample_columns

        taken: set[str] = set()
        with self._connected() as client:
            topics = sorted(t for t in client.topics() if not t.startswith("__"))[:_MOST_FOUND]
        for topic in topics:
            with self._connected() as client:
                columns = sample_columns(client, topic)
            yield FoundStream(
                topic_name(topic, taken), "topic", topic, columns, primary_key=("_partition", "_offset")
            )

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The message's own columns, the declared ones and `_rest`, or `_value`. Raises ConfigError if there
        is no such topic."""
        with self._connected() as client:
            return self._shape(client, stream)

    def _shape(self, client: "Client", stream: StreamSpec) -> StreamShape:
        from superinsight_sync.model.naming import not_there
        from superinsight_sync.records.message_values import declared_columns
        from superinsight_sync.sources.topics.kafka_topic import columns_of

        topic, options, where = topic_of(stream), options_of("kafka", stream), f"stream '{stream.name}'"
        declared = declared_columns(options.columns, columns_of(options, ()), where)
        topics = client.topics()
        if not topics.get(topic):
            raise not_there("topic", topic, topics).at(where)
        return StreamShape(columns_of(options, declared), ("_partition", "_offset"))

    def read(self, request: ReadRequest) -> "TopicRead":
        """Streams the messages. `set_aside` and `rejects` of what it returns deal with those that are no rows."""
        from superinsight_sync.records.batches import schema_of
        from superinsight_sync.sources.topics.kafka_topic import TopicReader
        from superinsight_sync.sources.topics.reading import TopicRead

        topic, options = topic_of(request.stream), options_of("kafka", request.stream)
        columns = self.describe(request.stream).columns

        def batches(aside: "Aside") -> "Generator[pa.RecordBatch, None, None]":
            with self._connected() as client:
                yield from TopicReader(client, request, options, columns, self._timeout_s).batches(aside)

        return TopicRead(schema_of(columns), request, topic, batches)

    def count(self, request: ReadRequest) -> int:
        """Counts by reading: offsets have gaps. Messages that cannot be rows do not count."""
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """The first and the last offsets of all partitions."""
        from superinsight_sync.sources.topics.kafka_client import EARLIEST, LATEST

        topic = topic_of(request.stream)
        with self._connected() as client:
            self._shape(client, request.stream)
            partitions = client.topics()[topic]
            ends = [client.offsets(topic, partitions, s) for s in (EARLIEST, LATEST)]
            return f"{client.topic_id(topic)} {[sorted(e.items()) for e in ends]}"


PLUGIN = KafkaSource

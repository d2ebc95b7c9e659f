"""Redis (and Valkey) streams, read with commands that change nothing: no group, no acknowledgement."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.core.stopping import ends_by
from superinsight_sync.model.declaration import Duration, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.opening import options_of
from superinsight_sync.sources.protocol import KindConfig
from superinsight_sync.sources.topics.options import TopicOptions, topic_of

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

    from superinsight_sync.sources.topics.reading import Aside, TopicRead

_MOST_FOUND = 1_000
_MOST_SCANS = 1_000
_SAMPLE = 20


class Config(KindConfig):
    """How to reach a Redis or Valkey server."""

    dsn: str
    """redis://user:password@host:6379/0, or rediss:// for TLS, by reference: "{{ env.EVENTS_DSN }}"."""
    tls_ca: str | None = None
    """File of the certificates that the server's one is checked against. Default: the system's."""
    timeout: Duration = timedelta(seconds=30)
    """Longest wait for a connection or an answer."""


class Options(TopicOptions):
    """Of a Redis stream."""


class RedisSource:
    """A Redis server. `topic` is the key of a stream; columns are its declared fields.

    Sends INFO, SCAN, EXISTS, XLEN, XINFO, XRANGE, XREVRANGE and ACL WHOAMI/DRYRUN only.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({"topic"}), cancel=True, positions=True)

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    @contextmanager
    def _server(self) -> "Iterator[Redis]":
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        from superinsight_sync.sources.topics.redis_errors import mapping

        dsn = resolve(self._config.dsn)
        if not dsn.startswith(("redis://", "rediss://")) or "?" in dsn:
            raise ConfigError(
                "the DSN is no URL of a Redis server, or has options after ?",
                where="connection.dsn",
                hint="Write redis://user:password@host:6379/0; escape special characters as %XX",
            )
        timeout_s = self._config.timeout.total_seconds()
        options: dict[str, Any] = {"ssl_ca_certs": self._tls_ca()} if dsn.startswith("rediss://") else {}
        try:
            server: Redis = Redis.from_url(
                dsn,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                client_name="superinsight-sync",
                **options,
            )
        except ValueError:
            raise ConfigError("the DSN is no URL of a Redis server", where="connection.dsn") from None
        for command in ("XRANGE", "XREVRANGE", "XINFO STREAM", "INFO"):
            # As the server says it: the client's own form drops fields that are there twice.
            server.set_response_callback(command, lambda reply, **_: reply)
        try:
            with mapping(), ends_by(server.connection_pool.disconnect):
                yield server
        finally:
            server.close()

    def _tls_ca(self) -> str | None:
        return str(self._settings.project_dir / self._config.tls_ca) if self._config.tls_ca else None

    def probe(self) -> Probe:
        from superinsight_sync.sources.topics.redis_discovery import may_write, version_of

        started = time.perf_counter()
        with self._server() as server:
            version = version_of(server)
            latency_ms = 1000 * (time.perf_counter() - started)
            writable = may_write(server)
        warnings = ("the account can write; give it read rights only",) if writable else ()
        rights = {None: "the server does not tell", True: "may write", False: "may read"}[writable]
        return Probe(version, latency_ms, warnings, {"rights": rights})

    def discover(self) -> Iterator[FoundStream]:
        """A stream for each stream key; the columns are the fields of its last entries. Looks at about a
        million keys and lists a thousand streams at most."""
        from superinsight_sync.model.naming import topic_name
        from superinsight_sync.sources.topics.redis_discovery import fields_of, stream_keys

        taken: set[str] = set()
        with self._server() as server:
            for key in stream_keys(server, most=_MOST_FOUND, scans=_MOST_SCANS):
                fields, length = fields_of(server, key, _SAMPLE)
                columns = tuple(ColumnInfo(f, "string", "field") for f in fields)
                name = topic_name(key, taken)
                yield FoundStream(name, "topic", key, columns, ("_id",), row_estimate=length, counted=True)

    def describe(self, stream: StreamSpec) -> StreamShape:
        """`_id`, `_at`, the declared fields and `_rest`. Raises ConfigError if there is no such stream."""
        from superinsight_sync.sources.topics.redis_discovery import described

        with self._server() as server:
            return described(server, stream, options_of("redis", stream))

    def read(self, request: ReadRequest) -> "TopicRead":
        """Streams the entries. `set_aside` and `rejects` of what it returns deal with those that are no rows."""
        from superinsight_sync.records.batches import schema_of
        from superinsight_sync.sources.topics.reading import TopicRead
        from superinsight_sync.sources.topics.redis_stream import StreamReader

        topic, options = topic_of(request.stream), options_of("redis", request.stream)
        columns = self.describe(request.stream).columns

        def batches(aside: "Aside") -> "Generator[pa.RecordBatch, None, None]":
            with self._server() as server:
                yield from StreamReader(server, request, options, columns[2:-1]).batches(aside)

        return TopicRead(schema_of(columns), request, topic, batches)

    def count(self, request: ReadRequest) -> int:
        """Counts by reading. Entries that cannot be rows do not count."""
        return self.read(request).count()

    def token(self, request: ReadRequest) -> str | None:
        """The last id given, and how many entries there are and ever were."""
        from superinsight_sync.sources.topics.redis_stream import server_info

        with self._server() as server:
            return str(server_info(server, topic_of(request.stream)))


PLUGIN = RedisSource

"""Topics into the lake: each message once, whatever happens between two pulls."""

import json
from typing import Any

import pytest

from superinsight_sync.core.errors import DataError
from superinsight_sync.lake.delta import DeltaStore
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.servers.kafka import KafkaServer
from superinsight_sync_tests.servers.valkey import ValkeyServer

RAW = TableRef("default", "events", "clicks", "raw")


def declared(connection: dict[str, Any], topic: str, **stream: Any) -> SourceSpec:
    entry = {
        "name": "clicks",
        "topic": topic,
        "sync": {"mode": "incremental", "by": "position"},
        "options": {"columns": {"n": "int64"}},
        **stream,
    }
    return SourceSpec.model_validate({"name": "events", "connection": connection, "streams": [entry]})


def landed(engine: Engine) -> list[int]:
    return sorted(engine.lake.scan(RAW).read_all().column("n").to_pylist())


class Killed(BaseException):
    """What no code catches, like a process that ends."""


@pytest.fixture
def redis_source(valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> tuple[SourceSpec, Any]:
    monkeypatch.setenv("EVENTS_DSN", valkey_server.dsn())
    key, redis = valkey_server.new_key(), valkey_server.connect()

    def add(*numbers: Any) -> None:
        for n in numbers:
            redis.xadd(key, {"n": n})

    return declared({"kind": "redis", "dsn": "{{ env.EVENTS_DSN }}"}, key), add


def test_every_entry_lands_once_although_pulls_are_killed(
    engine: Engine, redis_source: tuple[SourceSpec, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, add = redis_source
    add(*range(100))
    pull_stream(engine, source, source.streams[0])
    add(*range(100, 150))

    for when in ("before", "after"):
        with monkeypatch.context() as patch:
            patch.setattr(DeltaStore, "append", killed_append(when))
            with pytest.raises(Killed):
                pull_stream(engine, source, source.streams[0])
        add(*range(150, 160) if when == "after" else ())
    pull_stream(engine, source, source.streams[0])
    assert landed(engine) == list(range(160))
    assert pull_stream(engine, source, source.streams[0]).unchanged


def killed_append(when: str) -> Any:
    """An append that dies before or after its commit."""
    append = DeltaStore.append

    def killed(self: DeltaStore, *args: Any, **kwargs: Any) -> Any:
        if when == "after":
            append(self, *args, **kwargs)
        raise Killed

    return killed


def test_an_entry_that_is_no_row_is_kept_and_the_rest_goes_on(
    engine: Engine, redis_source: tuple[SourceSpec, Any]
) -> None:
    source, add = redis_source
    add(1, "x", 2)
    assert pull_stream(engine, source, source.streams[0]).unreadable == 1
    add(3, "y")
    assert pull_stream(engine, source, source.streams[0]).unreadable == 1
    assert landed(engine) == [1, 2, 3]
    kept = engine.lake.scan(RAW.at("unreadable")).read_all()
    fields = [json.loads(record)["fields"] for record in kept.column("record").to_pylist()]
    assert sorted(fields) == [[["n", "x"]], [["n", "y"]]]


def test_a_loss_stops_the_pull_and_moves_nothing(
    engine: Engine, redis_source: tuple[SourceSpec, Any], valkey_server: ValkeyServer
) -> None:
    source, add = redis_source
    add(*range(10))
    pull_stream(engine, source, source.streams[0])
    add(*range(10, 30))
    valkey_server.connect().xtrim(source.streams[0].topic or "", maxlen=5, approximate=False)
    for _ in range(2):
        with pytest.raises(DataError, match="15 entries were removed"):
            pull_stream(engine, source, source.streams[0])
    goes_on = source.model_copy(
        update={
            "streams": (
                source.streams[0].model_copy(
                    update={"options": {"columns": {"n": "int64"}, "on_lost": "continue"}}
                ),
            )
        }
    )
    pull_stream(engine, goes_on, goes_on.streams[0])
    assert landed(engine) == [*range(10), *range(25, 30)]


def test_kafka_messages_land_once_each(engine: Engine, kafka_server: KafkaServer) -> None:
    topic = kafka_server.new_topic(partitions=2)
    source = declared({"kind": "kafka", "servers": kafka_server.servers}, topic)
    for start in (0, 500, 900):
        numbers = range(start, 1_000 if start == 900 else start + 400 if start else 500)
        kafka_server.send(topic, [{"key": str(n), "value": json.dumps({"n": n})} for n in numbers])
        pull_stream(engine, source, source.streams[0])
    assert landed(engine) == list(range(1_000))
    assert pull_stream(engine, source, source.streams[0]).unchanged

"""Kafka topics: positions, what is lost, what is no row, and connections that break."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from superinsight_sync.core.errors import ConfigError, DataError, TransientError
from superinsight_sync.core.rejects import sent
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync.sources.topics import kafka_topic
from superinsight_sync_tests.servers.kafka import KafkaServer, running_kafka
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.proxy import Proxy, running_proxy
from superinsight_sync_tests.sources.reading import column, read, stream

BY_POSITION = {"mode": "incremental", "by": "position"}


@pytest.fixture
def source(kafka_server: KafkaServer, project: Settings) -> Source:
    return open_source({"kind": "kafka", "servers": kafka_server.servers, "timeout": "5s"}, project)


@pytest.fixture
def topic(kafka_server: KafkaServer) -> str:
    return kafka_server.new_topic(partitions=3)


def add(server: KafkaServer, topic: str, numbers: range) -> None:
    server.send(topic, [{"key": str(n), "value": json.dumps({"n": n})} for n in numbers])


def declared(topic: str, *, sync: dict[str, Any] = BY_POSITION, **options: Any) -> Any:
    return stream(topic=topic, sync=sync, options={"columns": {"n": "int64"}, **options})


def numbers(source: Source, request: ReadRequest) -> list[int]:
    return sorted(column(read(source, request), "n"))


def test_each_read_goes_on_where_the_last_one_ended(
    source: Source, kafka_server: KafkaServer, topic: str
) -> None:
    position: Any = None
    seen = []
    for start, end in ((0, 1_000), (1_000, 1_001), (1_001, 1_001), (1_001, 1_500)):
        add(kafka_server, topic, range(start, end))
        request = ReadRequest(declared(topic), position=position)
        seen += numbers(source, request)
        position = json.loads(json.dumps(request.next_position))
    assert seen == list(range(1_500))
    assert sum(position["partitions"].values()) == 1_500


def test_an_empty_topic_has_columns_and_no_rows(
    source: Source, kafka_server: KafkaServer, topic: str
) -> None:
    request = ReadRequest(declared(topic))
    assert numbers(source, request) == []
    assert request.next_position["partitions"] == {"0": 0, "1": 0, "2": 0}
    add(kafka_server, topic, range(3))
    assert numbers(source, ReadRequest(declared(topic), position=request.next_position)) == [0, 1, 2]


def test_what_is_added_while_it_is_read_is_left_for_the_next_read(
    source: Source, kafka_server: KafkaServer
) -> None:
    topic = kafka_server.new_topic()
    add(kafka_server, topic, range(20_000))
    request = ReadRequest(declared(topic), batch_rows=100)
    with source.read(request) as batches:
        found = batches.read_next_batch().column("n").to_pylist()
        add(kafka_server, topic, range(20_000, 20_100))
        found += batches.read_all().column("n").to_pylist()
    assert found == list(range(20_000))
    later = ReadRequest(declared(topic), position=request.next_position)
    assert numbers(source, later) == list(range(20_000, 20_100))


def test_the_first_read_begins_where_the_declaration_says(
    source: Source, kafka_server: KafkaServer, topic: str
) -> None:
    add(kafka_server, topic, range(100))
    request = ReadRequest(declared(topic, start="end"))
    assert numbers(source, request) == []
    add(kafka_server, topic, range(100, 110))
    assert numbers(source, ReadRequest(declared(topic), position=request.next_position)) == list(
        range(100, 110)
    )
    assert numbers(source, ReadRequest(declared(topic, start="1999-01-01"))) == list(range(110))
    assert numbers(source, ReadRequest(declared(topic, start="end", sync={"mode": "full"}))) == list(
        range(110)
    )


def test_offsets_removed_before_they_were_read_are_told(
    source: Source, kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker at hand removes nothing, so its answer to where a partition begins is replaced."""
    topic = kafka_server.new_topic()
    add(kafka_server, topic, range(100))
    position = {"partitions": {"0": 10}}
    monkeypatch.setattr(kafka_topic.Client, "offsets", lambda *_: {0: 60})
    with pytest.raises(
        DataError, match="partition 0: 50 offsets were removed before they were read.*on_lost"
    ):
        read(source, ReadRequest(declared(topic), position=position))
    request = ReadRequest(declared(topic, on_lost="continue"), position=position)
    again = source.read(request)
    with again as batches:
        assert batches.read_all().column("n").to_pylist() == list(range(60, 100))
    assert request.next_position["lost"] == 50
    assert "50 offsets" in again.rejects().to_pylist()[0]["reason"]


@pytest.mark.parametrize("changed", [{"topic_id": "another"}, {"partitions": {"7": 5}}])
def test_a_topic_made_anew_is_told(
    source: Source, kafka_server: KafkaServer, topic: str, changed: dict[str, Any]
) -> None:
    add(kafka_server, topic, range(10))
    first = ReadRequest(declared(topic))
    read(source, first)
    position = {**first.next_position, **changed}
    with pytest.raises(DataError, match="made anew"):
        read(source, ReadRequest(declared(topic), position=position))
    again = ReadRequest(declared(topic, on_lost="continue"), position=position)
    assert numbers(source, again) == list(range(10))


def test_a_position_beyond_the_end_is_no_silence(kafka_server: KafkaServer, project: Settings) -> None:
    topic = kafka_server.new_topic()
    add(kafka_server, topic, range(10))
    quick = open_source({"kind": "kafka", "servers": kafka_server.servers, "timeout": "1s"}, project)
    with pytest.raises((DataError, TransientError), match="ends before the offset|gave nothing"):
        read(quick, ReadRequest(declared(topic), position={"partitions": {"0": 10**6}}))


HOSTILE: list[tuple[bytes, str]] = [
    (b"\xff\xfe", "its value is not UTF-8"),
    (b"{", "no JSON"),
    (b"[1]", "no JSON object"),
    (b'{"n": "x"}', "'n' is not int64"),
    (b'{"n": 1, "n": 2}', "a key is there twice"),
    (b'{"n": 1, "x": NaN}', "NaN is no JSON"),
    (b'{"n": 1, "x": ' + b"[" * 120 + b"]" * 120 + b"}", "nested too deep"),
    (b'{"n": 1, "x": "\\ud800"}', "half a surrogate pair"),
    (b'{"n": 18446744073709551616}', "'n' is not int64"),
    (b'{"n": 1, "x": "' + b"y" * 5_000 + b'"}', "more than 4000 bytes"),
]


@pytest.mark.parametrize(("value", "reason"), HOSTILE)
def test_a_message_that_is_no_row_is_set_aside(
    source: Source, kafka_server: KafkaServer, value: bytes, reason: str
) -> None:
    topic = kafka_server.new_topic()
    kafka_server.send(topic, [{"value": b'{"n": 1}'}, {"value": value}, {"value": b'{"n": 2}'}])
    request = ReadRequest(declared(topic, max_record=4_000))
    with pytest.raises(DataError, match=reason):
        read(source, request)
    aside = source.read(request)
    aside.set_aside()
    with aside as batches:
        assert batches.read_all().column("n").to_pylist() == [1, 2]
    (kept,) = aside.rejects().to_pylist()
    assert (kept["file"], kept["line"]) == (f"{topic}/0", 1)
    assert reason in kept["reason"]


def test_values_arrive_as_they_are(source: Source, kafka_server: KafkaServer) -> None:
    topic = kafka_server.new_topic()
    headers = [("a", b"1"), ("a", "😀".encode()), ("b", b"\xff"), ("c", None)]
    kafka_server.send(
        topic,
        [
            {"key": "k", "value": '{"n": 1.10, "big": 123456789012345678901234567890, "é": null}', "headers": headers},
            {"value": None},
            {"value": "{}"},
        ],
    )  # fmt: skip
    options = {"columns": {"n": "decimal(5,2)"}}
    first, gone, empty = read(source, ReadRequest(stream(topic=topic, options=options))).to_pylist()
    assert (str(first["n"]), first["_rest"]) == (
        "1.10",
        '{"big": 123456789012345678901234567890, "é": null}',
    )
    assert first["_headers"] == '[["a", "1"], ["a", "😀"], ["b", {"base64": "/w=="}], ["c", null]]'
    assert abs(first["_timestamp"].timestamp() - time.time()) < 60
    assert (gone["_tombstone"], gone["_key"], gone["n"]) == (True, None, None)
    assert (empty["_tombstone"], empty["n"]) == (False, None)

    texts = column(read(source, ReadRequest(stream(topic=topic))), "_value")
    assert texts[0].startswith('{"n": 1.10,') and texts[1:] == [None, "{}"]
    raw = read(source, ReadRequest(stream(topic=topic, options={"value": "bytes", "key": "bytes"})))
    assert (column(raw, "_value")[2], column(raw, "_key")[0]) == (b"{}", b"k")


def test_a_transaction_s_messages_are_read_once_it_is_committed(
    source: Source, kafka_server: KafkaServer
) -> None:
    topic = kafka_server.new_topic()
    producer = Producer({"bootstrap.servers": kafka_server.servers, "transactional.id": topic})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(topic, b'{"n": 1}')
    producer.commit_transaction(10)
    request = ReadRequest(declared(topic))
    assert numbers(source, request) == [1]
    assert numbers(source, ReadRequest(declared(topic), position=request.next_position)) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"options": {"columns": {"_offset": "int64"}}}, "cannot be a column"),
        ({"options": {"columns": {"n": "int64"}, "value": "text"}}, "columns are taken from JSON"),
        ({"sync": {"mode": "incremental", "by": "hash"}}, "no cursor column.*by: position"),
    ],
)
def test_a_wrong_declaration_is_refused(
    source: Source, topic: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        source.describe(stream(topic=topic, **keys))


def test_an_account_needs_all_its_parts(kafka_server: KafkaServer, project: Settings) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        open_source({"kind": "kafka", "servers": "x:1", "user": "ann"}, project)
    with pytest.raises(ConfigError, match="secret that is written out"):
        open_source({"kind": "kafka", "servers": "x:1", "password": "literal"}, project)


def test_asking_for_a_topic_does_not_make_it(source: Source, kafka_server: KafkaServer) -> None:
    with pytest.raises(ConfigError, match="there is no topic 'never_made'"):
        source.token(ReadRequest(declared("never_made")))
    with pytest.raises(ConfigError, match="there is no topic 'never_made'"):
        source.describe(declared("never_made"))


@pytest.fixture
def broken_line(project: Settings) -> Iterator[tuple[KafkaServer, Proxy, Source]]:
    """A broker that is reached only through a proxy."""
    inside = free_port()
    with (
        running_proxy(inside) as proxy,
        running_kafka(proxy.port, inside) as server,
    ):
        source = open_source({"kind": "kafka", "servers": server.servers, "timeout": "4s"}, project)
        yield server, proxy, source


def test_connections_that_break_in_the_middle_lose_and_repeat_nothing(
    broken_line: tuple[KafkaServer, Proxy, Source],
) -> None:
    server, proxy, source = broken_line
    topic = server.new_topic(partitions=2)
    total = 60_000
    filler = "x" * 2_000
    server.send(topic, [{"key": str(n), "value": f'{{"n": {n}, "x": "{filler}"}}'} for n in range(total)])
    found: list[int] = []
    request = ReadRequest(declared(topic))
    with source.read(request) as batches:
        for number, batch in enumerate(batches):
            found += batch.column("n").to_pylist()
            if number in (0, 3):
                proxy.break_all()
    assert proxy.broken == 2
    assert sorted(found) == list(range(total))
    assert numbers(source, ReadRequest(declared(topic), position=request.next_position)) == []


def test_a_server_that_stays_away_in_the_middle_is_a_transient_error(
    broken_line: tuple[KafkaServer, Proxy, Source],
) -> None:
    server, proxy, source = broken_line
    topic = server.new_topic()
    filler = "x" * 2_000
    server.send(topic, [{"value": f'{{"n": {n}, "x": "{filler}"}}'} for n in range(40_000)])
    with pytest.raises(TransientError, match="gave nothing for 4 s"):
        with source.read(ReadRequest(declared(topic))) as batches:
            batches.read_next_batch()
            proxy.refusing = True
            proxy.break_all()
            batches.read_all()


def test_nul_in_keys_and_values_is_kept(source: Source, kafka_server: KafkaServer) -> None:
    topic = kafka_server.new_topic()
    texts = ["\0", "a\0b", "\0😀\0", ""]
    kafka_server.send(
        topic, [{"key": f"k\0{n}", "value": json.dumps({"n": n, "t": t})} for n, t in enumerate(texts)]
    )
    table = read(source, ReadRequest(declared(topic, columns={"n": "int64", "t": "string"})))
    assert column(table, "t") == texts
    assert column(table, "_key") == [f"k\0{n}" for n in range(len(texts))]


def test_what_is_set_aside_gives_back_exactly_what_came(source: Source, kafka_server: KafkaServer) -> None:
    """Key, headers, time and raw bytes, also those that look like others."""
    odd: list[bytes | None] = [b"\xff", b"\\xff", b'{"base64": "/w=="}', b"", None, "é".encode()]
    sends: list[dict[str, Any]] = [
        {"key": key, "value": value, "headers": [("h", key), ("h", value), ("", b"\xfe")], "timestamp": 1_700_000_000_123}
        for key in odd
        for value in (b"\xff", b"\\xff", b'{"base64": "/w=="}', b"", b"[1]")
    ]  # fmt: skip
    topic = kafka_server.new_topic()
    kafka_server.send(topic, sends)
    taking = source.read(ReadRequest(declared(topic)))
    taking.set_aside()
    with taking as batches:
        batches.read_all()
    aside = taking.rejects().to_pylist()
    assert len(aside) >= 4 * len(odd)
    for one in aside:
        record, message = json.loads(one["record"]), sends[one["line"]]
        assert record["timestamp_ms"] == 1_700_000_000_123
        assert (sent(record["key"]), sent(record["value"])) == (message["key"], message["value"])
        assert [(name, sent(value)) for name, value in record["headers"]] == message["headers"]

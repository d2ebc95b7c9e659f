"""Redis streams: positions, what is lost, what is no row, and a server that goes away."""

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from superinsight_sync.core.errors import ConfigError, DataError, ThresholdError
from superinsight_sync.core.rejects import sent
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.valkey import ValkeyServer, running_valkey
from superinsight_sync_tests.sources.reading import column, read, stream

BY_POSITION = {"mode": "incremental", "by": "position"}


@pytest.fixture
def source(valkey_server: ValkeyServer, project: Settings, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("EVENTS_DSN", valkey_server.dsn())
    return open_source({"kind": "redis", "dsn": "{{ env.EVENTS_DSN }}", "timeout": "5s"}, project)


@pytest.fixture
def redis(valkey_server: ValkeyServer) -> Redis:
    return valkey_server.connect()


@pytest.fixture
def key(valkey_server: ValkeyServer) -> str:
    return valkey_server.new_key()


def add(redis: Redis, key: str, numbers: range) -> list[str]:
    pipe = redis.pipeline(transaction=False)
    for n in numbers:
        pipe.xadd(key, {"n": n})
    return [i.decode() for i in pipe.execute()]


def declared(key: str, *, sync: dict[str, Any] = BY_POSITION, **options: Any) -> Any:
    return stream(topic=key, sync=sync, options={"columns": {"n": "int64"}, **options})


def numbers(source: Source, request: ReadRequest) -> list[int]:
    return column(read(source, request), "n")


def test_each_read_goes_on_where_the_last_one_ended(source: Source, redis: Redis, key: str) -> None:
    position, seen = None, []
    for start in (0, 1_000, 1_001):
        add(redis, key, range(start, start + 1 if start else 1_000))
        request = ReadRequest(declared(key), position=position)
        seen += numbers(source, request)
        position = request.next_position
    assert seen == list(range(1_002))


def test_the_same_read_twice_gives_the_same(source: Source, redis: Redis, key: str) -> None:
    add(redis, key, range(300))
    first, second = ReadRequest(declared(key)), ReadRequest(declared(key))
    assert read(source, first) == read(source, second)
    assert first.next_position == second.next_position


def test_what_is_added_while_it_is_read_is_left_for_the_next_read(
    source: Source, redis: Redis, key: str
) -> None:
    add(redis, key, range(500))
    request = ReadRequest(declared(key), batch_rows=50)
    with source.read(request) as batches:
        found = batches.read_next_batch().column("n").to_pylist()
        add(redis, key, range(500, 700))
        found += batches.read_all().column("n").to_pylist()
    assert found == list(range(500))
    later = ReadRequest(declared(key), position=request.next_position)
    assert numbers(source, later) == list(range(500, 700))


def test_the_first_read_begins_where_the_declaration_says(source: Source, redis: Redis, key: str) -> None:
    for ms in (1_000, 2_000, 3_000):
        redis.xadd(key, {"n": ms}, id=f"{ms}-5")
    start = datetime.fromtimestamp(2, UTC).isoformat()
    assert numbers(source, ReadRequest(declared(key, start=start))) == [2_000, 3_000]
    assert numbers(source, ReadRequest(declared(key, start="1970-01-01T00:00:00Z"))) == [1_000, 2_000, 3_000]
    at_end = ReadRequest(declared(key, start="end"))
    assert numbers(source, at_end) == []
    redis.xadd(key, {"n": 4_000})
    assert numbers(source, ReadRequest(at_end.stream, position=at_end.next_position)) == [4_000]
    with pytest.raises(ConfigError, match="neither beginning, end nor a time"):
        source.describe(declared(key, start="yesterday"))


def test_an_empty_stream_has_columns_and_no_rows(source: Source, redis: Redis, key: str) -> None:
    only = redis.xadd(key, {"n": 1})
    redis.xdel(key, only)
    request = ReadRequest(declared(key))
    assert numbers(source, request) == []
    add(redis, key, range(3))
    assert numbers(source, ReadRequest(request.stream, position=request.next_position)) == [0, 1, 2]


@pytest.mark.parametrize("left", [0, 1, 60])
def test_entries_removed_before_they_were_read_are_told(
    source: Source, redis: Redis, key: str, left: int
) -> None:
    add(redis, key, range(100))
    first = ReadRequest(declared(key))
    read(source, first)
    add(redis, key, range(100, 200))
    redis.xtrim(key, maxlen=left, approximate=False)
    with pytest.raises(DataError, match=f"{100 - left} entries were removed before they were read.*on_lost"):
        read(source, ReadRequest(declared(key), position=first.next_position))

    request = ReadRequest(declared(key, on_lost="continue"), position=first.next_position)
    lost = source.read(request)
    with lost as batches:
        assert batches.read_all().column("n").to_pylist() == list(range(200 - left, 200))
    assert request.next_position["lost"] == 100 - left
    assert [r["reason"] for r in lost.rejects().to_pylist()] == [
        f"lost: {100 - left} entries were removed before they were read"
    ]
    after = ReadRequest(declared(key), position=request.next_position)
    assert numbers(source, after) == []
    assert after.next_position["lost"] == 100 - left


def test_entries_removed_after_they_were_read_are_nobody_s_loss(
    source: Source, redis: Redis, key: str
) -> None:
    add(redis, key, range(100))
    first = ReadRequest(declared(key))
    read(source, first)
    redis.xtrim(key, maxlen=0, approximate=False)
    add(redis, key, range(100, 110))
    assert numbers(source, ReadRequest(declared(key), position=first.next_position)) == list(range(100, 110))


def test_entries_removed_while_they_are_read_are_told(source: Source, redis: Redis, key: str) -> None:
    add(redis, key, range(5_000))
    with pytest.raises(DataError, match=r"\d+ entries were removed before they were read"):
        with source.read(ReadRequest(declared(key), batch_rows=10)) as batches:
            batches.read_next_batch()
            redis.xtrim(key, maxlen=100, approximate=False)
            batches.read_all()


def test_a_stream_made_anew_is_told(source: Source, redis: Redis, key: str) -> None:
    add(redis, key, range(100))
    first = ReadRequest(declared(key))
    read(source, first)
    redis.delete(key)
    add(redis, key, range(7))
    with pytest.raises(DataError, match="made anew"):
        read(source, ReadRequest(declared(key), position=first.next_position))
    again = ReadRequest(declared(key, on_lost="continue"), position=first.next_position)
    assert numbers(source, again) == list(range(7))
    assert numbers(source, ReadRequest(declared(key), position=again.next_position)) == []


def test_a_stream_made_anew_with_lower_ids_is_read_from_its_beginning(
    source: Source, redis: Redis, key: str
) -> None:
    redis.xadd(key, {"n": 1}, id="9000-1")
    first = ReadRequest(declared(key))
    read(source, first)
    redis.delete(key)
    redis.xadd(key, {"n": 2}, id="5-1")
    redis.xadd(key, {"n": 3}, id="6-1")
    again = ReadRequest(declared(key, on_lost="continue"), position=first.next_position)
    assert numbers(source, again) == [2, 3]
    assert again.next_position["id"] == "6-1"


def test_a_full_read_takes_what_is_there(source: Source, redis: Redis, key: str) -> None:
    add(redis, key, range(100))
    redis.xtrim(key, maxlen=40, approximate=False)
    full = ReadRequest(declared(key, sync={"mode": "full"}, start="end"))
    assert numbers(source, full) == list(range(60, 100))


def test_the_token_changes_with_the_stream(source: Source, redis: Redis, key: str) -> None:
    add(redis, key, range(3))
    request = ReadRequest(declared(key))
    before = source.token(request)
    assert source.token(request) == before
    add(redis, key, range(1))
    assert source.token(request) != before


HOSTILE: list[tuple[dict[Any, Any], str]] = [
    ({"n": "x"}, "'n' is not int64"),
    ({"n": str(2**64)}, "'n' is not int64"),
    ({"n": b"\xff\xfe"}, "'n' is not UTF-8"),
    ({"n": 1, "other": b"\xff"}, "a field is not UTF-8"),
    ({"n": 1, b"\xc3": "x"}, "a field is not UTF-8"),
    ({"n": 1, "deep": "[" * 3_000}, "more than 2000 bytes"),
]


@pytest.mark.parametrize(("entry", "reason"), HOSTILE)
def test_an_entry_that_is_no_row_is_set_aside(
    source: Source, redis: Redis, key: str, entry: dict[Any, Any], reason: str
) -> None:
    redis.xadd(key, {"n": 1})
    bad = redis.xadd(key, entry).decode()
    redis.xadd(key, {"n": 2})
    request = ReadRequest(declared(key, max_record=2_000))
    with pytest.raises(DataError, match=reason):
        read(source, request)
    aside = source.read(request)
    aside.set_aside()
    with aside as batches:
        assert batches.read_all().column("n").to_pylist() == [1, 2]
    (kept,) = aside.rejects().to_pylist()
    assert kept["file"] == f"{key}/{bad}"
    assert reason in kept["reason"]
    assert source.count(request) == 2


def test_too_many_entries_that_are_no_rows_stop_the_read(source: Source, redis: Redis, key: str) -> None:
    for _ in range(5):
        redis.xadd(key, {"n": "x"})
    aside = source.read(ReadRequest(declared(key)))
    aside.set_aside(limit=3)
    with pytest.raises(ThresholdError, match="more than 3 messages"), aside as batches:
        batches.read_all()


def test_values_arrive_as_they_are(source: Source, redis: Redis, key: str) -> None:
    redis.xadd(key, {"b": b"\x00\xff", "t": 'nul \x00 😀 "q"', "l": "[1, 2]", "rest": 'a"\n😀', "": "empty"})
    columns = {"b": "binary", "t": "string", "l": "list<int64>", "none": "bool"}
    table = read(source, ReadRequest(stream(topic=key, options={"columns": columns})))
    (row,) = table.select(["b", "t", "l", "none", "_rest"]).to_pylist()
    assert row == {
        "b": b"\x00\xff",
        "t": 'nul \x00 😀 "q"',
        "l": [1, 2],
        "none": None,
        "_rest": '{"rest": "a\\"\\n😀", "": "empty"}',
    }


def test_a_field_that_is_there_twice_is_set_aside(source: Source, redis: Redis, key: str) -> None:
    redis.execute_command("XADD", key, "*", "n", "1", "n", "2")
    with pytest.raises(DataError, match="a field is there twice"):
        read(source, ReadRequest(declared(key)))


def test_an_id_beyond_all_times_is_kept(source: Source, redis: Redis, key: str) -> None:
    redis.xadd(key, {"n": 1}, id=f"{2**64 - 1}-7")
    request = ReadRequest(declared(key))
    (row,) = read(source, request).to_pylist()
    assert (row["_id"], row["_at"]) == (f"{2**64 - 1}-7", None)
    assert request.replaced == {"_at": 1}


def test_a_restart_in_the_middle_of_a_read_loses_and_repeats_nothing(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server of its own."""
    with running_valkey() as server:
        monkeypatch.setenv("EVENTS_DSN", server.dsn())
        source = open_source({"kind": "redis", "dsn": "{{ env.EVENTS_DSN }}", "timeout": "5s"}, project)
        key = server.new_key()
        add(server.connect(), key, range(20_000))
        request = ReadRequest(declared(key), batch_rows=1_000)
        with source.read(request) as batches:
            found = batches.read_next_batch().column("n").to_pylist()
            server.stop()
            starting = threading.Thread(target=server.start)
            starting.start()
            found += batches.read_all().column("n").to_pylist()
            starting.join()
        assert found == list(range(20_000))
        assert numbers(source, ReadRequest(declared(key), position=request.next_position)) == []


def test_nothing_is_written_at_the_source(source: Source, redis: Redis, key: str) -> None:
    add(redis, key, range(10))
    before = redis.xinfo_stream(key, full=True), redis.dbsize()
    read(source, ReadRequest(declared(key)))
    assert (redis.xinfo_stream(key, full=True), redis.dbsize()) == before


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"options": {"columns": {"_id": "string"}}}, "cannot be a column"),
        ({"options": {"columns": {"_sis_x": "string"}}}, "cannot be a column"),
        ({"options": {"columns": {"a": "integr"}}}, "is no column type.*integer"),
        ({"options": {"colums": {}}}, "Valid options: columns"),
    ],
)
def test_a_wrong_declaration_is_refused(
    source: Source, redis: Redis, key: str, keys: dict[str, Any], message: str
) -> None:
    add(redis, key, range(1))
    with pytest.raises(ConfigError, match=message):
        source.describe(stream(topic=key, **keys))


def test_a_column_may_be_called_like_a_secret(source: Source, redis: Redis, key: str) -> None:
    redis.xadd(key, {"token": "a"})
    named = stream(topic=key, options={"columns": {"token": "string"}})
    assert column(read(source, ReadRequest(named)), "token") == ["a"]


def test_a_key_that_is_no_stream_is_refused(source: Source, redis: Redis, key: str) -> None:
    redis.set(key, "x")
    with pytest.raises(ConfigError, match="is no stream"):
        source.describe(declared(key))


def test_an_account_that_can_write_is_warned_of(
    valkey_server: ValkeyServer, source: Source, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source.probe().warnings == ()
    monkeypatch.setenv("EVENTS_DSN", valkey_server.dsn("default"))
    writer = open_source({"kind": "redis", "dsn": "{{ env.EVENTS_DSN }}"}, project)
    assert writer.probe().warnings == ("the account can write; give it read rights only",)


@pytest.mark.parametrize("deleted", [[0], [7], [9], [0, 4, 9], list(range(10))])
def test_entries_deleted_one_by_one_before_they_were_read_are_told(
    source: Source, redis: Redis, key: str, deleted: list[int]
) -> None:
    """The entries read before are there still, or not."""
    add(redis, key, range(5))
    first = ReadRequest(declared(key))
    assert numbers(source, first) == [0, 1, 2, 3, 4]
    ids = add(redis, key, range(5, 15))
    redis.xdel(key, *(ids[n] for n in deleted))
    with pytest.raises(DataError, match=f"{len(deleted)} entries were"):
        numbers(source, ReadRequest(declared(key), position=first.next_position))
    request = ReadRequest(declared(key, on_lost="continue"), position=first.next_position)
    taking = source.read(request)
    taking.set_aside()  # type: ignore[attr-defined]
    with taking as batches:
        assert column(batches.read_all(), "n") == [n for n in range(5, 15) if n - 5 not in deleted]
    assert request.next_position["lost"] == len(deleted)
    assert len(taking.rejects()) == 1  # type: ignore[attr-defined]
    again = ReadRequest(declared(key), position=request.next_position)
    assert numbers(source, again) == []


BYTES = st.binary(max_size=6) | st.sampled_from([b"\xff", b"\\xff", b'{"base64": "/w=="}', b"a b", b""])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(BYTES, BYTES), min_size=1, max_size=3))
def test_what_is_set_aside_gives_back_exactly_what_came(
    source: Source, redis: Redis, valkey_server: ValkeyServer, fields: list[tuple[bytes, bytes]]
) -> None:
    key = valkey_server.new_key()
    parts = [part for pair in (*fields, (b"n", b"none")) for part in pair]
    entry = redis.execute_command("XADD", key, "*", *parts)
    taking = source.read(ReadRequest(declared(key)))
    taking.set_aside()  # type: ignore[attr-defined]
    with taking as batches:
        assert batches.read_all().num_rows == 0
    (aside,) = taking.rejects().to_pylist()  # type: ignore[attr-defined]
    record = json.loads(aside["record"])
    assert record["id"] == entry.decode()
    assert [sent(part) for pair in record["fields"] for part in pair] == parts

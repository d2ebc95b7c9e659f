"""MongoDB: types, filters that only compare, documents that do not fit, a restart in the middle."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient

from superinsight_sync.core.errors import ConfigError, DataError, TransientError
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.pipeline.engine import Engine, open_engine, table_of
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.records.bson_records import check_filter
from superinsight_sync.sources.documents.reading import ahead
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.mongo import MongoServer, running_mongo
from superinsight_sync_tests.sources.reading import read, stream

Db = Any


@pytest.fixture
def dsn(mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    found = mongo_server.new_dsn()
    monkeypatch.setenv("DOCUMENTS_DSN", found)
    return found


@pytest.fixture
def db(dsn: str) -> Any:
    with MongoClient[dict[str, Any]](dsn) as client:
        yield client.get_default_database()


@pytest.fixture
def source(dsn: str, project: Settings) -> Source:
    return open_source({"kind": "mongodb", "dsn": "{{ env.DOCUMENTS_DSN }}"}, project)


def test_the_connection_test_warns_of_a_server_without_accounts(source: Source) -> None:
    assert source.probe().warnings == (
        "the server asks for no account: whoever reaches it can read and write",
    )


def test_a_value_that_the_server_cannot_convert_is_not_told(db: Db, source: Source) -> None:
    db["c"].insert_one({"_id": 1, "note": "s3cret"})
    chosen = {"filter": {"$expr": {"$gt": [{"$toInt": "$note"}, 1]}}, "columns": {"note": "string"}}
    with pytest.raises(ConfigError, match="refuses the request .ConversionFailure") as caught:
        source.count(ReadRequest(stream(collection="c", options=chosen)))
    assert "s3cret" not in str(caught.value)


def test_every_type_arrives_without_loss(db: Db, source: Source) -> None:
    identity, uuid = ObjectId(), UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    db.kinds.insert_one(
        {
            "_id": identity,
            "big": Int64(2**63 - 1),
            "money": Decimal128("12.30"),
            "at": at,
            "u": Binary.from_uuid(uuid),
            "b": Binary(b"\xaa\xbb"),
            "f": 0.1,
            "t": "größe 😀",
            "yes": True,
            "nested": {"a": 1, "when": at},
            "many": [1, 2],
            "re": Regex("^a"),
            "no": None,
        }
    )
    (row,) = read(source, ReadRequest(stream(collection="kinds"))).to_pylist()
    assert (row["_id"], row["big"], row["money"]) == (str(identity), 2**63 - 1, "12.30")
    assert (row["at"], row["u"], row["b"]) == (at, str(uuid), "qrs=")
    assert (row["f"], row["t"], row["yes"], row["no"]) == (0.1, "größe 😀", True, None)
    assert "2026-01-02T03:04:05.678000+00:00" in str(row["nested"])
    assert "^a" in row["re"]


def test_a_document_that_does_not_fit_the_sample_is_set_aside(db: Db, source: Source) -> None:
    db.odd.insert_many([{"_id": n, "v": n} for n in range(5)])
    db.odd.insert_many([{"_id": 5, "v": "text"}, {"_id": 6, "v": 6, "new": 1}, {"_id": 7, "v": float("nan")}])
    declared = stream(collection="odd", options={"sample_documents": 5})
    with pytest.raises(DataError):
        read(source, ReadRequest(declared))
    taking = source.read(ReadRequest(declared))
    taking.set_aside()  # type: ignore[attr-defined]
    with taking as batches:
        assert batches.read_all().column("_id").to_pylist() == list(range(5))
    aside = taking.rejects().to_pylist()  # type: ignore[attr-defined]
    assert len(aside) == 3
    assert all('"_id": ' in a["record"] for a in aside)


def test_a_filter_in_extended_json_chooses_documents(db: Db, source: Source) -> None:
    db.some.insert_many([{"_id": n, "at": datetime(2026, 1, n + 1, tzinfo=UTC)} for n in range(5)])
    options = {"filter": {"at": {"$gte": {"$date": "2026-01-03T00:00:00Z"}}}}
    declared = stream(collection="some", options=options)
    assert read(source, ReadRequest(declared)).column("_id").to_pylist() == [2, 3, 4]
    assert source.count(ReadRequest(declared)) == 3


_ATTACKS = [
    {"$where": "sleep(1000)"},
    {"$expr": {"$function": {"body": "function() {}", "args": [], "lang": "js"}}},
    {"$accumulator": {"init": "x"}},
    {"$out": "other"},
    {"$merge": {"into": "other"}},
    {" $WHERE ": "this.a == 1"},
]


@given(
    attack=st.sampled_from(_ATTACKS),
    wrapping=st.lists(st.sampled_from(["$and", "$or", "$not", "a", "$elemMatch"]), max_size=6),
    beside=st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
def test_no_filter_that_runs_code_or_writes_passes(
    attack: dict[str, Any], wrapping: list[str], beside: dict[str, int]
) -> None:
    found: Any = attack
    for key in wrapping:
        found = {**beside, key: [found] if key in ("$and", "$or") else found}
    with pytest.raises(ConfigError, match="may only compare"):
        check_filter(found)


Away = tuple[MongoServer, Any, Source]


@pytest.fixture
def away(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    """A server of one's own, its database, and a source that reads a thousand documents at a time."""
    project = load_settings({"SIS_PROJECT_DIR": str(tmp_path_factory.mktemp("away"))})
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.5)
    monkeypatch.setattr("superinsight_sync.sources.documents.reading.BATCH_DOCUMENTS", 1_000)
    with running_mongo() as server:
        dsn = server.new_dsn()
        monkeypatch.setenv("AWAY_DSN", dsn)
        with MongoClient[dict[str, Any]](dsn) as client:
            opened = open_source({"kind": "mongodb", "dsn": "{{ env.AWAY_DSN }}"}, project)
            yield server, client.get_default_database(), opened


def read_through_a_restart(away: Away, request: ReadRequest) -> list[Any]:
    """The ids that a read gives during which the server restarts."""
    server, _, opened = away
    time.sleep(1)  # its journal is written every 0.1 s
    found: list[Any] = []
    with opened.read(request) as reader:
        for number, batch in enumerate(reader, 1):
            found += batch.column("_id").to_pylist()
            if number == 2:
                server.restart()
    return found


def test_a_read_goes_on_where_the_server_restarted(away: Away) -> None:
    away[1].big.insert_many([{"_id": n, "text": f"{n:0200d}"} for n in range(12_000)])
    found = read_through_a_restart(away, ReadRequest(stream(collection="big"), batch_rows=1_000))
    assert found == list(range(12_000))


@pytest.mark.parametrize("indexed", [True, False])
def test_an_increment_goes_on_if_an_index_gives_its_order(away: Away, indexed: bool) -> None:
    """Many documents have the same time; those given are not given again."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"_id": f"id{n}", "updated_at": start + timedelta(seconds=n // 700), "t": "x" * 200}
        for n in range(12_000)
    ]
    random.Random(7).shuffle(rows)
    away[1].big.insert_many(rows)
    if indexed:
        away[1].big.create_index("updated_at")
    spec = stream(collection="big", sync={"mode": "incremental", "cursor": "updated_at"}, primary_key=["_id"])
    request = ReadRequest(spec, after=start + timedelta(seconds=1), batch_rows=1_000)
    if indexed:
        assert sorted(read_through_a_restart(away, request)) == sorted(f"id{n}" for n in range(700, 12_000))
    else:
        with pytest.raises(TransientError, match="cannot be reached, or went away"):
            read_through_a_restart(away, request)


def test_ids_of_several_kinds_are_all_read_and_a_restart_begins_anew(away: Away) -> None:
    """The server compares ids of one kind only with each other."""
    away[1].big.insert_many([{"_id": n, "t": "x" * 200} for n in range(1_500)])
    away[1].big.insert_many([{"_id": f"{n}", "t": "x" * 200} for n in range(9_000)])
    request = ReadRequest(stream(collection="big", options={"columns": {"_id": "string"}}), batch_rows=1_000)
    with away[2].read(request) as reader:
        assert reader.read_all().num_rows == 10_500
    with pytest.raises(TransientError):
        read_through_a_restart(away, request)


def test_a_view_is_read_though_it_has_no_order(db: Db, source: Source) -> None:
    db.things.insert_many([{"_id": n, "even": n % 2 == 0} for n in range(10)])
    db.command({"create": "evens", "viewOn": "things", "pipeline": [{"$match": {"even": True}}]})
    found = read(source, ReadRequest(stream(collection="evens")))
    assert sorted(found.column("_id").to_pylist()) == [0, 2, 4, 6, 8]


def test_what_makes_rows_stops_what_reads_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    reader = ahead(items())
    assert [next(reader), next(reader)] == [0, 1]
    reader.close()
    assert len(made) <= 4
    assert list(ahead(iter([1, 2, 3]))) == [1, 2, 3]


def test_nul_in_text_is_kept(db: Db, source: Source) -> None:
    texts = ["\0", "a\0b", "\0😀\0", "", None]
    db["nuls"].insert_many([{"_id": n, "t": t, "deep": {"t": [t]}} for n, t in enumerate(texts)])
    found = read(source, ReadRequest(stream(collection="nuls"))).to_pylist()
    assert [r["t"] for r in found] == texts
    assert [r["deep"] for r in found] == [{"t": [t]} for t in texts]


SIX = "650000000000000000000001"


def pulled(engine: Engine, dsn: str, **keys: Any) -> list[dict[str, Any]]:
    """The table after a pull."""
    declared = stream(collection="c", primary_key=["_id"], **keys)
    source = SourceSpec(
        name=dsn.rsplit("/", 1)[1].partition("?")[0],
        connection={"kind": "mongodb", "dsn": "{{ env.DOCUMENTS_DSN }}"},
        streams=(declared,),
    )
    pull_stream(engine, source, declared)
    table = table_of(source, declared, "raw")
    found: list[dict[str, Any]] = engine.lake.scan(table).read_all().to_pylist()
    return found


def test_an_id_and_a_text_that_looks_like_it_are_two_rows(db: Db, dsn: str, project: Settings) -> None:
    """Also if the second comes when a sample sees it for the first time, and in a merge."""
    engine, start = open_engine("run", project), datetime(2026, 1, 1, tzinfo=UTC)
    sync = {"mode": "incremental", "cursor": "at"}
    db.c.insert_one({"_id": ObjectId(SIX), "at": start, "v": "id"})
    assert [r["_id"] for r in pulled(engine, dsn, sync=sync)] == [SIX]
    db.c.insert_many([{"_id": SIX, "at": start, "v": "text"}, {"_id": 5, "at": start, "v": "number"}])
    db.c.update_one({"_id": ObjectId(SIX)}, {"$set": {"v": "new", "at": start + timedelta(1)}})
    rows = {r["_id"]: r["v"] for r in pulled(engine, dsn, sync=sync)}
    assert rows == {SIX: "new", f'{{"$value": "{SIX}"}}': "text", '{"$numberInt": "5"}': "number"}


def test_an_object_id_is_a_cursor(db: Db, dsn: str, project: Settings) -> None:
    engine = open_engine("run", project)
    ids = [ObjectId(f"6500000{n}" + "0" * 16) for n in range(6)]
    db.c.insert_many([{"_id": i, "v": 1} for i in ids[2:4]])
    sync = {"mode": "incremental", "cursor": "_id"}
    assert [r["_id"] for r in pulled(engine, dsn, sync=sync)] == [str(i) for i in ids[2:4]]
    db.c.update_many({}, {"$set": {"v": 2}})
    db.c.insert_many([{"_id": i, "v": 2} for i in (ids[1], ids[4])])
    rows = sorted((r["_id"], r["v"]) for r in pulled(engine, dsn, sync=sync))
    assert rows == [(str(ids[2]), 1), (str(ids[3]), 2), (str(ids[4]), 2)]
    behind = pulled(engine, dsn, sync={**sync, "lag": "3s"})
    assert sorted((r["_id"], r["v"]) for r in behind) == [(str(i), 2) for i in ids[1:5]]

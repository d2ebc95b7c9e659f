"""MongoDB: types, filters that only compare, documents that do not fit, a restart in the middle."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.sources.documents.records import PAGE_ROWS, as_json, check_filter, pages, parsed
from superinsight_sync.sources.files.jsontext import record_of
from superinsight_sync.sources.protocol import ReadRequest, Source, open_source
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
    with MongoClient(dsn) as client:  # type: ignore[var-annotated]
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


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text()
RARE = st.sampled_from(
    [
        *(
            Int64(2**40),
            ObjectId("0" * 24),
            UUID(int=7),
            Binary(b"\x00\xff"),
            b"x",
            Timestamp(3, 4),
            MaxKey(),
            Code("f"),
        ),
        *(Decimal128(t) for t in ("1.50", "1E+3", "NaN")),
        *(datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), DatetimeMS(2**62)),
        *(
            {"a": [1, {"b": 0.1}], "c": datetime(2026, 1, 1, tzinfo=UTC)},
            {"a": float("nan")},
            [],
            {"": Int64(1)},
        ),
    ]
)
DOCUMENTS = st.lists(
    st.dictionaries(st.sampled_from("abc") | st.text(), PLAIN | RARE, max_size=5), max_size=4
)


@given(DOCUMENTS)
def test_documents_are_what_their_json_says_or_nothing(documents: list[dict[str, Any]]) -> None:
    found = parsed(documents, frozenset())
    if found is not None:
        assert repr(found) == repr([record_of(as_json(d).decode()) for d in documents])


def test_only_rare_documents_are_parsed_from_their_text() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    document = {"_id": ObjectId("0" * 24), "n": Int64(1), "x": 0.5, "at": at, "also": at, "in": {"a": [at]}}
    text = "2026-01-02T00:00:00+00:00"
    wanted = {"_id": "0" * 24, "n": 1, "x": 0.5, "at": at, "also": text, "in": {"a": [text]}}
    assert parsed([document], frozenset({"at"})) == [wanted]
    assert parsed([{"x": float("nan")}], frozenset()) is None
    assert parsed([{"x": {"y": float("nan")}}], frozenset()) is None


def test_a_server_that_restarts_in_the_middle_is_read_anew(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 20_000
    settings = load_settings({"SIS_PROJECT_DIR": str(tmp_path_factory.mktemp("away"))})
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.5)
    with running_mongo() as server:
        dsn = server.new_dsn()
        monkeypatch.setenv("AWAY_DSN", dsn)
        with MongoClient(dsn) as client:  # type: ignore[var-annotated]
            client.get_default_database().big.insert_many(
                [{"_id": n, "text": f"{n:0200d}"} for n in range(rows)]
            )
        time.sleep(1)  # its journal is written every 0.1 s
        struck = False

        def struck_after_a_page(documents: Any, where: str, times: Any, rows: int = 1_000) -> Any:
            nonlocal struck
            for page in pages(documents, where, times, 1_000):
                yield page
                if rows == PAGE_ROWS and page.number == 3 and not struck:
                    struck = True
                    server.restart()

        monkeypatch.setattr("superinsight_sync.sources.documents.records.pages", struck_after_a_page)
        source = SourceSpec.model_validate(
            {
                "name": "away",
                "connection": {"kind": "mongodb", "dsn": "{{ env.AWAY_DSN }}"},
                "streams": [{"name": "big", "collection": "big", "primary_key": ["_id"]}],
            }
        )
        engine = Engine(settings, "run-1")
        result = pull_stream(engine, source, source.streams[0])
    assert (result.stats.rows, result.retries) == (rows, 1)
    landed = engine.lake.scan(TableRef("default", "away", "big", "raw"), columns=["_id"]).read_all()
    assert sorted(landed.column("_id").to_pylist()) == list(range(rows))

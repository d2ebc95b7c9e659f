"""Documents as rows: as their JSON says, by their objects, by their bytes."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import bson
import pyarrow as pa
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.records import bson_byte_columns
from superinsight_sync.records.bson_byte_columns import DocumentReader
from superinsight_sync.records.bson_bytes import Raw, order_of
from superinsight_sync.records.bson_columns import columns_of
from superinsight_sync.records.bson_keys import Keys
from superinsight_sync.records.bson_records import as_json, page, parsed
from superinsight_sync.records.json_rows import Shape
from superinsight_sync.records.json_text import record_of
from superinsight_sync.records.rejects import Rejects
from superinsight_sync_tests.sources.reading import stream

NO_KEYS = Keys((), [], {})
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


COLUMNS = ["_id", "n", "x", "at", "also", "in", "many", "money"]
SAMPLE: dict[str, Any] = {
    "_id": ObjectId("0" * 24), "n": Int64(1), "x": 0.5, "at": datetime(2026, 1, 2), "also": "t", "in": {"a": 1},
    "many": [0.5], "money": Decimal128("1.50"),
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from([*COLUMNS, "new"]), PLAIN | RARE, max_size=3), max_size=4),
    st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(["string", "int64", "decimal(12,2)", "float64"]), max_size=2),
)  # fmt: skip
def test_columns_of_documents_are_those_of_their_records(
    changes: list[dict[str, Any]], declared: dict[str, str]
) -> None:
    documents = [{**SAMPLE, **change} for change in changes]
    shape = Shape(stream(collection="c"), {"at": "timestamp", **declared}, None)
    shape.sample([page(1, "c", [SAMPLE], frozenset(), NO_KEYS)])
    found = columns_of(documents, shape)
    rejects = Rejects(limit=100)
    wanted = shape.batch(page(2, "c", documents, shape.times, NO_KEYS), rejects)
    assert found is None or (repr(found.to_pylist()) == repr(wanted.to_pylist()) and not rejects.count)
    assert found is None or found.schema == wanted.schema
    if changes and all(c.keys() <= {"_id"} and type(c.get("_id")) is ObjectId for c in changes):
        assert found is not None


OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    uuid_representation=bson.binary.UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="strict",
)
CHANGES = st.dictionaries(st.sampled_from(COLUMNS), PLAIN | RARE, max_size=2)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "_id": st.binary(min_size=12, max_size=12).map(ObjectId),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1) | st.booleans(),
        "x": st.none() | st.floats(),
        "at": st.none() | st.datetimes() | st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
        "also": st.none() | st.text(),
        "in": st.none() | st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
        "many": st.none() | st.lists(st.floats(allow_nan=False)),
        "money": st.none() | st.decimals(-99, 99, places=2).map(Decimal128),
    },
)


@pytest.fixture(autouse=True)
def walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few documents are enough."""
    monkeypatch.setattr(bson_byte_columns, "_FEW", 1)


def sent(documents: list[dict[str, Any]]) -> bytes:
    """The documents as a server sends them."""
    return b"".join(bson.encode(d, codec_options=OPTIONS) for d in documents)


def sampled() -> Shape:
    shape = Shape(stream(collection="c"), {"at": "timestamp"}, None)
    return shape.sample([page(1, "c", [SAMPLE], frozenset(), NO_KEYS)])


def by_objects(raw: Raw, shape: Shape) -> str:
    try:
        found = columns_of(raw.documents, shape)
    except InvalidBSON:
        return "broken"
    return repr(found and found.to_pylist())


def by_bytes(raw: Raw, shape: Shape) -> str:
    try:
        found = DocumentReader(shape, NO_KEYS).read(raw)
        if found is not None:
            found.validate(full=True)
            assert found.schema == shape.schema
    except InvalidBSON:
        return "broken"
    return repr(found and found.to_pylist())


@settings(max_examples=500, deadline=None)
@given(
    st.lists(CHANGES | LIKELY, min_size=1, max_size=5),
    st.permutations(COLUMNS),
    st.sets(st.sampled_from(COLUMNS)),
)
def test_rows_by_bytes_are_those_by_objects(
    changes: list[dict[str, Any]], order: list[str], left_out: set[str]
) -> None:
    """Whatever the types, whatever is left out (of every other document), in any order."""
    documents = [
        {n: {**SAMPLE, **c}[n] for n in order if at % 2 or n not in left_out} for at, c in enumerate(changes)
    ]
    raw, shape = Raw(sent(documents), OPTIONS), sampled()
    assert by_bytes(raw, shape) == by_objects(raw, shape)


@settings(max_examples=500, deadline=None)
@given(st.lists(LIKELY, min_size=1, max_size=3), st.data())
def test_broken_bytes_are_told_as_objects_tell_them(
    changes: list[dict[str, Any]], data: st.DataObject
) -> None:
    found = bytearray(sent([{**SAMPLE, **c} for c in changes]))
    for _ in range(data.draw(st.integers(1, 3))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.integers(0, 255))
    broken, shape = bytes(found[: data.draw(st.integers(len(found) - 20, len(found)))]), sampled()
    try:
        raw = Raw(broken, OPTIONS)
    except InvalidBSON:
        return
    assert by_bytes(raw, shape) == by_objects(raw, shape)


def test_ordinary_documents_need_no_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of both widths, absent and NULL fields, fields that come later than in the sample."""
    shape = sampled()
    others: list[dict[str, Any]] = [{"n": 3}, {"n": None, "x": -0.5}, {"also": "é🛬", "in": None}]
    documents = [SAMPLE, *({**SAMPLE, **o} for o in others), {k: SAMPLE[k] for k in ("_id", "at", "money")}]
    raw = Raw(sent(documents), OPTIONS)
    wanted = columns_of(raw.documents, shape)
    monkeypatch.setattr(bson_byte_columns, "columns_of", lambda *_: None)
    found = DocumentReader(shape, NO_KEYS).read(raw)
    assert isinstance(wanted, pa.RecordBatch) and found is not None and found.equals(wanted)


def test_the_order_of_fields_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = DocumentReader(sampled(), NO_KEYS)
    raw = Raw(sent([dict(reversed(SAMPLE.items()))]), OPTIONS)
    assert reader.read(raw) is not None
    monkeypatch.setattr(bson_byte_columns, "columns_of", lambda *_: None)
    assert reader.read(raw) is not None


def test_an_order_holds_those_of_all_layouts() -> None:
    assert order_of(["abd", "acd", "ab", "e"]) == list("eacbd")


def landed(documents: list[dict[str, Any]], sample: list[dict[str, Any]]) -> list[Any]:
    """The keys of the documents' rows and of those set aside, with the sample's types."""
    keys = Keys(("_id",), sample, {})
    shape = Shape(stream(collection="c"), {}, None).sample(
        [page(1, "c", keys.written(sample), frozenset(), keys)]
    )
    raw, rejects = Raw(sent(documents), OPTIONS), Rejects(limit=100)
    found = DocumentReader(shape, keys).read(raw)
    if found is None:
        found = shape.batch(page(2, "c", raw.documents, shape.times, keys), rejects)
    aside = rejects.table().column("record").to_pylist()
    for document in map(json_util.loads, aside):
        assert json_util.dumps(document) in [json_util.dumps(d) for d in raw.documents]
    return [str(v) for v in found.column("_id").to_pylist()] + aside


SIX = "650000000000000000000001"
IDS = st.sampled_from(
    [
        *(SIX, ObjectId(SIX), f'"{SIX}"', f'{{"$oid": "{SIX}"}}', f'{{"$value": "{SIX}"}}', ""),
        *(1, "1", '"1"', True, "true", Decimal128("1.5"), "1.5", 1.5, Timestamp(3, 4), "3:4"),
        *(UUID(int=7), str(UUID(int=7)), b"x", "eA==", Binary(b"x", 5), Code("f"), Regex("f"), "/f/", "f"),
        *(datetime(2026, 1, 2), "2026-01-02T00:00:00+00:00", DatetimeMS(2**62), '{"$date": 1}'),
        *({"a": 1}, {"a": "1"}, '{"a": 1}', {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": None}),
        *({"a": ObjectId(SIX)}, {"a": SIX}, MaxKey(), MinKey()),
    ]
)


@given(st.lists(IDS, min_size=1, max_size=8, unique_by=repr), st.integers(1, 8))
def test_keys_that_the_server_tells_apart_are_apart(ids: list[Any], sampled_first: int) -> None:
    """Whatever the sample saw of them."""
    documents = [{"_id": value} for value in ids]
    assert len(set(landed(documents, documents[:sampled_first]))) == len(documents)

"""Bodies become records, exactly, or are refused without a word of what was in them."""

import gzip
import json
import tracemalloc
import zlib
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.push import PushFormat
from superinsight_sync.receive.envelope import event_of, format_of, idempotency_key, open_envelope
from superinsight_sync.receive.limits import unpacked
from superinsight_sync.receive.parsing import ParseRules, Rejected, parse
from superinsight_sync.receive.refusals import (
    MalformedError,
    TooLargeError,
    UnprocessableError,
    UnsupportedError,
)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
RECORDS = st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=5)
FREE = ParseRules(nul=True)


@given(st.lists(RECORDS, max_size=20))
def test_json_and_lines_of_it_come_back_as_they_were(records: list[dict[str, object]]) -> None:
    text = json.dumps(records, ensure_ascii=False)
    assert parse(text.encode(), "json", FREE).records == records
    lines = "\r\n\n".join(json.dumps(r) for r in records)
    assert parse(b"\xef\xbb\xbf" + lines.encode(), "ndjson", FREE).records == records


@given(st.integers(0, 30), st.integers(1, 20), st.sampled_from(["json", "ndjson", "csv", "xml"]))
def test_a_batch_over_the_limit_is_refused_whole(count: int, limit: int, form: str) -> None:
    body = {
        "json": json.dumps([{"a": 1}] * count),
        "ndjson": '{"a": 1}\n' * count,
        "csv": "a\n" + "1\n" * count,
        "xml": f"<r>{'<a>1</a>' * count}</r>",
    }[form].encode()
    if count > limit:
        with pytest.raises(UnprocessableError, match=f"more than {limit} records"):
            parse(body, form, ParseRules(records=limit))  # type: ignore[arg-type]
    else:
        assert len(parse(body, form, ParseRules(records=limit)).records) == count  # type: ignore[arg-type]


@given(st.lists(st.sampled_from([b'{"a":1}', b"[", b"1", b'{"a":1e999}', b""]), max_size=12))
def test_bad_lines_count_and_are_named_by_their_number(lines: list[bytes]) -> None:
    parsed = parse(b"\n".join(lines), "ndjson")
    good = [n for n, line in enumerate(lines, start=1) if line == b'{"a":1}']
    bad = [n for n, line in enumerate(lines, start=1) if line not in (b'{"a":1}', b"")]
    assert (parsed.places, [r.place for r in parsed.rejected]) == (good, bad)
    if len(good) + len(bad) > 1:
        with pytest.raises(UnprocessableError):
            parse(b"\n".join(lines), "ndjson", ParseRules(records=len(good) + len(bad) - 1))


def test_numbers_and_texts_stay_what_they_are() -> None:
    body = b'[{"a": 18446744073709551616, "b": "007", "c": 1.10, "d": 0.12345678901234567890123}]'
    exact = parse(body, "json", ParseRules(exact=True)).records[0]
    assert exact["a"] == 2**64 and type(exact["a"]) is int
    assert (exact["b"], str(exact["c"])) == ("007", "1.10")
    assert exact["d"] == Decimal("0.12345678901234567890123")
    assert parse(b"a,b\n007,NA\n92233720368547758070,\n", "csv").records == [
        {"a": "007", "b": "NA"},
        {"a": "92233720368547758070", "b": ""},
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": NaN}', "no valid JSON"),
        (b'{"a": Infinity}', "no valid JSON"),
        (b'{"a": 1e400}', "a number is out of range"),
        (b'{"a": %s}' % (b"9" * 5_000), "a number is out of range"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": "\\udc00x"}', "no valid JSON"),
        (b'{"a": "\xed\xa0\x80"}', "no UTF-8"),
        (b'{"a": "\xff"}', "no UTF-8"),
        (b"{'a': 1}", "no valid JSON"),
        (b'{"a": 01}', "no valid JSON"),
        (b'{"a": 1,}', "no valid JSON"),
        (b'{"a": 1} x', "no valid JSON"),
        (b'{"a": "\n"}', "no valid JSON"),
        (b"// a\n{}", "no valid JSON"),
        (b"\0", "no valid JSON"),
    ],
)
def test_what_is_no_json_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        parse(body, "json")
    if b"\n" not in body:
        assert reason in parse(body, "ndjson").rejected[0].reason


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 200_000 + b"]" * 200_000])
def test_endless_nesting_is_refused(deep: bytes) -> None:
    with pytest.raises((UnprocessableError, MalformedError)):
        parse(deep, "json")
    assert len(parse(deep, "ndjson", ParseRules(record_bytes=10**7)).rejected) == 1


def test_a_record_can_be_as_deep_as_allowed_and_no_deeper() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    rules = ParseRules(nesting=5)
    assert len(parse(nested(5), "json", rules).records) == 1
    assert parse(nested(6), "json", rules).rejected == [Rejected(1, "nested deeper than 5 levels")]


def test_policies_for_nul_and_repeated_keys() -> None:
    nul = b'[{"a": {"b": ["x\\u0000"]}}, {"c": "\\\\u0000"}]'
    assert parse(nul, "json").rejected == [Rejected(1, "text holds the character NUL")]
    assert len(parse(nul, "json", ParseRules(nul=True)).records) == 2
    twice = b'[{"a": 1}, {"b": {"a": 1, "a": 2}}]'
    assert len(parse(twice, "json").records) == 2
    strict = parse(twice, "json", ParseRules(unique_keys=True))
    assert strict.rejected == [Rejected(2, "an object has the same key twice")]


def test_csv_is_read_by_the_book() -> None:
    body = 'id,text\n1,"a ""b"", c\nd"\n\n2\n3,雪😀\n'.encode()
    parsed = parse(body, "csv")
    assert parsed.records == [{"id": "1", "text": 'a "b", c\nd'}, {"id": "3", "text": "雪😀"}]
    assert parsed.rejected == [Rejected(5, "1 cells, 2 columns")]
    for bad in (b'a\n"x', b'a\n"x"y\n', b"", b"a,a\n1,2", b"a,\n1,2", b"a\n" + b"x" * 200_000):
        with pytest.raises(MalformedError):
            parse(bad, "csv")
    for bad in (b"a\n\xff", "a\n1".encode("utf-16")):
        with pytest.raises(UnsupportedError, match="UTF"):
            parse(bad, "csv")


def test_xml_has_records_and_no_entities() -> None:
    body = b'<o xmlns="urn:x"><i n="1"><t>a</t><t>b</t></i><i>007</i><i/></o>'
    assert parse(body, "xml").records == [{"@n": "1", "t": ["a", "b"]}, {"#text": "007"}, {"#text": ""}]
    inner = b"<r><meta/><list><item><x>1</x></item><item><x>2</x></item></list></r>"
    assert parse(inner, "xml", ParseRules(element="item")).records == [{"x": "1"}, {"x": "2"}]
    bomb = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r><i>&b;</i></r>'
    for hostile in (
        bomb,
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>',
        bomb.decode().encode("utf-16"),
        b"<r>" + b"<a>" * 300 + b"</a>" * 300 + b"</r>",
        b"<r><i>&x;</i></r>",
        b"<r><i></r>",
        b"",
        b"{}",
    ):
        with pytest.raises((UnprocessableError, MalformedError, UnsupportedError)):
            parse(hostile, "xml")


@given(st.binary(max_size=300), st.sampled_from(["json", "ndjson", "csv", "xml"]))
def test_any_bytes_give_records_or_our_refusal(body: bytes, form: str) -> None:
    try:
        parse(body, form)  # type: ignore[arg-type]
    except SisError as error:
        assert len(str(error)) < 300
    with suppress(SisError):
        open_envelope(body)


@given(st.binary(max_size=5_000), st.integers(0, 6_000))
def test_unpacking_stays_within_its_bounds(body: bytes, limit: int) -> None:
    two_members = gzip.compress(body[:100]) + gzip.compress(body[100:])
    for packed, name in ((two_members, "gzip"), (zlib.compress(body), "deflate"), (body, "")):
        if len(body) > limit:
            with pytest.raises(TooLargeError):
                unpacked(packed, name, limit)
        else:
            assert unpacked(packed, name, limit) == body


def test_bombs_and_broken_archives_are_refused() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    with pytest.raises(TooLargeError, match="unpacked, it has more than 1000000 bytes"):
        unpacked(bomb, "gzip", 1_000_000)
    whole = gzip.compress(b"abc" * 1000)
    for broken in (whole[:-1], whole[:-9], whole[:5], b"", b"\x1f\x8b", whole + b"x", b"abc"):
        with pytest.raises(MalformedError):
            unpacked(broken, "gzip", 10_000)
    with pytest.raises(MalformedError):
        unpacked(zlib.compress(b"abc") + b"x", "deflate", 100)
    with pytest.raises(UnsupportedError):
        unpacked(b"", "br", 100)


def test_an_envelope_is_opened_and_its_data_left_alone() -> None:
    body = b'{"tenant": "acme", "source": "till", "data": [ {"a": 1.10} ], "metadata": {"batch": "7"}}'
    envelope = open_envelope(body)
    assert (envelope.tenant, envelope.source, envelope.stream) == ("acme", "till", None)
    assert bytes(envelope.data) == b'[ {"a": 1.10} ]'
    for wrong in (b"[]", b"{}", b'{"source": 1, "data": []}', b'{"source": "a", "data": [], "x": 1}'):
        with pytest.raises(UnprocessableError, match="not a batch"):
            open_envelope(wrong)


def test_formats_keys_and_events() -> None:
    assert format_of("Application/JSON; charset=UTF-8") == "json"
    assert format_of("application/vnd.shop+json") == "json"
    assert [format_of(t) for t in ("text/csv", "application/x-ndjson", "text/xml")] == [
        "csv",
        "ndjson",
        "xml",
    ]
    for wrong in ("", "text/plain", "application/json; charset=gbk"):
        with pytest.raises(UnsupportedError):
            format_of(wrong)
    assert (idempotency_key('"a-1"'), idempotency_key("a-1")) == ("a-1", "a-1")
    for wrong in ("", '""', "a b", "é", "x" * 256):
        with pytest.raises(MalformedError):
            idempotency_key(wrong)
    assert event_of({"event": {"name": "paid"}}, "event.name") == "paid"
    assert [event_of(v, "a.b") for v in ({}, {"a": 1}, {"a": {"b": 1}}, [1], None)] == [None] * 5


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b'[{"a":[' + b"[]," * 1_100_000 + b"1]}]", "json"),
        (b'{"a":[' + b"{}," * 1_100_000 + b"1]}", "ndjson"),
        (b'[{"a":[' + b"0," * 8_100_000 + b"1]}]", "json"),
        (b"a" + b"," * 8_100_000, "csv"),
    ],
)
def test_what_is_short_and_becomes_much_is_refused_before_it_does(body: bytes, form: PushFormat) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnprocessableError, match="^more than"):
            parse(body, form)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()

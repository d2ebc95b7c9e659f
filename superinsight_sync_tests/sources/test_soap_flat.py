"""SOAP records as columns: by their tags what they are by their elements."""

from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import httpx
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import Column, ReadRequest
from superinsight_sync.sources.soap.answers import body_of, records_in
from superinsight_sync.sources.soap.reading import OperationReader, _written
from superinsight_sync.sources.soap.wsdl import Field, Records

TYPES = {"a": pa.string(), "ab": pa.int64(), "b": pa.decimal128(12, 2), "é": pa.string(), "blob": pa.binary()}
FIELDS = tuple(
    Field(Column(n, "x", t), "text", "base64Binary" if n == "blob" else "x") for n, t in TYPES.items()
)
XSI = "http://www.w3.org/2001/XMLSchema-instance"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n\r&<>]'\"")
) | st.sampled_from(
    ["12", " 7 ", "0x1F", "1.50", "", "&amp;", "&#13;", "aGk=", "]]>", "99999999999999999999"]
)


@st.composite
def elements(draw: st.DrawFn, name: str, prefix: str) -> str:
    tag, text = f"{prefix}{name}", escape(draw(TEXTS), {"\r": "&#13;", "]]>": "]]&gt;"})
    plain = f"<{tag}>{text}</{tag}>"
    odd = (
        *(
            f"<{tag}/>",
            f'<{tag} i:nil="true"/>',
            f'<{tag} i:nil="1"></{tag}>',
            f'<{tag} x="1">{text}</{tag}>',
        ),
        *(f"<{tag}><!-- c -->{text}</{tag}>", f"<{tag}><d>{text}</d></{tag}>"),
        *(f"<{tag}><![CDATA[<{name}>]]></{tag}>", f"{text}<{tag}>1</{tag}>\n "),
    )
    return draw(st.sampled_from(odd)) if draw(st.integers(0, 2)) == 0 else plain


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    prefix = draw(st.sampled_from(["", "t:"]))
    records = []
    for _ in range(draw(st.integers(0, 5))):
        names = draw(st.lists(st.sampled_from([*TYPES] * 3 + ["other"]), max_size=6) | st.just(list(TYPES)))
        ordered = names if draw(st.integers(0, 4)) == 0 else sorted(set(names), key=[*TYPES, "other"].index)
        inner = "".join(draw(elements(n, prefix)) for n in ordered)
        records.append(
            f'<{prefix}r id="&lt;a>">{inner}</{prefix}r>'
            if draw(st.booleans())
            else f"<{prefix}r>{inner}</{prefix}r>"
        )
    own = f'xmlns{":t" if prefix else ""}="urn:x"'
    return (
        f'<s:Envelope xmlns:s="{ENVELOPE}" xmlns:i="{XSI}"><s:Body><{prefix}all {own}>'
        f"{''.join(records)}</{prefix}all></s:Body></s:Envelope>"
    ).encode()


def columns_of(answer: bytes, by: str) -> Any:
    records = records_in(body_of(httpx.Response(200, content=answer), "here")[0], ("r",))
    request = ReadRequest(StreamSpec.model_construct(name="s", operation="List", options={}))
    reader = OperationReader(lambda _: None, request, SimpleNamespace(page=None), {}, Records(("r",), FIELDS))
    bad: dict[int, str] = {}
    if by == "tags":
        found = reader._flat(records, _written(records), bad)
        return found and ([a.to_pylist() for a in found], bad)
    return [a.to_pylist() for a in reader._arrays(records, bad)], bad


@settings(max_examples=600, deadline=None)
@given(answers())
def test_columns_by_tags_are_those_by_elements(answer: bytes) -> None:
    by_tags = columns_of(answer, "tags")
    assert by_tags is None or by_tags == columns_of(answer, "elements")


def test_plain_records_need_no_elements() -> None:
    for prefix in ("", "t:"):
        inner = f"<{prefix}a>x &amp;lt; &#13;é🛬</{prefix}a><{prefix}b>1.5</{prefix}b>"
        others = f'<{prefix}a/><{prefix}ab i:nil="true"/><{prefix}é> y </{prefix}é>'
        own = f'xmlns{":t" if prefix else ""}="urn:x"'
        found = columns_of(
            f'<s:Envelope xmlns:s="{ENVELOPE}" xmlns:i="{XSI}"><s:Body><{prefix}all {own}>'
            f"<{prefix}r>{inner}</{prefix}r>\n<{prefix}r>{others}</{prefix}r></{prefix}all></s:Body></s:Envelope>".encode(),
            "tags",
        )
        assert found is not None and found[0][0] == ["x &lt; \ré🛬", ""] and found[0][1] == [None, None]
        assert found[0][3] == [None, " y "] and found[1] == {}

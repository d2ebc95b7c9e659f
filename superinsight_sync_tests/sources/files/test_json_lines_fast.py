"""The fast parser of JSON Lines gives what the exact one gives, or nothing."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from superinsight_sync.records.json_lines import exact, fast, fast_values
from superinsight_sync.records.json_text import text_of

TOKENS = [
    *(f'"{k}"' for k in ("a\\\\", "a\\\\\\\"", "a", "b", "", "a\\u0041", "aA", '\\":', "x: ", "\\ud83d\\ude00", "\\ud800", "\\udc00x")),
    *("{", "}", "[", "]", ":", ",", " ", "\t", "\r", "\v", "\x00", "\x1f", "\x7f", "\u2028", "\ufeff", '"', "\\"),
    *("NaN", "Infinity", "-Infinity", "null", "true", "false", "-0", "-0.0", "0.1", "1.", ".5", "+1", "01", "1e5"),
    *("1E400", "1e-400", "9223372036854775808", "18446744073709551616", "-9223372036854775809", "-18446744073709551617"),
    *("0.12345678901234567890123", "1e999999999999999999999", "123456789012345678.0", '"2020-01-01"', '"漢😀"'),
]  # fmt: skip
SCALARS = st.sampled_from(
    [t for t in TOKENS if t[0] in '"-0123456789tfnNI.+' and t != '"']
) | st.integers().map(str)
SCALARS |= st.floats().map(repr)
GAPS = st.sampled_from(["", "", " ", "\t", "\r", "\v", "\xa0"])


def _object(pairs: list[tuple[str, str, str]]) -> str:
    return "{" + ",".join(f"{k}{gap}:{v}" for k, gap, v in pairs) + "}"


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = st.sampled_from([*TOKENS[:10], '"c"', '"d"'])
    objects = st.lists(st.tuples(keys, GAPS, inner), max_size=4).map(_object)
    return objects | st.lists(inner, max_size=3).map(lambda v: "[" + ",".join(v) + "]")


VALUES = st.recursive(SCALARS, _nested, max_leaves=8)
LINES = (
    _nested(VALUES)
    | VALUES
    | st.lists(st.sampled_from(TOKENS), max_size=8).map("".join)
    | st.text(max_size=9)
)
DEEP = [f'{{"a":{o * n}1{c * n}}}' for n in (98, 99, 100, 101, 3000) for o, c in (("[", "]"), ('{"a":', "}"))]


def _same(lines: list[str]) -> bool:
    """Whether the fast parser took the lines; fails if it gave anything else than the exact one."""
    raw = [line.encode() for text in lines for line in text.split("\n")]
    bad: list[Any] = []
    wanted = exact(1, raw, lambda *told: bad.append(told))
    found = fast(1, raw)
    if found is None:
        return False
    assert not bad
    assert [_typed(v) for v in found.values] == [_typed(v) for v in wanted.values]
    assert list(map(text_of, found.values)) == list(map(text_of, wanted.values))
    rows = range(len(found.values))
    assert [found.place_of(i, "") for i in rows] == [wanted.place_of(i, "") for i in rows]
    return True


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return [(k, _typed(v)) for k, v in value.items()]
    return [_typed(v) for v in value] if isinstance(value, list) else (type(value), repr(value))


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(LINES.filter(lambda t: t.isprintable() or t.encode("utf-8", "ignore").decode() == t), max_size=4)
)
def test_any_lines_read_alike(lines: list[str]) -> None:
    _same(lines)


@settings(max_examples=300, deadline=None)
@given(VALUES)
@example("1" * 4300)
@example("1" * 5000)
@example("-" + "9" * 400)
@example("1" * 5000 + ".5")
@example("0." + "1" * 400)
def test_any_value_reads_alike(value: str) -> None:
    _same([f'{{"v":{value}}}'])


@pytest.mark.parametrize(
    "line", [*DEEP, *(f'{{"a":"{chr(c)}"}}' for c in range(0x20)), '{"a":"\\q"}', '{"a":"\\/"}']
)
def test_depth_and_control_signs_read_alike(line: str) -> None:
    _same([line])


def test_the_common_case_is_fast_and_the_doubtful_one_is_not() -> None:
    assert _same(['{"a": 1, "b": [{"c": 0.1}], "t": "10:00"}', '{"a": 18446744073709551616}\r'])
    assert _same(
        ['{"a": "{\\"a\\": [1, {\\"b\\" : 2}]}"}', '{"a\\\\": "\\\\", "\\"" : 1}', '{ "a" : " b " }']
    )
    assert not _same(['{"a": 1, "a": 1}'])
    assert not _same(['{"a\\\\": 1, "a\\\\": 1}'])
    assert not _same(['{"a" : 1, "a": 1}', '{"b": ":"}'])
    assert not _same(['{"a\\"": 1, "a\\u0022": "\\":"}'])
    assert fast_values([b'{"a"\n: 1, "a": 1}']) is None
    assert fast_values([b'{"a": "\xff"}']) is None
    assert fast_values([b'{\n  "a": "x"\n}', b'{"a": 1}']) == [{"a": "x"}, {"a": 1}]
    assert not _same(['{"b": {"a": 1, "\\u0061": 1}}'])
    assert not _same(['{"a": "\\ud800"}'])

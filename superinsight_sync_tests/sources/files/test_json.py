"""JSON and JSON Lines."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync_tests.sources.files.folder import read, rows
from superinsight_sync_tests.sources.files.test_delimited import rejected


def lines(folder: Path, *records: Any, name: str = "a.jsonl") -> None:
    text = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    (folder / name).write_text("\n".join(text) + "\n")


TYPES = [
    (["1", "-9223372036854775808"], pa.int64(), [1, -(2**63)]),
    (["1", "18446744073709551616"], pa.decimal128(38, 0), [Decimal(1), Decimal(2**64)]),
    (["1", "1" + "0" * 38], pa.string(), ["1", "1" + "0" * 38]),
    (["1", "2.5"], pa.float64(), [1.0, 2.5]),
    (["9007199254740993", "2.5"], pa.string(), ["9007199254740993", "2.5"]),
    (["0.1", "1e2"], pa.float64(), [0.1, 100.0]),
    (["0.1", "1.00000000000000000001"], pa.string(), ["0.1", "1.00000000000000000001"]),
    (["1e400"], pa.string(), ["1E+400"]),
    (["1e-400", "1"], pa.string(), ["1E-400", "1"]),
    (["true", "false", "null"], pa.bool_(), [True, False, None]),
    (["true", "1"], pa.string(), ["true", "1"]),
    (['"2020-01-01"', '"2020-01-01T00:00:00Z"'], pa.string(), ["2020-01-01", "2020-01-01T00:00:00Z"]),
    (['"007"', "null", '"null"'], pa.string(), ["007", None, "null"]),
    (['"1"', "1"], pa.string(), ['"1"', "1"]),
    (["null", "null"], pa.string(), [None, None]),
    (['{"x": 1}', "null", '{"y": "é"}'], pa.struct([("x", pa.int64()), ("y", pa.string())]),
     [{"x": 1, "y": None}, None, {"x": None, "y": "é"}]),
    (["[1, 2]", "[]", "[2.5, null]"], pa.list_(pa.float64()), [[1.0, 2.0], [], [2.5, None]]),
    (["[]", "[]"], pa.string(), ["[]", "[]"]),
    (["{}", "{}"], pa.string(), ["{}", "{}"]),
    (['{"x": 1}', "[1]"], pa.string(), ['{"x": 1}', "[1]"]),
    (['{"x": 18446744073709551616, "y": [1, "z", 1.00000000000000000001]}'],
     pa.struct([("x", pa.decimal128(38, 0)), ("y", pa.list_(pa.string()))]),
     [{"x": Decimal(2**64), "y": ["1", '"z"', "1.00000000000000000001"]}]),
    (['{"a": 1, "A": 2}'], pa.string(), ['{"a": 1, "A": 2}']),
]  # fmt: skip


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize(("values", "dtype", "expected"), TYPES)
def test_types_are_exact_whatever_the_order(
    tmp_path: Path, form: str, values: list[str], dtype: pa.DataType, expected: list[Any]
) -> None:
    records = [f'{{"v": {v}}}' for v in values]
    text = "\n".join(records) if form == "jsonl" else "[" + ",\n".join(records) + "]"
    (tmp_path / f"a.{form}").write_text(text)
    table = read(tmp_path, f"a.{form}")
    assert table.schema.field("v").type == dtype
    assert table["v"].to_pylist() == expected


def test_types_come_from_all_records_of_all_files_not_from_the_first(tmp_path: Path) -> None:
    lines(tmp_path, *({"v": i} for i in range(30_000)), {"v": 0.5, "w": "x"})
    lines(tmp_path, {"v": "text"}, name="b.jsonl")
    table = read(tmp_path, "*.jsonl")
    assert table["v"].to_pylist() == [*map(str, range(30_000)), "0.5", '"text"']
    assert table["w"].null_count == 30_001
    assert read(tmp_path, "a.jsonl")["v"].type == pa.float64()


HOSTILE = [
    ('{"a": 1, "a": 2}', "a key is there twice"),
    ('{"a": {"b": 1, "b": 1}}', "a key is there twice"),
    ('{"a": NaN}', "NaN is no JSON"),
    ('{"a": -Infinity}', "-Infinity is no JSON"),
    ('{"a": "\\ud800"}', "half a surrogate pair"),
    ('{"\\udc00": 1}', "half a surrogate pair"),
    ('{"a": ' + "9" * 5000 + "}", "an integer has too many digits"),
    ('{"a": 1e999999999999999999999}', "a number's exponent is out of bounds"),
    ("[1]", "it is no JSON object"),
    ("7", "it is no JSON object"),
]


@pytest.mark.parametrize(("record", "reason"), HOSTILE)
def test_hostile_records_are_set_aside_and_the_others_read(tmp_path: Path, record: str, reason: str) -> None:
    lines(tmp_path, {"a": 1}, "", record, {"a": 3})
    good, bad = rejected(tmp_path, "a.jsonl")
    assert good == [{"a": 1}, {"a": 3}]
    assert [(f, n, t) for f, n, _, t in bad] == [("a.jsonl", 3, record)]
    assert reason in bad[0][2]
    (tmp_path / "b.json").write_text(f'[{{"a": 1}},\n\n {record},\n{{"a": 3}}]')
    good, bad = rejected(tmp_path, "b.json")
    assert good == [{"a": 1}, {"a": 3}]
    assert [(n, t) for _, n, _, t in bad] == [(3, record)]


@pytest.mark.parametrize("record", ['{"a": 1', "{'a': 1}", '{"a": 1}}', '{"a": 01}', '{"a": "\t"}', "secret"])
def test_lines_that_are_no_json_are_set_aside(tmp_path: Path, record: str) -> None:
    lines(tmp_path, {"a": 1}, record, {"a": 3})
    good, bad = rejected(tmp_path, "a.jsonl")
    assert good == [{"a": 1}, {"a": 3}]
    assert [(n, t) for _, n, _, t in bad] == [(2, record)]
    assert "no JSON at column" in bad[0][2]
    assert "secret" not in bad[0][2]


def test_deep_nesting_is_an_error_and_no_crash(tmp_path: Path) -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    lines(tmp_path, {"a": 1}, deep)
    assert [b[2] for b in rejected(tmp_path, "a.jsonl")[1]] == ["nested too deep"]
    (tmp_path / "b.json").write_text(f"[{deep}]")
    with pytest.raises(DataError, match="nested too deep"):
        read(tmp_path, "b.json")


def test_up_to_100_levels_are_read_and_those_below_the_16th_kept_as_text(tmp_path: Path) -> None:
    for depth in (17, 100, 101, 500, sys.getrecursionlimit() - 150):
        lines(tmp_path, '{"a":' * depth + "1" + "}" * depth, {"b": 1})
        good, bad = rejected(tmp_path, "a.jsonl")
        assert [b[2] for b in bad] == (["nested too deep"] if depth > 100 else []), depth
        if depth <= 100:
            inner = good[0]
            for _ in range(17):
                inner = inner["a"]
            assert inner == (1 if depth == 17 else '{"a": ' * (depth - 17) + "1" + "}" * (depth - 17))


@pytest.mark.parametrize("text", ["", "\ufeff", " \n\n", "[]", " [ \n ] "])
def test_a_file_without_records_has_no_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    lines(tmp_path, {"a": 1}, name="b.json")
    assert rows(tmp_path, "*.json") == [{"a": 1}]
    with pytest.raises(ConfigError, match="no columns"):
        rows(tmp_path, "a.json")


def test_a_byte_order_mark_and_other_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + '[{"é": "漢"}]'.encode())
    (tmp_path / "b.jsonl").write_bytes('{"é": "漢"}\n{"é": "\\u6f22"}'.encode("utf-16"))
    assert rows(tmp_path, "a.json") == [{"é": "漢"}]
    assert rows(tmp_path, "b.jsonl", format={"encoding": "utf-16"}) == [{"é": "漢"}] * 2


def test_one_object_is_one_row_however_it_is_laid_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n  "a": 1,\n  "b": "x"\n}\n')
    assert rows(tmp_path, "a.json") == [{"a": 1, "b": "x"}]
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert rows(tmp_path, "a.json") == [{"a": 1}]


def test_an_array_is_read_in_pieces_even_across_multibyte_signs(tmp_path: Path) -> None:
    records = [{"i": i, "t": "漢😀é" * (i % 97), "n": [i] * (i % 5)} for i in range(30_000)]
    (tmp_path / "a.json").write_text(json.dumps(records, ensure_ascii=False, indent=1))
    assert rows(tmp_path, "a.json") == records


@pytest.mark.parametrize(
    "text", ['[{"a":1}', '[{"a":1} {"a":2}]', '[{"a":1},]', '[{"a":1}]]', "[{'a':1}]", '[{"a":']
)
def test_a_broken_array_fails_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text("\n\n" + text)
    with pytest.raises(DataError, match=r"file 'a\.json': line 3: no JSON"):
        read(tmp_path, "a.json")


def test_contradictions_name_the_right_type(tmp_path: Path) -> None:
    lines(tmp_path, {"a": 1}, {"a": 2}, name="a.json")
    assert rows(tmp_path, "a.json") == [{"a": 1}, {"a": 2}]
    with pytest.raises(ConfigError, match=r"should be json.*content is jsonl"):
        rows(tmp_path, "a.json", format={"type": "json"})
    (tmp_path / "b.jsonl").write_text('[{"a": 1}]')
    with pytest.raises(ConfigError, match=r"should be jsonl.*content is a JSON array"):
        rows(tmp_path, "b.jsonl")
    (tmp_path / "c.json").write_text('{\n"a": 1}\n{"a": 2}')
    with pytest.raises(ConfigError, match=r"another value follows on line 3.*jsonl"):
        rows(tmp_path, "c.json")


def test_declared_columns_are_of_their_type_or_set_aside(tmp_path: Path) -> None:
    lines(
        tmp_path,
        '{"d": 0.10, "t": "2020-01-01", "l": [1], "s": 1.5}',
        '{"d": "12.34", "t": null, "l": null, "s": {"x": [1]}}',
        '{"d": 1.234, "l": [2]}',
        '{"d": 1e1, "l": ["x"]}',
        '{"d": true}',
    )
    columns = {"d": "decimal(6,2)", "t": "timestamp", "l": "list<int64>", "s": "string"}
    good, bad = rejected(tmp_path, "a.jsonl", format={"columns": columns})
    assert [(r["d"], r["l"], r["s"]) for r in good] == [
        (Decimal("0.10"), [1], "1.5"),
        (Decimal("12.34"), None, '{"x": [1]}'),
    ]
    assert [(b[1], b[2]) for b in bad] == [
        (3, "'d' is not decimal128(6, 2)"),
        (4, "'l' is not list<item: int64>"),
        (5, "'d' is not decimal128(6, 2)"),
    ]


def test_keys_that_are_values_stay_one_json_text_and_cannot_be_columns(tmp_path: Path) -> None:
    lines(tmp_path, *({"m": {f"k{i}": i}} for i in range(1000)))
    table = read(tmp_path, "a.jsonl")
    assert table["m"].type == pa.string()
    assert table["m"][999].as_py() == '{"k999": 999}'
    lines(tmp_path, *({f"k{i}": i} for i in range(3000)))
    with pytest.raises(DataError, match="more than 2000 different keys"):
        read(tmp_path, "a.jsonl")


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abA"), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


def back(found: Any, original: Any) -> bool:
    """Whether a value is the original: itself, its JSON text, or a struct with NULL for what is missing."""
    if isinstance(found, str) and not isinstance(original, str):
        return original is not None and bool(json.loads(found) == original)
    if isinstance(found, str) and found != original:
        return bool(json.loads(found) == original)
    if isinstance(original, dict):
        return all(back(v, original.get(k)) for k, v in found.items()) and original.keys() <= found.keys()
    if isinstance(original, list):
        return len(found) == len(original) and all(map(back, found, original))
    return bool(found == original)


@settings(max_examples=200, deadline=None)
@example([{"v": None, "w": [2**53 + 2, 0.0]}], False)
@example([{"v": 2**60, "w": None}, {"v": 0.5, "w": None}], True)
@given(st.lists(st.fixed_dictionaries({"v": VALUE, "w": VALUE}), min_size=1, max_size=6), st.booleans())
def test_any_json_value_survives_reading_exactly(records: list[dict[str, Any]], as_lines: bool) -> None:
    with TemporaryDirectory() as folder:
        name = "a.jsonl" if as_lines else "a.json"
        text = "\n".join(map(json.dumps, records)) if as_lines else json.dumps(records, indent=2)
        (Path(folder) / name).write_text(text)
        found = rows(Path(folder), name)
    assert len(found) == len(records)
    for row, record in zip(found, records, strict=True):
        assert all(back(row[k], record[k]) for k in record), (row, record)

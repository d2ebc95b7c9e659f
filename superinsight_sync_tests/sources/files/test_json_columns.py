"""Records that become columns without being parsed one by one are those that the exact parser gives."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records import json_columns
from superinsight_sync.records.json_columns import (
    Attempts,
    Proven,
    _Room,
    note,
    read_columns,
    strict_type,
)
from superinsight_sync.records.json_document import Document, Page
from superinsight_sync.records.json_rows import Shape
from superinsight_sync.records.json_types import Seen
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files import jsonrows
from superinsight_sync_tests.sources.files.folder import source
from superinsight_sync_tests.sources.files.test_json_lines_fast import LINES, VALUES

NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "0.0",
    "1.5",
    "1e5",
    "-7",
    "2.50",
    "0.30000000000000004",
    "9007199254740993",
    "1e-7",
]
NUMBERS += [
    "9007199254740992",
    "1e999",
    "1e-400",
    "NaN",
    "-Infinity",
    "1.00000000000000000001",
    "1" * 30,
    "null",
    "1E22",
]
TEXTS = [
    '"a"',
    '"2020-01-01"',
    '"2020-01-01T00:00:00+02:00"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '""',
    '"12.50"',
    '" 7"',
]
TEXTS += ['"漢😀"', '"\\udc00"', '"a\tb"', "null", '":"', '"{\\"a\\": 1}"', '"true"', '"NaN"']
PLACES: dict[str, st.SearchStrategy[str]] = {
    "i": st.integers(-(2**63) - 1, 2**63).map(str) | st.sampled_from(["1", "1", "-0", "null"]),
    "f": st.floats().map(repr) | st.sampled_from(NUMBERS),
    "n": st.floats(-1e6, 1e6, width=32).map(repr) | st.integers(-9, 9).map(str),
    "t": st.sampled_from(TEXTS) | st.text("ab\"\\/\n\x00é漢", max_size=4).map(json.dumps),
    "b": st.sampled_from(["true", "false", "null", "0"]),
    "o": st.sampled_from(['{"x": 1}', '{"x": null}', "{}", "null", '{"x": 1, "x": 1}', '{"x": 1.5}', '{"y": "z"}', "[]"]),
    "l": st.sampled_from(["[1, 2]", "[]", "[null]", "null", "[0.1]", "[-0.0, 1.5]", '["a"]', "[[1]]", "[NaN]"]),
    "z": st.sampled_from(["null", "null", "null", '"late"', "5"]),
}  # fmt: skip
"""What may stand at a key: mostly one kind of value, and what is near it."""


@st.composite
def record_lines(draw: st.DrawFn) -> list[str]:
    """Records that are mostly alike, a few that are not, and some lines that are none."""
    names = draw(st.lists(st.sampled_from(list(PLACES)), min_size=1, max_size=5, unique=True))
    usual = {n: draw(PLACES[n]) for n in names}
    found = []
    for _ in range(draw(st.integers(1, 14))):
        shape = draw(st.integers(0, 9))
        if shape == 0:
            found.append(
                draw(
                    LINES
                    | st.sampled_from(
                        ['{"i": 1}{"i": 2}', "null", "{}", "", " ", '{"i": 1} null', "{}null{}"]
                    )
                )
            )
            continue
        values = {n: draw(PLACES[n]) if draw(st.integers(0, 2)) == 0 else v for n, v in usual.items()}
        if shape == 1:
            values.pop(draw(st.sampled_from(names)))
        gap = draw(st.sampled_from(["", "", " ", "\r"]))
        found.append(gap + "{" + ", ".join(f'"{n}": {v}' for n, v in values.items()) + "}" + gap)
    return [line.replace("\n", " ") for line in found if line.encode("utf-8", "ignore").decode() == line]


DECLARED = st.dictionaries(
    st.sampled_from(list(PLACES)),
    st.sampled_from(["string", "int64", "float64", "decimal(12,2)", "timestamp", "date", "bool", "list<int64>", "int8"]),
    max_size=3,
)  # fmt: skip


def outcome(folder: Path, columns: dict[str, str]) -> Any:
    """What a read of the folder gives: columns, rows and what was set aside, or the error."""
    spec = StreamSpec.model_validate({"name": "s", "path": "*.jsonl", "format": {"columns": columns}})
    files = source(folder)
    try:
        shape = [(c.name, c.arrow, c.source_type) for c in files.describe(spec).columns]
        read = files.read(ReadRequest(spec))
        read.set_aside()
        with read as reader:
            return shape, repr(reader.read_all().to_pylist()), read.rejects().to_pylist()
    except SisError as error:
        return type(error), str(error)


@settings(max_examples=400, deadline=None)
@given(st.lists(record_lines(), min_size=1, max_size=2), DECLARED, st.integers(1, 5))
@example([['{"f": 0.5}', '{"f": "1.5"}', '{"f": -0.0}', '{"f": -0}', '{"f": 1e22}']], {}, 1)
@example([['{"i": 1}', '{"i": 2}{"i": 3}', '{"i": 2} null {"i": 3}', "null", '{"i": 4}']], {}, 1)
@example([['{"z": null}', '{"z": null}', '{"z": "late"}'], ['{"z": "x", "a": 1}']], {}, 1)
@example([['{"t": "12.50"}', '{"t": "7"}', '{"t": "x"}', '{"t": 7.125}']], {"t": "decimal(12,2)"}, 1)
@example([['{"f": 12.5}', '{"f": 1e3}', '{"f": 7.125}', '{"f": 3}']], {"f": "decimal(12,2)"}, 1)
@example([['{"f": 12.5}', '{"f": 1000.0}']], {"f": "int64"}, 1)
def test_files_are_read_alike(files: list[list[str]], columns: dict[str, str], together: int) -> None:
    with TemporaryDirectory() as name, patch.object(jsonrows, "_CHUNK_ROWS", together):
        for number, lines in enumerate(files):
            (Path(name) / f"{number}.jsonl").write_bytes("\n".join(lines).encode())
        found = outcome(Path(name), columns)
        with patch.object(Attempts, "worth", lambda _: False):
            assert found == outcome(Path(name), columns)


def paged(lines: list[str], together: int) -> list[Page]:
    raw = [line.encode() for line in lines]
    document = Document(b"{}", "here")
    starts = range(0, len(raw), together)
    return [Page(n, "here", raw[at : at + together], document) for n, at in enumerate(starts, 1)]


def of_pages(lines: list[str], columns: dict[str, str], together: int) -> Any:
    spec = StreamSpec.model_validate({"name": "s", "endpoint": "s"})
    pages, rejects = paged(lines, together), Rejects(limit=1000)
    try:
        shape = Shape(spec, columns, None).sample(pages[:2])
        batches = [shape.batch(page, rejects) for page in pages]
    except SisError as error:
        return type(error), str(error)
    return (
        shape.schema,
        [b.schema for b in batches],
        repr([b.to_pylist() for b in batches]),
        rejects.table().to_pylist(),
    )


@settings(max_examples=400, deadline=None)
@given(record_lines(), DECLARED, st.integers(1, 5))
@example(['{"f": 0.5}', '{"f": 0.25}', '{"f": 9007199254740993}', '{"f": 1.00000000000000000001}'], {}, 1)
@example(['{"z": null}', '{"z": null}', '{"z": "late"}', '{"z": null, "y": null}'], {}, 1)
def test_pages_are_read_alike(lines: list[str], columns: dict[str, str], together: int) -> None:
    found = of_pages(lines, columns, together)
    with patch.object(Attempts, "worth", lambda _: False):
        assert found == of_pages(lines, columns, together)


def seen_of(rows: list[dict[str, Any]]) -> dict[str, Seen]:
    seen: dict[str, Seen] = {}
    for name in dict.fromkeys(n for row in rows for n in row):
        seen.setdefault(name, Seen()).add([row.get(name) for row in rows])
    return seen


GOOD: dict[str, Any] = {
    "i": 1,
    "f": 0.5,
    "t": "x",
    "b": True,
    "o": {"f": 0.25, "l": [{"t": "y"}]},
    "l": [1.5],
    "z": None,
}


def taken(*lines: str) -> bool:
    types = [(n, strict_type(s, pa.null())) for n, s in seen_of([GOOD]).items()]
    raw = [line.encode() for line in lines]
    return read_columns(raw, b"\n".join(raw), pa.schema(types)) is not None


def test_the_common_case_is_read_at_once() -> None:
    assert taken(
        json.dumps(GOOD),
        '{"i": -9223372036854775808, "t": "\\ud83d\\ude00"}',
        "{}",
        '{"f": 0.1, "i": null}\r',
    )
    assert taken('{"f": 0.30000000000000004}', '{"f": 7}', '{"f": 1e-7}', '{"f": 1e15}', '{"o": {}, "l": []}')


@pytest.mark.parametrize(
    "line",
    [
        "", " ", "null", "[]", "1", '{"i": 1}{"i": 2}', '{"i": 1} null', '{"i": 1}\x00', '\ufeff{"i": 1}', '{"i": 1,}', '{"x": 1}',
        '{"i": 1, "i": 1}', '{"o": {"f": 1, "f": 1}}', '{"i": 1.0}', '{"i": 1e2}', '{"i": 9223372036854775808}', '{"i": "1"}',
        '{"f": NaN}', '{"f": Infinity}', '{"f": 1e400}', '{"f": -0.0}', '{"f": -0}', '{"f": 9007199254740993}', '{"f": "1.5"}',
        '{"f": 1.00000000000000000001}', '{"o": {"f": 0.10000000000000000555}}', '{"l": [NaN]}', '{"l": [9007199254740993]}',
        '{"t": 1}', '{"t": "\\ud800"}', '{"t": "\\udc00"}', '{"t": "\t"}', '{"b": 1}', '{"z": 1}', '{"z": ""}', '{"l": 1}', '{"i": 01}',
    ],
)  # fmt: skip
def test_the_doubtful_case_is_not(line: str) -> None:
    assert not taken(json.dumps(GOOD), line)


@pytest.mark.parametrize("raw", [b'{"t": "\xff"}', b'{"\xff": 1}', b'{"i": \xff}', b'{"t": "\xed\xa0\x80"}'])
def test_text_that_is_no_utf8_is_not(raw: bytes) -> None:
    types = [(n, strict_type(s, pa.null())) for n, s in seen_of([GOOD]).items()]
    assert read_columns([raw], raw, pa.schema(types)) is None


@settings(max_examples=300, deadline=None)
@given(VALUES, st.binary(max_size=30))
def test_nothing_that_is_no_record_reaches_the_reader(value: str, noise: bytes) -> None:
    """It crashes on some texts that are no objects."""
    for line in (
        value.encode("utf-8", "replace"),
        noise,
        b'{"i": 1}' + noise,
        b'{"t": "' + noise + b'"}',
        b"{}null{}",
    ):
        schema = pa.schema([("i", pa.int64()), ("t", pa.string())])
        found = read_columns([line], line, schema)
        assert found is None or found.num_rows == 1


def test_what_was_read_is_noted_as_if_it_had_been_parsed() -> None:
    rows = [{"i": -5, "o": {"n": 2**60}, "l": [[7]]}, {"i": 2**62, "o": {"n": 1}, "l": [[-9], []]}]
    wanted, found = seen_of(rows), seen_of([{"i": 1, "o": {"n": 1}, "l": [[1]]}])
    types = [(n, strict_type(s, pa.null())) for n, s in found.items()]
    lines = [json.dumps(r).encode() for r in rows]
    batch = read_columns(lines, b"\n".join(lines), pa.schema(types))
    assert batch is not None
    for name in batch.schema.names:
        note(found[name], batch.column(name))
    assert (found["i"].low, found["i"].high) == (wanted["i"].low, wanted["i"].high)
    assert found["o"].fields["n"].high == 2**60
    outer = found["l"].element
    assert outer is not None and outer.element is not None and outer.element.low == -9


def test_columns_are_kept_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.record_batch({"i": pa.array(range(100), pa.int64())})
    room = _Room(batch.nbytes)
    monkeypatch.setattr(json_columns, "_ROOM", room)
    proven, other = Proven(), Proven()
    proven.add(b"one", batch)
    other.add(b"two", batch)
    wanted = pa.schema([("i", pa.float64()), ("new", pa.string())])
    assert b"two" in other and other.take(b"two", wanted) is None
    found = proven.take(b"one", wanted)
    assert found is not None and found.schema == wanted and found.column("i").to_pylist() == list(range(100))
    assert proven.take(b"one", wanted) is None and b"one" in proven
    other.add(b"two", batch)
    del other
    assert room.take(batch.nbytes)


def test_after_failures_it_is_tried_now_and_then() -> None:
    attempts = Attempts()
    tried = 0
    for _ in range(300):
        if attempts.worth():
            tried += 1
            attempts.note(success=False)
    assert 4 <= tried <= 12
    attempts.note(success=True)
    assert attempts.worth()

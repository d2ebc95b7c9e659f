"""CSV and TSV."""

import codecs
import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError, SisError, ThresholdError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.protocol import SettingAside
from superinsight_sync_tests.sources.files.folder import read, rows, source, stream


def test_every_cell_is_the_text_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "id,n,d\n007,92233720368547758070,2020-01-01\nNA,null,1e5\n nan ,-0,TRUE\n"
    )
    table = read(tmp_path, "a.csv")
    assert set(table.schema.types) == {pa.string()}
    assert [tuple(r.values()) for r in table.to_pylist()] == [
        ("007", "92233720368547758070", "2020-01-01"),
        ("NA", "null", "1e5"),
        (" nan ", "-0", "TRUE"),
    ]


def test_a_nul_is_a_character_like_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\nx\0y,1\n\0,2\n")
    assert [(r["a"], r["b"]) for r in rows(tmp_path, "a.csv")] == [("x\0y", "1"), ("\0", "2")]
    (tmp_path / "a.jsonl").write_text('{"a": "x\\u0000y"}\n{"a": "\\u0000"}\n')
    assert [r["a"] for r in rows(tmp_path, "a.jsonl")] == ["x\0y", "\0"]


def test_only_declared_unquoted_texts_are_null(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n,""\nNA,"NA"\n')
    assert rows(tmp_path, "a.csv") == [{"a": None, "b": ""}, {"a": "NA", "b": "NA"}]
    nulls = {"null_values": ["NA"]}
    assert rows(tmp_path, "a.csv", format=nulls) == [{"a": "", "b": ""}, {"a": None, "b": "NA"}]


def test_a_quote_counts_only_where_a_cell_begins(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b\r\n5" pipe,"say ""hi"", ok"\r\n"x\r\ny","\n"\r\n')
    assert rows(tmp_path, "a.csv") == [{"a": '5" pipe', "b": 'say "hi", ok'}, {"a": "x\r\ny", "b": "\n"}]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_break_ends_a_record(tmp_path: Path, newline: str, last: bool) -> None:
    text = newline.join(["a,b", "1,2", "", "3,4"]) + (newline if last else "")
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert rows(tmp_path, "a.csv") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_blank_line_of_a_single_column_is_a_null(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a\nx\n\n""\n')
    assert rows(tmp_path, "a.csv") == [{"a": "x"}, {"a": None}, {"a": ""}]


ENCODINGS = [
    ("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16", b""), ("utf-16-le", codecs.BOM_UTF16_LE),
    ("gb18030", b""), ("utf-32", b""),
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS)
def test_text_in_any_declared_encoding(tmp_path: Path, encoding: str, mark: bytes) -> None:
    cells = ["漢字", "é€", "😀"] * 50_000
    text = "名,b\n" + "".join(f"{c},{i}\n" for i, c in enumerate(cells))
    (tmp_path / "a.csv").write_bytes(mark + text.encode(encoding))
    table = read(tmp_path, "a.csv", format={"encoding": encoding})
    assert table.column_names == ["名", "b"]
    assert table["名"].to_pylist() == cells


def test_latin_1_is_read_as_declared(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("naïve\ncafé\n".encode("latin-1"))
    assert rows(tmp_path, "a.csv", format={"encoding": "latin-1"}) == [{"naïve": "café"}]


def test_bytes_that_are_not_the_encoding_are_told_by_position_not_by_content(tmp_path: Path) -> None:
    good = b"a,secret\n" + b"1,2\n" * 400_000
    (tmp_path / "a.csv").write_bytes(good + b"hush,\xff\xfe\n")
    spec = stream("a.csv")
    files = source(tmp_path)
    files.describe(spec)
    with pytest.raises(DataError) as caught, files.read(ReadRequest(spec)) as reader:
        reader.read_all()
    assert f"byte {len(good) + 5}, about line 400002, is not utf-8" in str(caught.value)
    assert "file 'a.csv'" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_cut_off_character_at_the_end_is_not_the_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a\n漢".encode()[:-1])
    with pytest.raises(DataError, match="byte 2, about line 2, is not utf-8"):
        read(tmp_path, "a.csv")


def test_undeclared_utf_16_is_refused_with_the_declaration_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="encoding: utf-16"):
        read(tmp_path, "a.csv")


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    for name in ("utf-9", "hex", "rot13"):
        with pytest.raises(ConfigError, match=f"'{name}' is no text encoding"):
            read(tmp_path, "a.csv", format={"encoding": name})


def test_declared_types_are_exact(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "i,f,d,t,n,day,ok\n"
        "007, 0.1,1.50,2020-01-01T02:00:00+02:00,2020-01-01 00:00:00,2020-02-29,true\n"
        ",,,2020-01-01,,,\n"
        "-9223372036854775808,-1e3,-9999999999.99,2020-01-01 00:00:00.000001,,1969-12-31,0\n"
    )
    columns = {"i": "int64", "f": "float64", "d": "decimal(12,2)", "t": "timestamp"}
    columns |= {"n": "timestamp_ntz", "day": "date", "ok": "bool"}
    found = rows(tmp_path, "a.csv", format={"columns": columns})
    midnight = datetime(2020, 1, 1, tzinfo=UTC)
    assert [tuple(r.values()) for r in found] == [
        (7, 0.1, Decimal("1.50"), midnight, midnight.replace(tzinfo=None), date(2020, 2, 29), True),
        (None, None, None, midnight, None, None, None),
        (
            *(-(2**63), -1000.0, Decimal("-9999999999.99"), midnight.replace(microsecond=1), None),
            *(date(1969, 12, 31), False),
        ),
    ]


BAD_CELLS = [
    ("int64", "9223372036854775808"), ("int64", "0x10"), ("int64", "1.0"), ("int8", "128"), ("uint8", "-1"),
    ("float64", "1,5"), ("float64", "1e999"), ("decimal(4,2)", "1.234"), ("decimal(4,2)", "100.00"),
    ("date", "2020-02-30"), ("timestamp", "2020-01-01 25:00"), ("timestamp", "2020-01-01T00:00:00.1234567Z"),
    ("bool", "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "cell"), BAD_CELLS)
def test_a_cell_that_is_not_of_its_type_is_never_changed(tmp_path: Path, dtype: str, cell: str) -> None:
    (tmp_path / "a.csv").write_text(f'id,v\n1,\n2,"{cell}"\n3,\n')
    with pytest.raises(DataError, match="line 3: column 'v' is not ") as caught:
        read(tmp_path, "a.csv", format={"columns": {"v": dtype}})
    assert cell not in str(caught.value)


def rejected(folder: Path, path: str, limit: int = 100, **declared: Any) -> tuple[list[Any], list[Any]]:
    spec = stream(path, **declared)
    context = source(folder).read(ReadRequest(spec))
    assert isinstance(context, SettingAside)
    context.set_aside(limit)
    with context as reader:
        table = reader.read_all()
    found = [tuple(r.values()) for r in context.rejects().to_pylist()]
    return table.drop_columns("_sis_file").to_pylist(), found


def test_records_that_cannot_be_read_are_set_aside_with_line_reason_and_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('n,t\n1,"two\nlines"\n2,b,c\n\n3,ok\nx,"bad, n"\n4\n5,ok\n"9""",ok\n')
    (tmp_path / "b.csv").write_text("n,t\n6,ok\n7\n")
    good, bad = rejected(tmp_path, "*.csv", format={"columns": {"n": "int64"}})
    assert [r["n"] for r in good] == [1, 3, 5, 6]
    assert bad == [
        ("a.csv", 4, "3 cells instead of 2", "2,b,c"),
        ("a.csv", 7, "column 'n' is not int64", 'x,"bad, n"'),
        ("a.csv", 8, "1 cells instead of 2", "4"),
        ("a.csv", 10, "column 'n' is not int64", '"9""",ok'),
        ("b.csv", 3, "1 cells instead of 2", "7"),
    ]


def test_without_setting_aside_a_ragged_record_fails_the_read_after_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\nsecret\n3,4\n5,6,7\n")
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.csv")
    assert "file 'a.csv': line 3: 1 cells instead of 2" in str(caught.value)
    assert "cannot be read: 2" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_more_rejects_than_allowed_stop_the_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "1\n" * 11)
    assert len(rejected(tmp_path, "a.csv", limit=11)[1]) == 11
    with pytest.raises(ThresholdError, match="more than 10 records"):
        rejected(tmp_path, "a.csv", limit=10)


@pytest.mark.parametrize("rest", ['2,"open', '2,"open\n3,4\n5,6\n', '"', '"open\n', '2,"a""', '2,3,"a\n'])
def test_a_quote_left_open_does_not_swallow_the_rest_unnoticed(tmp_path: Path, rest: str) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n" + rest)
    good, bad = rejected(tmp_path, "a.csv")
    assert good == [{"a": "1", "b": "2"}]
    assert [(f, line) for f, line, _, _ in bad] == [("a.csv", 3)]
    assert "quote is left open" in bad[0][2]


def test_a_record_larger_than_a_block_is_read_and_nothing_twice(tmp_path: Path) -> None:
    big = "x" * (9 << 20)
    with (tmp_path / "a.csv").open("w") as out:
        for i in range(600_000):
            out.write(f"{i},small\n" if i else "id,t\n")
        out.write(f'600000,"{big}"\n600001,end\nragged\n')
    good, bad = rejected(tmp_path, "a.csv")
    assert [r["id"] for r in good] == [str(i) for i in range(1, 600_002)]
    assert good[-2]["t"] == big
    assert bad == [("a.csv", 600_003, "1 cells instead of 2", "ragged")]


def test_a_quote_left_open_over_more_than_a_record_may_have_is_told_by_line(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as out:
        out.write('a,b\n1,2\n3,"open\n')
        for _ in range(72):
            out.write(("x" * 99 + "\n") * 10_000)
    with pytest.raises(DataError, match="line 3: no record of at most 64 MB"):
        rejected(tmp_path, "a.csv")


@pytest.mark.parametrize(
    ("head", "message"),
    [("a,a", "'a' is there twice"), ("a,A", "cannot be told apart"), ("a,_sis_hash", "reserved prefix")],
)
def test_headers_that_cannot_be_columns_are_refused(tmp_path: Path, head: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(f"{head}\n1,2\n")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, "a.csv")


def test_names_without_text_and_without_header_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",b\n1,2\n")
    assert rows(tmp_path, "a.csv") == [{"column_1": "1", "b": "2"}]
    bare: dict[str, Any] = {"header": False}
    assert rows(tmp_path, "a.csv", format=bare)[0] == {"column_1": None, "column_2": "b"}
    bare["columns"] = {"x": "string"}
    assert rows(tmp_path, "a.csv", format=bare)[1] == {"x": "1", "column_2": "2"}


@pytest.mark.parametrize(("sign", "name"), [(";", "a.csv"), ("\t", "a.tsv"), ("|", "a.csv"), ("\t", "a.csv")])
def test_the_delimiter_is_found(tmp_path: Path, sign: str, name: str) -> None:
    (tmp_path / name).write_text(sign.join(['"x,y"', "b", "c"]) + "\n" + sign.join("123") + "\n")
    assert rows(tmp_path, name) == [{"x,y": "1", "b": "2", "c": "3"}]


def test_files_with_other_columns_are_joined_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("z,x\n3,4\n")
    (tmp_path / "c.csv").write_text("")
    assert rows(tmp_path, "*.csv") == [{"x": "1", "y": "2", "z": None}, {"x": "4", "y": None, "z": "3"}]
    (tmp_path / "d.csv").write_text("X\n1\n")
    with pytest.raises(ConfigError, match=r"file 'a\.csv': column 'x' is called 'X' in file 'd\.csv'"):
        rows(tmp_path, "*.csv")


def test_a_declared_column_must_be_there_and_be_of_a_flat_type(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("amount\n1\n")
    with pytest.raises(ConfigError, match=r"no file has a column 'amont'.*Did you mean 'amount'"):
        rows(tmp_path, "a.csv", format={"columns": {"amont": "int64"}})
    with pytest.raises(ConfigError, match=r"column 'amount'.*no column type.*Valid"):
        rows(tmp_path, "a.csv", format={"columns": {"amount": "intt"}})
    with pytest.raises(ConfigError, match="cannot be list"):
        rows(tmp_path, "a.csv", format={"columns": {"amount": "list<string>"}})


CELL = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])),
    st.text(st.sampled_from('",;\t\r\n|\'\\ \0é😀007NA.-"')),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), max_size=8), st.sampled_from([",", ";", "\t"]), st.sampled_from("\"'"))
def test_any_text_cell_survives_csv_write_and_read_exactly(
    data: list[tuple[str | None, str | None]], delimiter: str, quote: str
) -> None:
    out = io.StringIO()

    def cell(value: str | None) -> str:
        return "" if value is None else quote + value.replace(quote, quote * 2) + quote

    for row in [("a", "b"), *data]:
        out.write(delimiter.join(map(cell, row)) + "\n")
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.csv").write_bytes(out.getvalue().encode())
        found = rows(Path(folder), "a.csv", format={"delimiter": delimiter, "quote": quote})
    assert [tuple(r.values()) for r in found] == data


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text('",\r\n x')), max_size=8))
def test_what_pythons_writer_writes_is_read_exactly(data: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([("a", "b"), *data])
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.csv").write_bytes(out.getvalue().encode())
        found = rows(Path(folder), "a.csv", format={"null_values": []})
    assert [tuple(r.values()) for r in found] == data


def test_errors_never_hold_a_record(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,"geheim\n' + "geheim," * 50)
    with pytest.raises(SisError) as caught:
        read(tmp_path, "a.csv")
    assert "geheim" not in str(caught.value)


_BARE = st.text("ab\"1 é'", max_size=4).filter(lambda t: not t.startswith('"')).map(lambda t: (t, False))
_QUOTED = st.text('ab",\n\r 1', max_size=5).map(lambda t: (t, True))


def _cell(text: str, quoted: bool) -> str:
    return '"' + text.replace('"', '""') + '"' if quoted else text


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(st.tuples(_BARE | _QUOTED, _BARE | _QUOTED), max_size=5),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
)
def test_records_are_the_same_whatever_ends_lines_and_whatever_quotes_stand_in_cells(
    records: list[tuple[tuple[str, bool], tuple[str, bool]]], end: str, last: bool
) -> None:
    """A carriage return alone, and one quote in the middle of a cell."""
    lines = ["n,t", *(",".join(_cell(*c) for c in r) for r in records)]
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.csv").write_bytes((end.join(lines) + end * last).encode())
        kept, aside = rejected(Path(folder), "a.csv")
    assert [tuple(r.values()) for r in kept] == [
        tuple(None if c == ("", False) else c[0] for c in r) for r in records
    ]
    assert not aside


@pytest.mark.parametrize("record", ['x,a"b', 'x,"a""b"', "x,'é' ", "x, 1", '"x","a\nb"', "x,a,b", "x"])
def test_a_record_that_is_set_aside_is_kept_as_it_stood(tmp_path: Path, record: str) -> None:
    (tmp_path / "a.csv").write_text(f"n,t\n1,a\n{record}\n2,b\n")
    kept, aside = rejected(tmp_path, "a.csv", format={"columns": {"n": "int64"}})
    assert ([r["n"] for r in kept], [a[3] for a in aside]) == ([1, 2], [record])

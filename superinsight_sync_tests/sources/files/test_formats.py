"""XML, Excel, Avro, ORC and ZIP archives, sound and hostile."""

import io
import uuid
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.orc
import pytest
import xlsxwriter

from superinsight_sync.core.errors import ConfigError, DataError, SisError
from superinsight_sync_tests.sources.files.folder import read, rows
from superinsight_sync_tests.sources.files.test_delimited import rejected

ROW = {
    "n": 2**62,
    "d": Decimal("0.10"),
    "t": datetime(2024, 1, 2, 3, 4, 5, 6, UTC),
    "u": None,
    "l": [1, 2],
    "é": "漢😀",
}
SCHEMA = {
    "type": "record", "name": "r", "fields": [
        {"name": "n", "type": "long"},
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}},
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "u", "type": ["null", {"type": "string", "logicalType": "uuid"}]},
        {"name": "l", "type": {"type": "array", "items": "long"}},
        {"name": "e", "type": "string"},
    ],
}  # fmt: skip


def avro(path: Path, number: int = 2) -> list[dict[str, object]]:
    found = [{k: v for k, v in ROW.items() if k != "é"} | {"e": "漢😀"} for _ in range(number)]
    if found:
        found[-1]["u"] = uuid.UUID(int=7)
    with path.open("wb") as out:
        fastavro.writer(out, SCHEMA, found, codec="deflate")
    return [r | {"u": str(r["u"]) if r["u"] else None} for r in found]


def archive(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, text in files.items():
            out.writestr(name, text)


def test_avro_keeps_its_types(tmp_path: Path) -> None:
    wanted = avro(tmp_path / "a.avro", 20_001)
    assert rows(tmp_path, "a.avro") == wanted
    avro(tmp_path / "b.avro", 0)
    assert rows(tmp_path, "b.avro") == []


def test_orc_keeps_its_types(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([ROW, ROW]).drop_columns("u")
    pa.orc.write_table(table, tmp_path / "a.orc")
    assert rows(tmp_path, "a.orc") == table.to_pylist()


def test_excel_has_the_types_of_its_cells(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name in ("one", "two"):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, ["n", "day", "mixed"])
            sheet.write_row(1, 0, [1.5, None, "007"])
            sheet.write_row(2, 0, [2.5, None, 7 if name == "one" else "x"])
            sheet.write_datetime(1, 1, datetime(2024, 2, 29), day)
    first, second = rows(tmp_path, "a.xlsx")
    assert (first["n"], first["mixed"], second["n"], second["mixed"]) == (1.5, "007", 2.5, "7")
    assert first["day"] in (date(2024, 2, 29), datetime(2024, 2, 29))
    assert rows(tmp_path, "a.xlsx", format={"sheet": "two"})[1]["mixed"] == "x"
    with pytest.raises(ConfigError, match=r"no sheet 'three'.*one, two"):
        rows(tmp_path, "a.xlsx", format={"sheet": "three"})


def test_xml_records_become_rows(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        '<s xmlns="urn:x"><orders><order id="1"><n>007</n><i>a</i><i>b</i></order>'
        '<!-- c --><order id="2"><n/><at z="+1">x</at></order></orders><order id="3"/></s>'
    )
    assert rows(tmp_path, "a.xml", format={"record": "s/orders/order"}) == [
        {"@id": "1", "n": "007", "i": ["a", "b"], "at": None},
        {"@id": "2", "n": "", "i": None, "at": {"@z": "+1", "#text": "x"}},
    ]
    assert len(rows(tmp_path, "a.xml", format={"record": "order"})) == 3
    (tmp_path / "b.xml").write_bytes(
        '<?xml version="1.0" encoding="gb18030"?><a><b c="漢"/></a>'.encode("gb18030")
    )
    assert rows(tmp_path, "b.xml") == [{"@c": "漢"}]
    with pytest.raises(ConfigError, match=r"should be utf-8.*content is gb18030"):
        rows(tmp_path, "b.xml", format={"encoding": "utf-8"})


def test_xml_text_between_elements_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a>\n<r><x>1</x></r>\n<r>no<x>2</x></r>\n</a>")
    good, bad = rejected(tmp_path, "a.xml")
    assert good == [{"x": "1"}]
    assert bad == [("a.xml", 3, "text stands between elements", "<r>no<x>2</x></r>")]


LAUGHS = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a><r><b>&y;</b></r></a>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><r><b>&x;</b></r></a>'


@pytest.mark.parametrize("text", [LAUGHS, EXTERNAL, '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a"><a><r/></a>'])
def test_a_doctype_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ConfigError, match=r"'a\.xml'.*DOCTYPE"):
        read(tmp_path, "a.xml")


@pytest.mark.parametrize("text", ["<a><r>", "<a><r></a>", "<a>&x;</a>", "<a>" + "<r>" * 100_000])
def test_broken_xml_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"'a\.xml': (line 1: )?no XML"):
        read(tmp_path, "a.xml")


def test_files_of_an_archive_are_files_of_the_stream(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", {"x/b.csv": "a\n2\n", "a.csv": "a\n1\n", ".hidden": "no"})
    assert rows(tmp_path, "a.zip") == [{"a": "1"}, {"a": "2"}]
    archive(tmp_path / "b.zip", {"bad.csv": "a,b\n1\n"})
    assert rejected(tmp_path, "b.zip")[1][0][:2] == ("b.zip!bad.csv", 2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("../a.csv", "leads out"), ("/a.csv", "leads out"), ("b.zip", "is an archive itself")],
)
def test_names_that_an_archive_must_not_hold(tmp_path: Path, name: str, reason: str) -> None:
    archive(tmp_path / "a.zip", {name: "a\n1\n"})
    with pytest.raises(ConfigError, match=reason):
        read(tmp_path, "a.zip")


def test_archives_that_grow_too_much_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "many.zip", {f"{i}.csv": "a\n1\n" for i in range(1001)})
    with pytest.raises(DataError, match="1001 files"):
        read(tmp_path, "many.zip")
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out,
        out.open("a.csv", "w") as entry,
    ):
        for _ in range(120):
            entry.write(bytes(10**6))
    with pytest.raises(DataError, match="grow to more than"):
        read(tmp_path, "bomb.zip")


def test_an_encrypted_entry_is_named(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", {"a.csv": "a\n1\n"})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ConfigError, match=r"'a\.csv' in it is encrypted"):
        read(tmp_path, "a.zip")


@pytest.mark.parametrize("kind", ["avro", "orc", "xlsx", "zip", "xml"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
def test_a_file_cut_off_is_a_clear_error(tmp_path: Path, kind: str, part: float) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "avro":
        avro(path)
    elif kind == "orc":
        pa.orc.write_table(pa.table({"a": ["x"] * 100}), path)
    elif kind == "xlsx":
        out = io.BytesIO()
        with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
            book.add_worksheet().write_row(0, 0, ["a", "b"])
        path.write_bytes(out.getvalue())
    elif kind == "zip":
        archive(path, {"a.csv": "a\n1\n"})
    else:
        path.write_text("<a><r><b>1</b></r></a>")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SisError, match=r"a\."):
        read(tmp_path, f"a.{kind}")

"""Encodings: proposed by discovery, told by the read that does not fit, never silently wrong."""

import json
import os
from pathlib import Path

import pytest
import yaml

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.records.encodings import Likely, likely_encoding
from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.sources.files.folder import read, rows, source

GERMAN = "id;Straße\n" + "".join(f"{n};Müller Jürgen, Größe und Übung in Köln\n" for n in range(40))
TEXTS = {
    "cp1252": GERMAN,
    "cp1251": "ид;имя\n" + "".join(f"{n};Москва описание товара\n" for n in range(40)),
    "gb18030": "编号;名称\n" + "".join(f"{n};北京市朝阳区产品说明\n" for n in range(40)),
    "cp932": "番号;名前\n" + "".join(f"{n};東京都の製品についての説明です\n" for n in range(40)),
    "utf-16-le": GERMAN,
    "utf-16-be": GERMAN,
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_the_guess_is_what_the_text_was_written_in(encoding: str) -> None:
    assert likely_encoding(TEXTS[encoding].encode(encoding)) == Likely(encoding, False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_is_no_guess(encoding: str) -> None:
    found = likely_encoding(GERMAN.encode(encoding))
    assert found == Likely(encoding.removesuffix("-sig"), True)


def test_bytes_that_are_no_text_have_no_encoding() -> None:
    assert likely_encoding(b"\xff\x00\x81\x8d\x8f\x90\x9d" * 100) is None


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "csv.gz"])
def test_discovery_proposes_the_encoding_that_reads_the_file(
    tmp_path: Path, encoding: str, form: str
) -> None:
    import gzip

    text = GERMAN if form != "jsonl" else '{"Straße": "Größe"}\n' * 20
    data = text.encode(encoding)
    (tmp_path / f"a.{form}").write_bytes(gzip.compress(data) if form.endswith("gz") else data)
    (found,) = source(tmp_path).discover()
    assert (found.value, found.problem) == (f"a.{form}", "")
    proposed = {k: v for k, v in found.format.items() if k != "columns"}
    assert proposed == ({} if encoding == "utf-8" else {"encoding": encoding})
    assert ("is a guess" in found.remark) == (encoding in ("cp1252", "utf-16-le"))
    assert "Straße" in [c.name for c in found.columns]
    assert "Größe" in str(rows(tmp_path, found.value, format=dict(found.format))[0])


def test_files_of_two_encodings_are_two_streams(tmp_path: Path) -> None:
    for name, encoding in (("a", "cp1252"), ("b", "cp1252"), ("c", "utf-8")):
        (tmp_path / f"{name}.csv").write_bytes(GERMAN.encode(encoding))
    found = {s.value: s.format.get("encoding") for s in source(tmp_path).discover()}
    assert found == {"a.csv": "cp1252", "b.csv": "cp1252", "c.csv": None}


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,note\n1,\xff\x00\x81\x8d\x8f\x90\x9d\n")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "c.csv").write_bytes(b"")
    found = {s.value: s.problem for s in source(tmp_path).discover()}
    assert "is not utf-8" in found["a.csv"]
    assert "it is a PDF" in found["b.pdf"]
    assert "no columns" in found["c.csv"]


@pytest.mark.parametrize("declared", [{}, {"encoding": "ascii"}])
def test_a_read_that_does_not_fit_names_the_likely_encoding(tmp_path: Path, declared: dict[str, str]) -> None:
    (tmp_path / "a.csv").write_bytes(b"id;name\n1;x\n" * 200_000 + GERMAN.encode("cp1252"))
    with pytest.raises(
        DataError, match=r"is not \S+\. It may be cp1252: write format: {encoding: cp1252}"
    ) as e:
        read(tmp_path, "a.csv", format=declared)
    assert "Müller" not in str(e.value)


@pytest.mark.parametrize(
    ("written", "declared", "told"),
    [
        ("utf-16", "latin-1", "utf-16"),
        ("utf-8-sig", "latin-1", "utf-8"),
        ("utf-16-le", "utf-8", "utf-16-le"),
        ("utf-16-be", "latin-1", "utf-16-be"),
        ("utf-32", "utf-16", "utf-32"),
    ],
)
def test_what_a_text_surely_is_wins_over_an_encoding_that_takes_any_bytes(
    tmp_path: Path, written: str, declared: str, told: str
) -> None:
    (tmp_path / "a.csv").write_bytes("id,note\n1,abc\n".encode(written))
    with pytest.raises(ConfigError, match=f"it is {told.upper()}, not {declared}.*encoding: {told}}}"):
        read(tmp_path, "a.csv", format={"encoding": declared})


def test_sis_discover_writes_the_guess_as_a_comment_and_tells_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "drops"
    assert sis("init", str(project)).code == 0
    (project / "in").mkdir()
    (project / "in" / "a.csv").write_bytes(GERMAN.encode("cp1252"))
    (project / "in" / "b.pdf").write_bytes(b"%PDF-1.7")
    declared = project / "drops" / "defs" / "in"
    declared.mkdir()
    (declared / "defs.yaml").write_text(
        "type: superinsight_sync.SyncSource\n"
        "attributes: {name: in, connection: {kind: files, path: in}, streams: [{name: a, path: a.csv}]}\n"
    )
    monkeypatch.chdir(project)
    done = sis("discover", "in", "--write", "proposed.yaml", "--json")
    assert done.code == 0
    assert "left out: b.pdf: it is a PDF" in done.err
    proposed = Path("proposed.yaml").read_text()
    assert "# a: encoding cp1252 is a guess" in proposed
    (stream,) = yaml.safe_load(proposed)["attributes"]["streams"]
    assert stream == {
        "name": "a",
        "path": "a.csv",
        "primary_key": ["id"],
        "format": {"encoding": "cp1252", "columns": {"id": "int64"}},
    }
    told = {s["value"]: s for s in json.loads(done.out)["streams"]}
    assert (told["a.csv"]["format"]["encoding"], told["b.pdf"]["problem"][:11]) == ("cp1252", "it is a PDF")
    assert os.environ.get("SIS_PROJECT_DIR") is None

"""A file that is pulled gives the records that the same bytes give when they are pushed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.push import PushFormat
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.receive.parsing import parse
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.sources.reading import stream

CELLS = st.sampled_from(
    ["a", "", '5" pipe', '"quoted, ""twice"""', '"two\nlines"', '"two\rlines"', "007", "größe 😀", " a "]
)
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def pulled(
    project: Settings, folder: Path, name: str, body: bytes, columns: dict[str, str]
) -> list[dict[str, Any]]:
    (folder / name).write_bytes(body)
    source = open_source({"kind": "files", "path": str(folder)}, project)
    request = ReadRequest(stream(path=name, format={"columns": columns}))
    with source.read(request) as batches:
        rows = batches.read_all()
    return rows.select(list(columns)).to_pylist()


def pushed(body: bytes, form: PushFormat) -> list[dict[str, Any]]:
    found = parse(body, form)
    assert not found.rejected
    return found.records


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    end=ENDS,
    last=st.booleans(),
    bom=st.booleans(),
)
def test_csv(
    project: Settings, folder: Path, rows: list[tuple[str, str]], end: str, last: bool, bom: bool
) -> None:
    lines = ["x,y", *(",".join(row) for row in rows), *([""] if last else [])]
    body = end.join(lines).encode()
    found = pulled(project, folder, "a.csv", b"\xef\xbb\xbf" * bom + body, {"x": "string", "y": "string"})
    wanted = [{k: v or None for k, v in row.items()} for row in pushed(body, "csv")]
    assert [{k: v or None for k, v in row.items()} for row in found] == wanted


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
RECORDS = st.fixed_dictionaries({"n": st.none() | st.integers(-(2**63), 2**63 - 1), "t": st.none() | TEXTS})


@given(
    records=st.lists(RECORDS, min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    spaced=st.booleans(),
)
def test_json_lines_and_arrays(
    project: Settings, folder: Path, records: list[dict[str, Any]], end: str, spaced: bool
) -> None:
    lines = [json.dumps(r, ensure_ascii=spaced, separators=None if spaced else (",", ":")) for r in records]
    columns = {"n": "int64", "t": "string"}
    ndjson, array = end.join(lines).encode(), f"[{','.join(lines)}]".encode()
    assert pulled(project, folder, "a.jsonl", ndjson, columns) == pushed(ndjson, "ndjson") == records
    assert pulled(project, folder, "a.json", array, columns) == pushed(array, "json") == records

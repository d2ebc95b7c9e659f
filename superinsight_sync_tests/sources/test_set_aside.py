"""What is set aside is whole: the records of files, pages and documents are kept exactly as they came.

The same is held for delimited files (`files/test_delimited.py`), contracts (`core/test_rejects.py`), topics
(`test_redis.py`, `test_kafka.py`) and pushes (`test_inbox_shape.py`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion
from bson.errors import InvalidDocument
from hypothesis import given, reject
from hypothesis import strategies as st

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.bson_keys import Keys
from superinsight_sync.records.bson_records import page
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import SettingAside, Source
from superinsight_sync_tests.servers.api import FakeApi, fake_api
from superinsight_sync_tests.sources.reading import stream
from superinsight_sync_tests.sources.test_documents import DOCUMENTS, OPTIONS

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x85\u2028\u2029\0"), max_size=12)
MISFITS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: not v.is_integer()).map(lambda v: f'{{"id": {v!r}}}'),
    TEXTS.map(lambda t: json.dumps({"id": f"text {t}"}, ensure_ascii=False)),
    TEXTS.map(lambda t: f'{{ "id" :1,  "id": 2, "t": {json.dumps(t, ensure_ascii=True)} }}'),
    st.sampled_from(['{"id": true}', '{"id": [1, 1.50]}', '{"id": 1e400}', '{"id": "\\ud800"}', '{"id": {"a": 1.10}}']),
)  # fmt: skip
EXTENDED = json_util.JSONOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    uuid_representation=UuidRepresentation.STANDARD,
)
FITS = '{"id": 7}'
MANY = st.lists(MISFITS, min_size=1, max_size=5)


def set_aside(source: Source, **keys: Any) -> tuple[list[int], list[str]]:
    """The ids that were read, and the records that were set aside, by their places."""
    reading = source.read(ReadRequest(stream(**keys)))
    assert isinstance(reading, SettingAside)
    reading.set_aside()
    with reading as batches:
        ids = batches.read_all()["id"].to_pylist()
    rejects = reading.rejects().sort_by("line")
    return ids, rejects["record"].to_pylist()


@given(misfits=MANY)
def test_files_of_json(project: Settings, tmp_path: Path, misfits: list[str]) -> None:
    source = open_source({"kind": "files", "path": str(tmp_path)}, project)
    declared = {"columns": {"id": "int64"}}
    (tmp_path / "a.jsonl").write_text("\n".join([FITS, *misfits, '{"id": 8}']))
    assert set_aside(source, path="a.jsonl", format=declared) == ([7, 8], misfits)
    (tmp_path / "a.json").write_text("[" + ",\n".join([FITS, *misfits]) + "]")
    assert set_aside(source, path="a.json", format=declared) == ([7], misfits)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as fake:
        yield fake


@given(misfits=MANY)
def test_pages_of_an_api(project: Settings, api: FakeApi, misfits: list[str]) -> None:
    body = ("[" + ", ".join([FITS, *misfits]) + "]").encode()
    api.otherwise = lambda asked: (200, {}, body)
    source = open_source({"kind": "rest", "base_url": api.url, "allow_private": True}, project)
    found = set_aside(source, endpoint="x", options={"columns": {"id": "int64"}})
    assert found == ([7], misfits)


def one_nan(value: Any) -> Any:
    """The value with all its NaNs of the same bits."""
    match value:
        case dict():
            return {name: one_nan(inner) for name, inner in value.items()}
        case list():
            return [one_nan(inner) for inner in value]
        case float() if value != value:
            return float("nan")
    return value


@given(documents=DOCUMENTS)
def test_documents(documents: list[dict[str, Any]]) -> None:
    documents = [one_nan(d) for d in documents]
    try:
        sent = [bson.encode(d, codec_options=OPTIONS) for d in documents]
    except InvalidDocument:  # a name that no document can have
        reject()
    kept = page(1, "collection 'c'", documents, frozenset(), Keys((), documents, {})).originals
    assert kept is not None
    back = [json_util.loads(text.decode("utf-8", "surrogatepass"), json_options=EXTENDED) for text in kept]
    assert [bson.encode(d, codec_options=OPTIONS) for d in back] == sent

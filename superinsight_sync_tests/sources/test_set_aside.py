"""What is set aside is whole: the records of files, pages and documents are kept exactly as they came.

The same is held for delimited files (`files/test_delimited.py`), contracts (`core/test_rejects.py`), topics
(`test_redis.py`, `test_kafka.py`) and pushes (`test_inbox_shape.py`).
"""

import json
from pathlib import Path
from typing import Any

from bson import json_util
from bson.codec_options import DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.bson_keys import Keys
from superinsight_sync.records.bson_records import page
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.sources.reading import stream
from superinsight_sync_tests.sources.test_documents import DOCUMENTS
from superinsight_sync_tests.sources.test_rest import FakeApi, api  # noqa: F401

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x85\u2028\u2029\0"), max_size=12)
MISFITS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: not v.is_integer()).map(lambda v: f'{{"id": {v!r}}}'),
    TEXTS.map(lambda t: json.dumps({"id": f"text {t}"}, ensure_ascii=False)),
    TEXTS.map(lambda t: f'{{ "id" :1,  "id": 2, "t": {json.dumps(t, ensure_ascii=True)} }}'),
    st.sampled_from(['{"id": true}', '{"id": [1, 1.50]}', '{"id": 1e400}', '{"id": "\\ud800"}', '{"id": {"a": 1.10}}']),
)  # fmt: skip
EXTENDED = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=True)
FITS = '{"id": 7}'
MANY = st.lists(MISFITS, min_size=1, max_size=5)


def set_aside(source: Source, **keys: Any) -> tuple[list[int], list[str]]:
    """The ids that were read, and the records that were set aside, by their places."""
    reading = source.read(ReadRequest(stream(**keys)))
    reading.set_aside()  # type: ignore[attr-defined]
    with reading as batches:
        ids = batches.read_all()["id"].to_pylist()
    rejects = reading.rejects().sort_by("line")  # type: ignore[attr-defined]
    return ids, rejects["record"].to_pylist()


@given(misfits=MANY)
def test_files_of_json(project: Settings, tmp_path: Path, misfits: list[str]) -> None:
    source = open_source({"kind": "files", "path": str(tmp_path)}, project)
    declared = {"columns": {"id": "int64"}}
    (tmp_path / "a.jsonl").write_text("\n".join([FITS, *misfits, '{"id": 8}']))
    assert set_aside(source, path="a.jsonl", format=declared) == ([7, 8], misfits)
    (tmp_path / "a.json").write_text("[" + ",\n".join([FITS, *misfits]) + "]")
    assert set_aside(source, path="a.json", format=declared) == ([7], misfits)


@given(misfits=MANY)
def test_pages_of_an_api(project: Settings, api: FakeApi, misfits: list[str]) -> None:  # noqa: F811
    body = ("[" + ", ".join([FITS, *misfits]) + "]").encode()
    api.otherwise = lambda asked: (200, {}, body)
    source = open_source({"kind": "rest", "base_url": api.url, "allow_private": True}, project)
    found = set_aside(source, endpoint="x", options={"columns": {"id": "int64"}})
    assert found == ([7], misfits)


@given(documents=DOCUMENTS)
def test_documents(documents: list[dict[str, Any]]) -> None:
    kept = page(1, "collection 'c'", documents, frozenset(), Keys((), documents, {})).originals
    assert kept is not None
    back = [json_util.loads(text.decode("utf-8", "surrogatepass"), json_options=EXTENDED) for text in kept]
    again = page(1, "collection 'c'", back, frozenset(), Keys((), back, {})).originals
    assert again is not None and list(again) == list(kept)

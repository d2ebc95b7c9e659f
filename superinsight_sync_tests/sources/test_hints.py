"""What an error says to do, done to the letter, gives exactly the values that the source holds."""

import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from superinsight_sync.core.errors import SisError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.sources.reading import INCREMENTAL, read, stream


def hint_of(call: Callable[[], Any]) -> str:
    with pytest.raises(SisError) as caught:
        call()
    assert caught.value.hint
    return caught.value.hint


def declared_by(hint: str) -> dict[str, Any]:
    """The `format: {…}` or `format.columns: {…}` that a hint says to write."""
    if found := re.search(r"format: (\{.*\})", hint):
        said: dict[str, Any] = yaml.safe_load(found[1])
        return said
    found = re.search(r"format\.columns: (\{[^}]*\})", hint)
    assert found, hint
    return {"columns": yaml.safe_load(found[1])}


def files(folder: Path, project: Settings) -> Source:
    return open_source({"kind": "files", "path": str(folder)}, project)


def values(source: Source, column: str, **keys: Any) -> list[Any]:
    found: list[Any] = read(source, ReadRequest(stream(**keys))).column(column).to_pylist()
    return found


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16-le", "id,name\n1,Größe\n2,naïve café\n"),
        ("utf-16-be", "id,name\n1,Größe\n2,naïve café\n"),
        ("cp1252", "id,name\n1,Größe der Straße für Übermut\n2,“zitiert” – 5 €\n"),
        ("gb18030", "id,name\n1,北京市朝阳区建国路八十八号\n2,中华人民共和国居民身份证\n"),
        ("shift_jis", "id,name\n1,東京都千代田区丸の内一丁目\n2,これは日本語のテキストです\n"),
    ],
)
def test_an_encoding_that_is_named_is_the_right_one(
    project: Settings, tmp_path: Path, encoding: str, text: str
) -> None:
    (tmp_path / "a.csv").write_bytes((text * 20).encode(encoding))
    source = files(tmp_path, project)
    plain = {"path": "a.csv", "format": {"encoding": "utf-8"}}
    hint = hint_of(lambda: values(source, "name", **plain))
    found = values(source, "name", path="a.csv", format=declared_by(hint))
    assert found[:2] == [line.split(",")[1] for line in text.splitlines()[1:]]


def test_text_that_is_to_be_a_cursor_becomes_the_moment_it_says(project: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"u": "2026-01-31T10:00:00.123456+02:00"}\n{"u": null}\n')
    source = files(tmp_path, project)
    incremental = {"mode": "incremental", "cursor": "u"}
    texts = {"columns": {"u": "string"}}
    hint = hint_of(lambda: source.describe(stream(path="a.jsonl", format=texts, sync=incremental)))
    found = values(source, "u", path="a.jsonl", format=declared_by(hint), sync=incremental)
    assert found == [datetime(2026, 1, 31, 8, 0, 0, 123456, UTC), None]


def test_text_that_is_no_utf8_comes_as_its_bytes(project: Settings, tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xff\0")]
    )
    pq.write_table(pa.table({"t": broken}), tmp_path / "a.parquet")
    source = files(tmp_path, project)
    hint = hint_of(lambda: values(source, "t", path="a.parquet"))
    assert values(source, "t", path="a.parquet", format=declared_by(hint)) == [b"a", b"\xff\0"]


@pytest.fixture
def shop(project: Settings, tmp_path: Path) -> tuple[sqlite3.Connection, Source]:
    path = tmp_path / "shop.db"
    db = sqlite3.connect(path, isolation_level=None)
    return db, open_source({"kind": "sqlite", "path": str(path)}, project)


def test_a_mixed_column_of_sqlite_keeps_every_digit(shop: tuple[sqlite3.Connection, Source]) -> None:
    db, source = shop
    db.execute("CREATE TABLE mixed (v INTEGER)")
    kept = [1, 2**63 - 1, "abc", 0.1 + 0.2, 1e300, 5e-324, b"\xff'", b"abc", None]
    db.executemany("INSERT INTO mixed VALUES (?)", [(v,) for v in kept])
    hint = hint_of(lambda: values(source, "v", table="mixed"))
    expression = re.search(r"selects (CASE .* END) and", hint)
    assert expression
    found = values(source, "v", query=f"SELECT {expression[1]} AS v FROM mixed")
    assert found[:3] == ["1", "9223372036854775807", "abc"]
    assert [float(v) for v in found[3:6]] == [0.1 + 0.2, 1e300, 5e-324]
    assert found[6:] == ["X'FF27'", "X'616263'", None]


def test_a_cursor_of_sqlite_that_counts_seconds(shop: tuple[sqlite3.Connection, Source]) -> None:
    db, source = shop
    db.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY, updated_at TEXT)")
    db.executemany("INSERT INTO seen VALUES (?, ?)", [(1, "1767225600"), (2, "0")])
    after = datetime(1969, 1, 1, tzinfo=UTC)

    def at(**place: str) -> list[Any]:
        return values_after(source, after, **place)

    hint = hint_of(lambda: at(table="seen"))
    expression = re.search(r"(strftime\(.*'unixepoch'\))", hint)
    assert expression
    made = expression[1].replace("column", "updated_at")
    assert at(query=f"SELECT id, {made} AS updated_at FROM seen") == [
        "2026-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
    ]


def values_after(source: Source, after: datetime, **place: str) -> list[Any]:
    request = ReadRequest(stream(**place, sync=INCREMENTAL), after=after)
    rows = read(source, request).sort_by("id")
    return [
        v if isinstance(v, str) else v.strftime("%Y-%m-%dT%H:%M:%SZ") for v in rows["updated_at"].to_pylist()
    ]

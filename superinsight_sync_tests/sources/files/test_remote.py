"""What holds for files on a server of every protocol."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.sources.protocol import ReadRequest, Source
from superinsight_sync_tests.sources.files.places import PROTOCOLS, RemotePlace, place_of
from superinsight_sync_tests.sources.reading import read, stream


@pytest.fixture(params=PROTOCOLS)
def place(request: pytest.FixtureRequest) -> Iterator[RemotePlace]:
    def fixture(name: str) -> Any:
        return lambda: request.getfixturevalue(name)

    name = f"in {uuid.uuid4().hex[:8]}" if request.param != "s3" else uuid.uuid4().hex[:8]
    if request.param == "http":
        name = name.replace(" ", "-")
    with place_of(
        request.param, fixture("sftp_server"), fixture("s3_server"), name.replace(" ", "-")
    ) as found:
        yield found


def csv_of(*ids: int) -> bytes:
    return ("id\n" + "".join(f"{i}\n" for i in ids)).encode()


def ids(source: Source, path: str, **keys: Any) -> list[int]:
    spec = stream(path=path, format={"columns": {"id": "int64"}})
    return [int(i) for i in read(source, ReadRequest(spec, **keys)).column("id").to_pylist()]


def parquet_of(table: pa.Table, **how: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **how)
    return sink.getvalue().to_pybytes()


def nothing_open(place: RemotePlace) -> None:
    end = time.monotonic() + 5
    while place.sessions is not None and place.sessions() and time.monotonic() < end:
        time.sleep(0.02)
    assert place.sessions is None or place.sessions() == 0


def test_globs_find_what_they_find_in_a_local_folder(place: RemotePlace, project: Settings) -> None:
    files = {
        "a.csv": 1, "b.csv": 2, "größe 漢 1.csv": 3, "x/a.csv": 4, "x/y/a.csv": 5, "x/y/b c.csv": 6,
        "day=2026-01-01/p.csv": 7, ".hidden.csv": 8, "_x/a.csv": 9, "new.csv.part": 10, "notes.txt": 11,
    }  # fmt: skip
    for name, number in files.items():
        place.put(name, csv_of(number))
    source = place.source(project)
    assert ids(source, "*.csv") == [1, 2, 3]
    assert ids(source, "a.csv") == [1]
    assert ids(source, "größe 漢 1.csv") == [3]
    assert ids(source, "**/*.csv") == [1, 2, 7, 3, 4, 5, 6]
    assert ids(source, "x/**/*.csv") == [4, 5, 6]
    assert ids(source, "*/a.csv") == [4]
    assert ids(source, "**/y/*.csv") == [5, 6]
    assert ids(source, "day=*/p.csv") == [7]
    assert ids(source, "[ab].csv") == [1, 2]
    assert ids(source, "?.csv") == [1, 2]
    assert ids(source, "x/y/b c.csv") == [6]
    assert ids(source, "z*.csv") == []
    with pytest.raises(ConfigError, match=r"no file matches 'z\*\.csv'"):
        source.describe(stream(path="z*.csv"))
    nothing_open(place)


def test_all_formats_arrive_as_they_are(place: RemotePlace, project: Settings) -> None:
    table = pa.table(
        {"id": pa.array(range(50_000), pa.int64()), "note": [f"größe {i} 😀" for i in range(50_000)]}
    )
    place.put("t.parquet", parquet_of(table, row_group_size=7_000))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    place.put("t.csv", sink.getvalue().to_pybytes())
    compressed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(compressed, "zstd") as stream_:
        stream_.write(sink.getvalue())
    place.put("u.csv.zst", compressed.getvalue().to_pybytes())
    source = place.source(project)
    kept = read(source, ReadRequest(stream(path="t.parquet"), batch_rows=1_000))
    assert kept.select(["id", "note"]) == table
    for name in ("t.csv", "u.csv.zst"):
        spec = stream(path=name, format={"columns": {"id": "int64"}})
        assert read(source, ReadRequest(spec)).select(["id", "note"]) == table
    assert source.count(ReadRequest(stream(path="t.parquet"))) == 50_000
    assert read(source, ReadRequest(stream(path="t.parquet"), limit=17)).num_rows == 17
    nothing_open(place)

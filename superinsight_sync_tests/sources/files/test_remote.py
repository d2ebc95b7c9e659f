"""What holds for files on a server of every protocol."""

import io
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync_tests.sources.files.places import RemotePlace, csv_of, ids, nothing_open, parquet_of
from superinsight_sync_tests.sources.reading import read, stream

SINCE_CHANGED = {"mode": "incremental", "cursor": "_sis_file_modified_at"}


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


def test_a_source_of_one_file_reads_that_file_only(place: RemotePlace, project: Settings) -> None:
    place.put("a.csv", csv_of(1))
    place.put("b.csv", csv_of(2))
    source = place.source(project, path=f"{place.url.rstrip('/')}/a.csv")
    assert ids(source, "a.csv") == [1]
    assert source.probe().details["files"] == 1
    with pytest.raises(ConfigError, match=r"Write path: a\.csv"):
        source.describe(stream(path="b.csv"))


@pytest.mark.parametrize(
    "pattern", ["../*.csv", "/etc/passwd", "a/../../x", "..", "a\\..\\b", "a\r\nDELE b.csv"]
)
def test_patterns_that_leave_the_folder_are_refused(
    place: RemotePlace, project: Settings, pattern: str
) -> None:
    place.put("b.csv", csv_of(1))
    source = place.source(project)
    with pytest.raises(ConfigError):
        source.describe(stream(path=pattern))
    assert ids(source, "*.csv") == [1]


def test_the_token_tells_new_changed_and_removed_files(place: RemotePlace, project: Settings) -> None:
    place.put("a.csv", csv_of(1))
    source, request = place.source(project), ReadRequest(stream(path="*.csv"))
    tokens = [source.token(request)]
    assert source.token(request) == tokens[0] == place.source(project).token(request)
    place.put("b.csv", csv_of(2))
    tokens.append(source.token(request))
    place.put("b.csv", csv_of(2, 3))
    tokens.append(source.token(request))
    assert len(set(tokens)) == 3
    assert ids(source, "*.csv") == [1, 2, 3]
    place.put("b.csv", csv_of(4, 5, 6))
    assert ids(source, "*.csv") == [1, 4, 5, 6]


def test_only_files_changed_since_the_checkpoint_are_read(place: RemotePlace, project: Settings) -> None:
    place.put("a.csv", csv_of(1))
    place.put("b.csv", csv_of(2))
    if place.folder:
        os.utime(place.folder / "a.csv", (0, 1_700_000_000))
    source, spec = place.source(project), stream(path="*.csv", sync=SINCE_CHANGED)
    times = dict(
        zip(
            *read(source, ReadRequest(spec)).select(["id", "_sis_file_modified_at"]).to_pydict().values(),
            strict=True,
        )
    )
    assert abs(datetime.now(UTC) - times["2"]) < timedelta(minutes=5)
    after = times["1"] + timedelta(seconds=1)
    kept = read(source, ReadRequest(spec, after=after)).column("id").to_pylist()
    assert kept == (["2"] if place.folder else [i for i, at in times.items() if at >= after])
    assert (
        read(source, ReadRequest(spec, window=Window(times["1"], after))).column("id").to_pylist()[0] == "1"
    )


def test_files_still_being_written_are_left_alone(place: RemotePlace, project: Settings) -> None:
    place.put("young.csv", csv_of(2))
    source = place.source(project, settle="1h")
    with pytest.raises(TransientError, match=r"every file of '\*\.csv' was modified less than 3600 s ago"):
        source.describe(stream(path="*.csv"))
    if place.folder:
        place.put("old.csv", csv_of(1))
        os.utime(place.folder / "old.csv", (0, time.time() - 7200))
        assert ids(source, "*.csv") == [1]


def test_a_file_that_changes_while_it_is_read_fails_the_read(place: RemotePlace, project: Settings) -> None:
    for name, make in (("t.csv", lambda n: csv_of(*range(n, n + 400_000))),
                       ("t.parquet", lambda n: parquet_of(pa.table({"id": range(n, n + 400_000)})))):  # fmt: skip
        place.put(name, make(1_000_000))
        source = place.source(project)
        with pytest.raises(
            TransientError, match=rf"file '{name.replace('.', '[.]')}': it changed while it was read"
        ):
            with source.read(ReadRequest(stream(path=name), batch_rows=1_000)) as batches:
                batches.read_next_batch()
                place.put(name, make(2_000_000))
                if place.folder:
                    os.utime(place.folder / name, (0, time.time() + 5))
                for _ in batches:
                    pass
        nothing_open(place)
        assert read(source, ReadRequest(stream(path=name), limit=1)).num_rows == 1


def test_closing_early_leaves_nothing_open(place: RemotePlace, project: Settings) -> None:
    for name, data in (("t.csv", csv_of(*range(600_000))),
                       ("t.parquet", parquet_of(pa.table({"id": range(600_000)}), row_group_size=9_000))):  # fmt: skip
        place.put(name, data)
        source = place.source(project)
        with source.read(ReadRequest(stream(path=name), batch_rows=100)) as batches:
            assert batches.read_next_batch().num_rows == 100
        nothing_open(place)

        def fail(source=source, name=name) -> None:  # type: ignore[no-untyped-def]
            with source.read(ReadRequest(stream(path=name), batch_rows=100)) as batches:
                batches.read_next_batch()
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            fail()
        nothing_open(place)
        assert (
            read(source, ReadRequest(stream(path=name), limit=5)).num_rows
            == 5
            == source.count(ReadRequest(stream(path=name), limit=5))
        )


def test_two_reads_at_once_do_not_disturb_each_other(place: RemotePlace, project: Settings) -> None:
    place.put("t.csv", csv_of(*range(50_000)))
    source = place.source(project)
    request = ReadRequest(stream(path="t.csv"), batch_rows=1_000)
    with source.read(request) as first, source.read(request) as second:
        first.read_next_batch()
        assert second.read_all().num_rows == 50_000
        assert first.read_all().num_rows == 49_000
    nothing_open(place)


def test_the_connection_test_says_server_files_and_size(place: RemotePlace, project: Settings) -> None:
    place.put("a.csv", csv_of(1))
    place.put("x/b.csv", csv_of(2))
    probe = place.source(project).probe()
    assert probe.server.startswith(place.url.partition("://")[0])
    assert probe.details == {"files": 2, "size_bytes": 10}
    assert probe.latency_ms > 0
    assert probe.warnings == ()
    nothing_open(place)


def test_discovery_finds_streams_that_can_be_read(place: RemotePlace, project: Settings) -> None:
    for name in ("orders/1.csv", "orders/2.csv", "people.parquet"):
        place.put(name, csv_of(1) if name.endswith("csv") else parquet_of(pa.table({"id": [1]})))
    source = place.source(project)
    found = {f.value: f for f in source.discover()}
    assert sorted(found) == ["orders/*.csv", "people.parquet"]
    assert [ids(source, value) for value in sorted(found)] == [[1, 1], [1]]
    nothing_open(place)


def test_an_empty_folder_is_told(place: RemotePlace, project: Settings) -> None:
    source = place.source(project)
    assert "no file was found" in source.probe().warnings
    assert list(source.discover()) == []
    with pytest.raises(ConfigError, match="no file matches"):
        source.describe(stream(path="*.csv"))


def test_empty_files_and_archives_are_read(place: RemotePlace, project: Settings, tmp_path: Path) -> None:
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.csv", csv_of(*range(200_000)))
        archive.writestr("b.csv", csv_of(7))
    place.put("both.zip", packed.getvalue())
    place.put("empty.csv", b"")
    place.put("full.csv", csv_of(1))
    source = place.source(project)
    assert ids(source, "both.zip") == [7, *range(200_000)]
    assert ids(source, "*.csv") == [1]
    nothing_open(place)

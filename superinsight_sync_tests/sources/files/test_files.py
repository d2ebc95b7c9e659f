"""The kind as a whole: listing, bounds, tokens, discovery, memory."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, TransientError
from superinsight_sync.model.read import FoundStream, ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.sources.kinds.files import Config, FilesSource
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.sources.files import folder as folders
from superinsight_sync_tests.sources.files.folder import read, rows, source, stream
from superinsight_sync_tests.sources.files.test_delimited import rejected

BY_FILE: dict[str, Any] = {"sync": {"mode": "incremental", "cursor": "_sis_file_modified_at"}}


def csv_file(folder: Path, name: str, text: str, modified: datetime | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if modified:
        os.utime(path, ns=(0, int(modified.timestamp()) * 10**9 + modified.microsecond * 1000))
    return path


def ids(files: FilesSource, request: ReadRequest) -> list[Any]:
    with files.read(request) as reader:
        return [v for batch in reader for v in batch.column("id").to_pylist()]


# Listing


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["1"]), ("a/*.csv", ["2"]), ("**/*.csv", ["1", "2", "3"]), ("a/b/3.csv", ["3"]),
        ("a/**/*.csv", ["2", "3"]), ("?.csv", ["1"]), ("[0-9].csv", ["1"]), ("_x.csv", ["8"]),
    ],
)  # fmt: skip
def test_names_and_globs_find_finished_files(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in ("1.csv", "a/2.csv", "a/b/3.csv"):
        csv_file(tmp_path, name, f"id\n{Path(name).stem}\n")
    for name in ("_x.csv", ".y.csv", "4.csv.tmp", "5.csv.part", "_delta/6.csv", ".git/7.csv"):
        csv_file(tmp_path, name, "id\n8\n")
    assert ids(source(tmp_path), ReadRequest(stream(pattern))) == expected


def test_a_name_with_signs_of_a_glob_is_taken_literally_if_it_is_there(tmp_path: Path) -> None:
    csv_file(tmp_path, "a[1].csv", "id\n1\n")
    csv_file(tmp_path, "a1.csv", "id\n2\n")
    assert ids(source(tmp_path), ReadRequest(stream("a[1].csv"))) == ["1"]


def test_each_row_says_its_file(tmp_path: Path) -> None:
    csv_file(tmp_path, "a/漢 1.csv", "id\n1\n2\n")
    csv_file(tmp_path, "b/x.csv", "id\n3\n")
    with source(tmp_path).read(ReadRequest(stream("**/*.csv"))) as reader:
        assert reader.read_all()["_sis_file"].to_pylist() == ["a/漢 1.csv"] * 2 + ["b/x.csv"]


@pytest.mark.parametrize("pattern", ["../*.csv", "/etc/passwd", "a/../../x", "..", " ", "a\\..\\b", "a**/x"])
def test_patterns_that_leave_the_folder_are_refused(tmp_path: Path, pattern: str) -> None:
    csv_file(tmp_path, "in/a.csv", "id\n1\n")
    with pytest.raises(ConfigError, match=r"stream 's': path"):
        source(tmp_path / "in").describe(stream(pattern))


def test_links_that_leave_the_folder_are_refused_and_others_followed_once(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    csv_file(tmp_path, "secret.csv", "id\n0\n")
    csv_file(inside, "a.csv", "id\n1\n")
    (inside / "again.csv").symlink_to("a.csv")
    assert ids(source(inside), ReadRequest(stream("*.csv"))) == ["1"]
    (inside / "b.csv").symlink_to(tmp_path / "secret.csv")
    for pattern in ("*.csv", "b.csv"):
        with pytest.raises(ConfigError, match=r"'b\.csv' is a symbolic link that leads out"):
            source(inside).describe(stream(pattern))
    (inside / "b.csv").unlink()
    (inside / "dir").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ConfigError, match="leads out"):
        source(inside).describe(stream("dir/*.csv"))
    (inside / "dir").unlink()
    (inside / "loop.csv").symlink_to("loop.csv")
    assert ids(source(inside), ReadRequest(stream("*.csv"))) == ["1"]


def test_a_source_of_one_file_reads_that_file_only(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "id\n1\n")
    csv_file(tmp_path, "b.csv", "id\n2\n")
    files = FilesSource(Config(path="a.csv"), folders.settings(tmp_path))
    assert ids(files, ReadRequest(stream("a.csv"))) == ["1"]
    assert files.probe().details["files"] == 1
    assert [s.value for s in files.discover()] == ["a.csv"]
    with pytest.raises(ConfigError, match=r"Write path: a\.csv"):
        files.describe(stream("b.csv"))


def test_files_still_being_written_are_left_alone(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    csv_file(tmp_path, "old.csv", "id\n1\n", now - timedelta(minutes=5))
    young = csv_file(tmp_path, "young.csv", "id\n2\n", now)
    files = source(tmp_path, settle="1m")
    assert ids(files, ReadRequest(stream("*.csv"))) == ["1"]
    token = files.token(ReadRequest(stream("*.csv")))
    with pytest.raises(TransientError, match=r"every file of 'young\.csv' was modified less than 60 s ago"):
        files.describe(stream("young.csv"))
    os.utime(young, (0, now.timestamp() - 61))
    assert ids(files, ReadRequest(stream("*.csv"))) == ["1", "2"]
    assert files.token(ReadRequest(stream("*.csv"))) != token


def test_a_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_file(tmp_path, "drop/a.csv", "id\n1\n")
    files = FilesSource(Config(path="{{ env.SIS_TEST_DROP }}"), folders.settings(tmp_path))
    with pytest.raises(ConfigError, match="SIS_TEST_DROP is not set"):
        files.probe()
    monkeypatch.setenv("SIS_TEST_DROP", str(tmp_path / "drop"))
    assert ids(files, ReadRequest(stream("a.csv"))) == ["1"]
    assert "{{ env.SIS_TEST_DROP }}" in files.probe().server


# Probe and discovery


def test_the_probe_counts_files_and_warns_of_none(tmp_path: Path) -> None:
    assert source(tmp_path).probe().warnings == ("no file was found",)
    csv_file(tmp_path, "a/b.csv", "id\n1\n")
    probe = source(tmp_path).probe()
    assert (probe.warnings, probe.details) == ((), {"files": 1, "size_bytes": 5, "writable": True})
    with pytest.raises(ConfigError, match="nowhere' does not exist"):
        source(tmp_path / "nowhere").probe()


def test_a_file_without_the_right_to_read_is_an_access_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_file(tmp_path, "a.csv", "id\n1\n")
    if os.geteuid() == 0:  # root may read everything: the refusal has to be made
        real = Path.open

        def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
            if self.suffix == ".csv":
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refuse)
    else:
        (tmp_path / "a.csv").chmod(0)
    with pytest.raises(AccessError, match=r"file 'a\.csv'"):
        source(tmp_path).describe(stream("a.csv"))


@pytest.mark.parametrize(("pattern", "folder"), [("**/*.csv", "a/b"), ("a/*.csv", "a"), ("*/*.csv", "a")])
def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, folder: str
) -> None:
    csv_file(tmp_path, "a/b/1.csv", "id\n1\n")
    csv_file(tmp_path, "c/2.csv", "id\n2\n")
    real = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path) == str(tmp_path / folder):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AccessError, match=f"/{folder}' may not be read"):
        source(tmp_path).describe(stream(pattern))


def test_discovery_groups_files_of_a_folder_by_extension_and_columns(tmp_path: Path) -> None:
    for month in ("01", "02", "03"):
        csv_file(tmp_path, f"weather/{month}.csv", "time,temp\n1,2\n")
        csv_file(tmp_path, f"mixed/sales_{month}.csv", "day,amount\n1,2\n")
    csv_file(tmp_path, "mixed/planes.csv", "tail\nN1\n")
    csv_file(tmp_path, "orders.jsonl", '{"id": 1, "total": 2.5}\n')
    csv_file(tmp_path, "readme.pdf", "%PDF-1.7")
    csv_file(tmp_path, "empty.csv", "")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "2024.parquet")
    looked_at = list(source(tmp_path).discover())
    assert sorted(s.value for s in looked_at if s.problem) == ["empty.csv", "readme.pdf"]
    found = {s.value: s for s in looked_at if not s.problem}
    assert sorted(found) == [
        "2024.parquet", "mixed/planes.csv", "mixed/sales_0*.csv", "orders.jsonl", "weather/*.csv",
    ]  # fmt: skip
    assert [(c.name, c.type) for c in found["orders.jsonl"].columns] == [
        ("id", "int64"),
        ("total", "float64"),
    ]
    assert [s.name for s in found.values()] == ["orders", "files_2024", "planes", "sales_0", "weather"]
    for value, proposed in found.items():
        shape = source(tmp_path).describe(stream(value))
        assert [c.name for c in shape.columns[:-1]] == [c.name for c in proposed.columns]


# Bounds


def test_the_modification_time_is_a_cursor_that_reads_only_new_files(tmp_path: Path) -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 5)]
    for day in days:
        csv_file(tmp_path, f"{day.day}.csv", f"id\n{day.day}\n", day.replace(microsecond=day.day))
    spec, files = stream("*.csv", **BY_FILE), source(tmp_path)
    with files.read(ReadRequest(spec)) as reader:
        table = reader.read_all()
    assert table.column_names == ["id", "_sis_file_modified_at", "_sis_file"]
    assert table["_sis_file_modified_at"].to_pylist() == [d.replace(microsecond=d.day) for d in days]
    newest = max(table["_sis_file_modified_at"].to_pylist())
    assert ids(files, ReadRequest(spec, after=newest)) == ["4"]
    assert ids(files, ReadRequest(spec, after=newest + timedelta(microseconds=1))) == []
    assert ids(files, ReadRequest(spec, window=Window(days[1], days[3]))) == ["2", "3"]
    january = ReadRequest(spec, window=Window(days[1], days[3]))
    token = files.token(january)
    csv_file(tmp_path, "5.csv", "id\n5\n")
    csv_file(tmp_path, "1.csv", "id\n1b\n")
    assert sorted(ids(files, ReadRequest(spec, after=newest + timedelta(seconds=1)))) == ["1b", "5"]
    assert files.token(january) == token
    assert files.token(ReadRequest(spec)) != source(tmp_path).token(january)


def test_a_data_column_is_a_cursor_once_its_type_is_declared(tmp_path: Path) -> None:
    text = "".join(f"{h},2026-01-01T{h:02}:00:00{'+00:00' if h % 2 else ''}\n" for h in range(24))
    csv_file(tmp_path, "a.csv", "id,at\n" + text + "x,\n")
    sync = {"mode": "incremental", "cursor": "at"}
    files = source(tmp_path)
    with pytest.raises(ConfigError, match=r"cursor 'at' is string.*columns: {at: timestamp}"):
        files.describe(stream("a.csv", sync=sync))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    spec = stream("a.csv", sync=sync, format={"columns": {"at": "timestamp"}})
    window = Window(start + timedelta(hours=5), start + timedelta(hours=7))
    assert ids(files, ReadRequest(spec, window=window)) == ["5", "6"]
    assert ids(files, ReadRequest(spec, after=start + timedelta(hours=22))) == ["22", "23", "x"]
    assert files.count(ReadRequest(spec, window=window)) == 2
    assert len(ids(files, ReadRequest(spec))) == 25


def test_a_version_number_and_a_date_are_cursors(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "id,v,d\n1,10,2026-01-01\n2,20,2026-01-02\n3,30,2026-01-03\n")
    columns = {"v": "int64", "d": "date"}
    by_version = {"mode": "incremental", "by": "version", "cursor": "v"}
    spec = stream("a.csv", sync=by_version, format={"columns": columns})
    assert ids(source(tmp_path), ReadRequest(spec, after=20)) == ["2", "3"]
    with pytest.raises(ConfigError, match="cursor 'v' is int64, but its bounds are str"):
        ids(source(tmp_path), ReadRequest(spec, after="x"))
    spec = stream("a.csv", sync={"mode": "incremental", "cursor": "d"}, format={"columns": columns})
    window = Window(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
    assert ids(source(tmp_path), ReadRequest(spec, window=window)) == ["2"]
    assert ids(source(tmp_path), ReadRequest(spec, after=datetime(2026, 1, 3, tzinfo=UTC).date())) == ["3"]


def test_wrong_cursors_and_keys_are_refused_with_close_names(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "id,updated_at\n1,2\n")
    sync = {"mode": "incremental", "cursor": "update_at"}
    with pytest.raises(ConfigError, match=r"no file has a column 'update_at'.*Did you mean 'updated_at'"):
        source(tmp_path).describe(stream("a.csv", sync=sync))
    with pytest.raises(ConfigError, match="primary_key: no file has a column 'key'"):
        source(tmp_path).describe(stream("a.csv", primary_key=["key"]))


def test_a_limit_stops_early(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "id\n" + "\n".join(map(str, range(1000))))
    for limit in (0, 1, 7, 1000, 2000):
        request = ReadRequest(stream("a.csv"), limit=limit, batch_rows=3)
        assert ids(source(tmp_path), request) == list(map(str, range(min(limit, 1000))))
        assert source(tmp_path).count(request) == min(limit, 1000)


# Tokens, changes and failures


def test_the_token_tells_every_change_of_the_listing(tmp_path: Path) -> None:
    request = ReadRequest(stream("*.csv"))
    tokens = []
    for change in (
        lambda: csv_file(tmp_path, "a.csv", "id\n1\n", datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: csv_file(tmp_path, "b.csv", "id\n1\n", datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: csv_file(tmp_path, "a.csv", "id\n12\n", datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: csv_file(tmp_path, "a.csv", "id\n13\n", datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        lambda: (tmp_path / "a.csv").rename(tmp_path / "c.csv"),
        lambda: (tmp_path / "b.csv").unlink(),
    ):
        change()
        tokens.append(source(tmp_path).token(request))
        assert source(tmp_path).token(request) == tokens[-1]
    assert len(set(tokens)) == len(tokens)


def test_an_empty_folder_needs_declared_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stream 's': no file matches '\*\.csv'"):
        source(tmp_path).describe(stream("*.csv"))
    table = read(tmp_path, "*.csv", format={"columns": {"id": "int64"}})
    assert (table.schema, table.num_rows) == (pa.schema([("id", pa.int64())]), 0)


def test_a_file_that_changes_while_it_is_read_is_tried_again(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a.csv", "id\n" + "1\n" * 100)
    with (
        pytest.raises(TransientError, match=r"file 'a\.csv': it changed while it was read"),
        source(tmp_path).read(ReadRequest(stream("a.csv"), batch_rows=10)) as reader,
    ):
        reader.read_next_batch()
        with path.open("a") as out:
            out.write("2\n")
        reader.read_all()
    path.unlink()
    with pytest.raises(ConfigError, match="no file matches"):
        source(tmp_path).describe(stream("a.csv"))


def test_new_columns_between_describe_and_read_are_no_surprise(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "id\n1\n")
    files, request = source(tmp_path), ReadRequest(stream("*.csv"))
    files.describe(request.stream)
    csv_file(tmp_path, "b.csv", "id\n2\n")
    assert ids(files, request) == ["1", "2"]
    csv_file(tmp_path, "b.csv", "id,x\n2,3\n")
    with pytest.raises(TransientError, match="columns changed since they were described"):
        files.read(request)
    files.describe(request.stream)
    assert ids(files, request) == ["1", "2"]


def test_a_failure_is_known_by_its_class_even_to_a_consumer_outside_python(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "a,b\n1\n")
    with (
        pytest.raises(DataError, match="line 2: 1 cells"),
        source(tmp_path).read(ReadRequest(stream("a.csv"))) as reader,
    ):
        pa.RecordBatchReader._import_from_c_capsule(reader.__arrow_c_stream__()).read_all()


def test_closing_early_closes_the_file(tmp_path: Path) -> None:
    csv_file(tmp_path, "a.csv", "id\n" + "1\n" * 4_000_000)
    with source(tmp_path).read(ReadRequest(stream("a.csv"), batch_rows=10)) as reader:
        reader.read_next_batch()
        assert any("a.csv" in p for p in open_files())
    assert not any("a.csv" in p for p in open_files())


def open_files() -> list[str]:
    return [str(p.readlink()) for p in Path("/proc/self/fd").iterdir() if p.exists()]


def test_a_wrong_connection_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="setle"):
        Config.model_validate({"path": ".", "setle": "1m"})
    with pytest.raises(ValidationError, match="is not a duration"):
        Config(path=".", settle="soon")  # type: ignore[arg-type]


def test_the_kind_is_imported_without_a_heavy_library() -> None:
    code = (
        "import sys, superinsight_sync.sources.kinds.files as k; k.Config(path='.');"
        "sys.exit(bool({'pyarrow', 'duckdb', 'polars', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_declaration_opens_the_kind_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    csv_file(tmp_path, "drop/a.csv", "id\n007\n")
    files = open_source({"kind": "files", "path": "drop", "settle": "0s"}, folders.settings(tmp_path))
    assert isinstance(files, FilesSource)
    assert ids(files, ReadRequest(stream("a.csv"))) == ["007"]
    with pytest.raises(ConfigError, match=r"kind 'files'.*folder"):
        open_source({"kind": "files", "folder": "drop"}, folders.settings(tmp_path))


def found(folder: Path) -> dict[str, FoundStream]:
    return {f.value: f for f in source(folder).discover()}


def test_types_keys_and_cursors_of_csv_are_proposed(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(
        "order_id,zip,amount,n,on,updated_at,paid,note\n"
        "1,01234,1.50,-3,2026-01-02,2026-01-02T03:04:05Z,true,x\n"
        "2,99999,10,7,2026-02-03,2026-01-02 03:04:05,false,1e5\n"
    )
    one = found(tmp_path)["orders.csv"]
    assert one.format["columns"] == {
        "order_id": "int64", "amount": "decimal(18,2)", "n": "int64", "on": "date", "updated_at": "timestamp", "paid": "bool",
    }  # fmt: skip
    assert (one.primary_key, one.cursor, one.remark) == (("order_id",), "updated_at", "")
    rows_read = rows(tmp_path, "orders.csv", format={"columns": one.format["columns"]})
    assert [str(r["amount"]) for r in rows_read] == ["1.50", "10.00"]


def test_what_only_a_sample_says_is_a_remark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,n\n" + "".join(f"{i},{i}\n" for i in range(10_500)) + "x,y\n")
    one = found(tmp_path)["a.csv"]
    assert "columns" not in one.format and not one.primary_key
    assert "the first 10000 rows suggest columns: {id: int64, n: int64}, a primary_key [id]" in one.remark


def test_files_of_different_headers_are_two_streams(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x\n1,2\n")
    (tmp_path / "b.csv").write_text("id,y\n1,2\n")
    assert sorted(found(tmp_path)) == ["a.csv", "b.csv"]


def test_folders_with_names_and_values_are_columns(tmp_path: Path) -> None:
    for year, month, n in ((2023, "01", 1), (2024, "__HIVE_DEFAULT_PARTITION__", 2)):
        place = tmp_path / "sales" / f"year={year}" / f"month={month}"
        place.mkdir(parents=True)
        (place / "a.csv").write_text(f"n\n{n}\n")
        pq.write_table(pa.table({"n": [n]}), place / "a.parquet")
    for path in ("sales/**/*.csv", "sales/**/*.parquet"):
        declared = {"folders": True, "columns": {"year": "int64", "n": "int64"}}
        assert rows(tmp_path, path, format=declared) == [
            {"n": 1, "year": 2023, "month": "01"},
            {"n": 2, "year": 2024, "month": None},
        ]
        assert list(rows(tmp_path, path)[0]) == ["n"]
        with pytest.raises(ConfigError, match="the folder's 'month' is not date32"):
            rows(tmp_path, path, format={"folders": True, "columns": {"month": "date"}})
    assert {v: f.format.get("folders") for v, f in found(tmp_path).items()} == {
        "sales/**/*.csv": True,
        "sales/**/*.parquet": True,
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_before_the_header_are_skipped(tmp_path: Path, end: str) -> None:
    lines = ['Report, of "today', "", "n;t", "1;a", "x;b", "3;c"]
    (tmp_path / "a.csv").write_bytes(end.join(lines).encode())
    form = {"skip_rows": 2, "columns": {"n": "int64"}}
    kept, aside = rejected(tmp_path, "a.csv", format=form)
    assert [tuple(r.values()) for r in kept] == [(1, "a"), (3, "c")]
    assert [a[1] for a in aside] == [5]
    plain = {"skip_rows": 3, "header": False, "columns": {"n": "string", "t": "string"}}
    assert [r["n"] for r in rows(tmp_path, "a.csv", format=plain)] == ["1", "x", "3"]

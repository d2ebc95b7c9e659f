"""SQLite: by declared type, exactly; a value that does not fit its column stops the read."""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError, SisError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.sources.reading import column, read, read_all, stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "customer's file #1?.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def source(path: Path, db: sqlite3.Connection) -> Source:
    settings = load_settings({"SIS_PROJECT_DIR": str(path.parent)})
    return open_source({"kind": "sqlite", "path": path.name}, settings)


TORTURE: list[tuple[str, Any, pa.DataType, Any]] = [
    ("INTEGER", 2**63 - 1, pa.int64(), 2**63 - 1),
    ("BIGINT UNSIGNED", -(2**63), pa.int64(), -(2**63)),
    ("TINYINT(1)", 5, pa.int64(), 5),
    ("REAL", 0.1 + 0.2, pa.float64(), 0.1 + 0.2),
    ("DOUBLE PRECISION", -math.inf, pa.float64(), -math.inf),
    ("FLOAT", 3, pa.float64(), 3.0),
    ("BOOLEAN", True, pa.bool_(), True),
    ("BLOB", b"\x00\xff", pa.binary(), b"\x00\xff"),
    ("TEXT", "größe 😀", pa.string(), "größe 😀"),
    ("VARCHAR(3)", "longer", pa.string(), "longer"),
    ("DECIMAL(30,15)", "1.50", pa.string(), "1.5"),
    ("NUMERIC", 0.1 + 0.2, pa.string(), "0.30000000000000004"),
    ("NUMERIC", 12.34, pa.string(), "12.34"),
    ("NUMERIC", 2999, pa.string(), "2999"),
    ("NUMERIC", 1e300, pa.string(), "1.0e+300"),
    ("DATE", "2026-01-02", pa.string(), "2026-01-02"),
    ("DATETIME", "2026-01-02T03:04:05.000006+02:00", pa.string(), "2026-01-02T03:04:05.000006+02:00"),
    ("TIMESTAMP", 1767225600, pa.string(), "1767225600"),
    ("", "typeless", pa.string(), "typeless"),
    ("JSON", '{"a":  1.50}', pa.string(), '{"a":  1.50}'),
]


def test_each_type_arrives_exactly_after_rows_of_nulls(db: sqlite3.Connection, source: Source) -> None:
    names = [f"c{n}" for n in range(len(TORTURE))]
    db.execute(
        f"CREATE TABLE torture (id INTEGER, {', '.join(f'{n} {t}' for n, (t, *_) in zip(names, TORTURE, strict=True))})"
    )
    db.execute(
        "INSERT INTO torture (id) WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 70000) SELECT n FROM s"
    )
    db.execute(
        f"INSERT INTO torture VALUES (0, {', '.join('?' * len(TORTURE))})", [v for _, v, *_ in TORTURE]
    )
    table = read_all(source, table="torture")
    assert table.num_rows == 70_001
    last = table.filter(pa.compute.equal(table.column("id"), 0))
    for name, (declared, _, arrow, value) in zip(names, TORTURE, strict=True):
        assert table.schema.field(name).type == arrow, declared
        assert table.column(name).null_count == 70_000, declared
        assert column(last, name)[0] == value, declared


UNFIT = [("INTEGER", "very-personal"), ("INTEGER", 1.5), ("REAL", "very-personal"), ("BLOB", "very-personal"),
         ("TEXT", b"very-personal"), ("BOOLEAN", 2), ("", b"very-personal"), ("NUMERIC", b"x"), ("INTEGER", b"x")]  # fmt: skip


@pytest.mark.parametrize(("declared", "value"), UNFIT)
@pytest.mark.parametrize("before", [0, 1, 70_000])
def test_a_value_that_does_not_fit_stops_the_read_and_names_the_column(
    db: sqlite3.Connection, source: Source, declared: str, value: Any, before: int
) -> None:
    db.execute(f"CREATE TABLE unfit (id INTEGER, v {declared})")
    db.execute(
        "INSERT INTO unfit (id) WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s",
        (before,),
    )
    db.executemany("INSERT INTO unfit VALUES (0, ?)", [(value,), (value,)])
    with pytest.raises(DataError, match=r"'v' \(.*\): 2") as caught:
        read_all(source, table="unfit")
    assert "very-personal" not in str(caught.value)


@pytest.mark.parametrize("before", [0, 70_000])
def test_text_that_is_not_utf_8_stops_the_read_and_names_the_column(
    db: sqlite3.Connection, source: Source, before: int
) -> None:
    db.execute("CREATE TABLE torn (v TEXT)")
    db.execute(
        "INSERT INTO torn WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s",
        (before,),
    )
    db.execute("INSERT INTO torn VALUES (CAST(x'76657279ff' AS TEXT))")
    with pytest.raises(DataError, match="'v' holds text that is not UTF-8") as caught:
        read_all(source, table="torn")
    assert "very" not in str(caught.value)
    read = read_all(source, query="SELECT hex(v) AS v FROM torn")
    assert column(read, "v")[-1] == "76657279FF"


def test_a_nul_within_text_is_a_character_like_others(db: sqlite3.Connection, source: Source) -> None:
    db.execute("CREATE TABLE nul (v TEXT)")
    db.execute("INSERT INTO nul VALUES ('a' || char(0) || 'b'), (char(0)), ('')")
    assert column(read_all(source, table="nul"), "v") == ["a\0b", "\0", ""]


def test_a_mixed_column_is_read_through_a_query_that_casts_it(db: sqlite3.Connection, source: Source) -> None:
    db.execute("CREATE TABLE mixed (v INTEGER)")
    db.executemany("INSERT INTO mixed VALUES (?)", [(1,), ("abc",), (None,)])
    assert column(read_all(source, query="SELECT CAST(v AS TEXT) AS v FROM mixed"), "v") == ["1", "abc", None]


def test_an_integer_beyond_a_double_is_not_rounded(db: sqlite3.Connection, source: Source) -> None:
    db.execute("CREATE TABLE wide (v FLOATING POINT)")
    db.execute("INSERT INTO wide VALUES (9007199254740993)")
    try:
        assert [int(v) for v in column(read_all(source, table="wide"), "v")] == [9007199254740993]
    except DataError as error:
        assert "'v'" in str(error)


_WIDE = "x\"y`;--' " * 30


def test_names_of_300_characters_with_quotes_are_read(db: sqlite3.Connection, source: Source) -> None:
    table, name = ('"' + (kind + _WIDE).replace('"', '""') + '"' for kind in ("t.", "c "))
    db.execute(f'CREATE TABLE {table} ({name} INTEGER, "select" TEXT)')
    db.execute(f"INSERT INTO {table} VALUES (7, 'é')")
    (found,) = source.discover()
    assert found.name.startswith("t_x_y_x_y")
    assert len(found.name) <= 63
    rows = read_all(source, table=found.value)
    assert rows.to_pylist() == [{"c " + _WIDE: 7, "select": "é"}]


def test_views_keys_and_generated_columns_are_described(db: sqlite3.Connection, source: Source) -> None:
    db.execute("CREATE TABLE parent (a INTEGER, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID")
    db.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, x INT, y INT NOT NULL, z INT AS (x + y),"
               " FOREIGN KEY (x, y) REFERENCES parent (b, a))")  # fmt: skip
    db.execute("CREATE VIEW seen AS SELECT id, x FROM child")
    db.execute("INSERT INTO child (id, x, y) VALUES (1, 2, 3)")
    shape = source.describe(stream(table="child"))
    assert shape.primary_key == ("id",)
    assert shape.foreign_keys == ((("x", "y"), "parent", ("b", "a")),)
    assert source.describe(stream(table="parent")).primary_key == ("b", "a")
    assert read_all(source, table="child").to_pylist() == [{"id": 1, "x": 2, "y": 3, "z": 5}]
    assert read_all(source, table="seen").to_pylist() == [{"id": 1, "x": 2}]


FORMS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f+00:00"]


@pytest.mark.parametrize("form", FORMS)
@given(
    seconds=st.lists(st.integers(-90_000, 90_000), max_size=8),
    window=st.tuples(st.integers(-25, 25), st.integers(0, 30)),
)
def test_a_window_over_iso_text_is_half_open(
    tmp_path_factory: pytest.TempPathFactory, form: str, seconds: list[int], window: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("iso")
    base = datetime(2026, 3, 1, tzinfo=UTC)
    at = [base + timedelta(seconds=s) for s in seconds] + [base + timedelta(hours=window[0])]
    with closing(sqlite3.connect(folder / "x.db")) as db, db:
        db.execute("CREATE TABLE t (n INTEGER, at TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(n, a.strftime(form)) for n, a in enumerate(at)])
    iso = open_source({"kind": "sqlite", "path": "x.db"}, load_settings({"SIS_PROJECT_DIR": str(folder)}))
    start = base + timedelta(hours=window[0])
    bounds = Window(start, start + timedelta(hours=window[1]))
    request = ReadRequest(stream(table="t", sync={"mode": "incremental", "cursor": "at"}), window=bounds)
    assert column(read(iso, request), "n") == [n for n, a in enumerate(at) if bounds.start <= a < bounds.end]


def test_offsets_are_compared_as_instants(db: sqlite3.Connection, source: Source) -> None:
    db.execute("CREATE TABLE t (at TEXT)")
    db.executemany(
        "INSERT INTO t VALUES (?)", [("2026-01-01T23:30:00-05:00",), ("2026-01-02T00:30:00+09:00",)]
    )
    start = datetime(2026, 1, 2, tzinfo=UTC)
    request = ReadRequest(
        stream(table="t", sync={"mode": "incremental", "cursor": "at"}),
        window=Window(start, start + timedelta(days=1)),
    )
    assert column(read(source, request), "at") == ["2026-01-01T23:30:00-05:00"]


@pytest.mark.parametrize("value", ["01/02/2026", 1767225600, "", "tomorrow", "2026-13-01"])
def test_a_cursor_that_is_no_time_stops_a_partition_s_read(
    db: sqlite3.Connection, source: Source, value: Any
) -> None:
    db.execute("CREATE TABLE t (at DATETIME)")
    db.executemany("INSERT INTO t VALUES (?)", [("2026-01-01",), (value,)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    declared = stream(table="t", sync={"mode": "incremental", "cursor": "at"})
    with pytest.raises(DataError, match=r"'at'.*1"):
        read(source, ReadRequest(declared, window=Window(start, start + timedelta(days=1))))


def test_the_file_cannot_be_written(db: sqlite3.Connection, source: Source, path: Path) -> None:
    db.execute("CREATE TABLE t (a INTEGER)")
    before = path.read_bytes()
    for query in (
        "DELETE FROM t",
        "SELECT 1; DROP TABLE t",
        "PRAGMA writable_schema = 1",
        "SELECT writefile('x', 'y')",
    ):
        with pytest.raises(ConfigError):
            read(source, ReadRequest(stream(query=query)))
    read_all(source, query="SELECT a FROM t")
    source.probe()
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_token_differs_after_every_commit_and_only_then(
    db: sqlite3.Connection, source: Source, journal: str
) -> None:
    db.execute(f"PRAGMA journal_mode = {journal}")
    db.execute("CREATE TABLE t (a INTEGER)")
    request = ReadRequest(stream(table="t"))
    seen = {source.token(request)}
    for number in range(30):
        db.execute("INSERT INTO t VALUES (?)" if number % 2 else "DELETE FROM t WHERE a = ?", (number,))
        if number == 20:
            db.execute("PRAGMA wal_checkpoint(RESTART)")
        token = source.token(request)
        assert read(source, request) is not None
        assert source.token(request) == token
        if number % 2:
            assert token not in seen
        seen.add(token)


def test_a_reader_sees_one_state_while_the_customer_writes(db: sqlite3.Connection, source: Source) -> None:
    db.execute("PRAGMA journal_mode = wal")
    db.execute("CREATE TABLE t (a INTEGER)")
    db.execute(
        "INSERT INTO t WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 50000) SELECT n FROM s"
    )
    with source.read(ReadRequest(stream(table="t"), batch_rows=100)) as batches:
        batches.read_next_batch()
        db.execute("DELETE FROM t")
        assert batches.read_all().num_rows == 49_900


def test_a_file_that_is_missing_or_no_database_is_told(tmp_path: Path) -> None:
    settings = load_settings({"SIS_PROJECT_DIR": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"no database file .*absent\.db"):
        open_source({"kind": "sqlite", "path": "absent.db"}, settings).probe()
    (tmp_path / "text.db").write_text("not a database " * 100)
    with pytest.raises(ConfigError, match="not a database"):
        open_source({"kind": "sqlite", "path": "text.db"}, settings).probe()


def test_a_query_with_a_bad_column_is_told(db: sqlite3.Connection, source: Source) -> None:
    db.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(ConfigError, match="no such column"):
        source.describe(stream(query="SELECT b FROM t"))


_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
VALUES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "a": ("INTEGER", st.integers(-(2**63), 2**63 - 1)),
    "b": ("REAL", st.floats(allow_nan=False)),
    "c": ("TEXT", _TEXT),
    "d": ("BLOB", st.binary()),
    "e": ("BOOLEAN", st.booleans()),
    "f": ("NUMERIC", st.floats(allow_nan=False, allow_infinity=False)),
    "g": ("NUMERIC", st.integers(-(2**63), 2**63 - 1)),
}
_ROWS = st.lists(st.tuples(*(st.one_of(st.none(), values) for _, values in VALUES.values())), max_size=5)


@given(rows=_ROWS)
def test_any_value_of_a_supported_type_survives_source_to_arrow(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with closing(sqlite3.connect(folder / "x.db")) as db, db:
        db.execute(f"CREATE TABLE t ({', '.join(f'{n} {t}' for n, (t, _) in VALUES.items())})")
        db.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(VALUES))})", rows)
    any_source = open_source(
        {"kind": "sqlite", "path": "x.db"}, load_settings({"SIS_PROJECT_DIR": str(folder)})
    )
    table = read_all(any_source, table="t")
    for name, values in zip(VALUES, zip(*rows, strict=True), strict=False):
        found = column(table, name)
        if name == "f":
            found = [None if v is None else float(v) for v in found]
        if name == "g":
            found = [None if v is None else int(v) for v in found]
        assert found == list(values), name


def test_an_error_of_the_file_is_ours(db: sqlite3.Connection, source: Source, path: Path) -> None:
    db.execute("CREATE TABLE t (a TEXT)")
    db.execute(
        "INSERT INTO t WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 20000) SELECT hex(randomblob(50)) FROM s"
    )
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 50_000)
    with pytest.raises(SisError):
        read_all(source, table="t")

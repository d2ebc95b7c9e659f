"""DuckDB files: types, isolation, locks."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError, DataError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.kinds.duckdb import Config, DuckdbSource
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.sources.reading import read, stream

TYPES = {
    "h": ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
    "ub": ("18446744073709551615::UBIGINT", 18446744073709551615),
    "u": (
        "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::UUID",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    ),
    "e": ("'b'::ENUM('a','b')", "b"),
    "iv": ("INTERVAL '1 month 2 days'", "1 month 2 days"),
    "l": ("[1, NULL, 3]", [1, None, 3]),
    "s": ("{'a': 1, 'b': 'x'}", {"a": 1, "b": "x"}),
    "m": ("MAP {'k': 1}", '{"k":1}'),
    "b": ("'\\xAA'::BLOB", b"\xaa"),
    "d": ("12.30::DECIMAL(38,2)", __import__("decimal").Decimal("12.30")),
    "t": ("'größe 😀'", "größe 😀"),
    "n": ("NULL::INTEGER", None),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "customer.duckdb"
    with duckdb.connect(str(found)) as db:
        db.execute("CREATE TABLE kinds AS SELECT " + ", ".join(f"{v} AS {n}" for n, (v, _) in TYPES.items()))
        db.execute("CREATE TABLE ends AS SELECT 'infinity'::TIMESTAMP AS at")
        db.execute("CREATE VIEW half AS SELECT i FROM range(10) t(i) WHERE i % 2 = 0")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    return found


@pytest.fixture
def source(path: Path, project: Settings) -> Source:
    return open_source({"kind": "duckdb", "path": str(path)}, project)


def test_every_type_arrives_without_loss(source: Source) -> None:
    (row,) = read(source, ReadRequest(stream(table="kinds"))).to_pylist()
    assert row == {n: value for n, (_, value) in TYPES.items()}


def test_infinity_is_told_and_not_changed(source: Source) -> None:
    with pytest.raises(DataError, match="column 'at' holds infinity"):
        read(source, ReadRequest(stream(table="ends")))


def test_a_value_that_cannot_be_converted_is_not_told(source: Source) -> None:
    query = "SELECT CAST(a || 's3cret' AS INTEGER) AS n FROM (SELECT t AS a FROM kinds)"
    with pytest.raises(DataError, match="Could not convert") as caught:
        read(source, ReadRequest(stream(query=query)))
    assert "s3cret" not in str(caught.value) and "größe" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT CAST(v AS INTEGER) AS n FROM (VALUES ('it''s 7777777777')) t(v)",
        "SELECT strptime(v, '%Y') AS n FROM (VALUES ('year 7777777777')) t(v)",
        "SELECT CAST(v AS INTEGER) AS n FROM (VALUES (7777777777)) t(v)",
        "SELECT v * v AS n FROM (VALUES (7777777777)) t(v)",
        "SELECT regexp_matches('a', v) AS n FROM (VALUES ('(7777777777')) t(v)",
    ],
)
def test_an_error_about_a_value_holds_it_in_no_form(source: Source, query: str) -> None:
    with pytest.raises((DataError, ConfigError), match=r"[Cc]heck the .*values") as caught:
        read(source, ReadRequest(stream(query=query)))
    assert "777" not in str(caught.value)


def test_views_and_queries_are_read(source: Source) -> None:
    assert read(source, ReadRequest(stream(table="main.half"))).column("i").to_pylist() == [0, 2, 4, 6, 8]
    query = "SELECT count(*) AS c, max(i) AS d FROM half"
    assert read(source, ReadRequest(stream(query=query))).to_pylist() == [{"c": 5, "d": 8}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM 'secret.csv'",
        'SELECT * FROM "{folder}/secret.csv"',
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT getenv('HOME')",
        "SELECT * FROM duckdb_secrets()",
        "SELECT current_setting('home_directory')",
        "COPY kinds TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.db'",
        "INSTALL httpfs",
        "SELECT 1; DROP TABLE kinds",
        "PRAGMA database_list",
        "FROM read_parquet('s3://bucket/x')",
        "SELECT * FROM query('DROP TABLE kinds')",
    ],
)
def test_a_query_reaches_nothing_but_the_database(source: Source, path: Path, query: str) -> None:
    with pytest.raises(ConfigError):
        read(source, ReadRequest(stream(query=query.replace("{folder}", str(path.parent)))))
    assert sorted(p.name for p in path.parent.iterdir()) == ["customer.duckdb", "secret.csv"]


def test_a_file_that_is_open_for_writing_elsewhere_is_tried_again(source: Source, path: Path) -> None:
    code = (
        f"import duckdb, sys; db = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(TransientError, match="another process has the database file open"):
            source.probe()
    finally:
        writer.communicate("")
    assert source.probe().server.startswith("DuckDB")


def test_batches_are_bounded(source: Source, path: Path) -> None:
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE TABLE many AS SELECT i, md5(i::VARCHAR) AS t FROM range(300_000) r(i)")
    with source.read(ReadRequest(stream(table="many"), batch_rows=10_000)) as batches:
        sizes = [b.num_rows for b in batches]
    assert sum(sizes) == 300_000
    assert max(sizes) <= 10_000
    assert pa.total_allocated_bytes() < 200 << 20


def test_what_a_query_spills_goes_to_the_scratch_folder(path: Path, project: Settings) -> None:
    source = DuckdbSource(Config(path=str(path)), project)
    with source._open() as db, source._open() as other:
        for connection in (db, other):
            ((at, outside),) = connection.execute(
                "SELECT current_setting('temp_directory'), current_setting('enable_external_access')"
            ).fetchall()
            assert (Path(at).parent, outside) == (project.scratch_dir, False)

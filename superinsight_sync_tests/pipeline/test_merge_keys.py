"""Sources whose keys are not what they should be: several rows of one key in one read, and rows without a key."""

from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import DataError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.pipeline.inspect import set_aside
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream

SYNC: dict[str, dict[str, Any]] = {
    "incremental": {"mode": "incremental", "cursor": "u"},
    "full": {"mode": "full", "cursor": "u", "disposition": "merge"},
}
SAVES: dict[str, dict[str, Any]] = {
    "lake": {},
    "memory": {"strategy": "memory"},
    "hybrid": {"strategy": "hybrid"},
    "database": {"strategy": "database", "dsn": "{{ env.WAREHOUSE_DSN }}"},
}
CASES = [("incremental", "lake"), ("incremental", "database"), *(("full", save) for save in SAVES)]


def source_of(folder: Path, lines: str, sync: dict[str, Any], **stream: Any) -> SourceSpec:
    (folder / "notes.csv").write_text("id,part,u,v\n" + lines)
    types = {"id": "int64", "part": "string", "u": "timestamp"}
    spec = {
        "name": "notes",
        "path": "notes.csv",
        "format": {"columns": types},
        "primary_key": ["id"],
        **stream,
    }
    connection = {"kind": "files", "path": str(folder)}
    return SourceSpec.model_validate(
        {"name": "crm", "connection": connection, "streams": [{**spec, "sync": sync}]}
    )


@pytest.mark.parametrize(("how", "save"), CASES)
def test_the_greatest_cursor_of_a_key_wins_and_a_null_in_a_key_is_set_aside(
    how: str, save: str, engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if save == "database":
        dsn = request.getfixturevalue("postgres_server").create_database()
        request.getfixturevalue("monkeypatch").setenv("WAREHOUSE_DSN", dsn)
    lines = (
        "1,a,2024-01-02,new\n,a,2024-01-02,nobody\n1,a,2024-01-01,old\n2,b,,none\n,b,2024-01-03,nobody else\n"
    )
    source = source_of(tmp_path, lines, SYNC[how], save={"raw": SAVES[save]} if SAVES[save] else None)
    stream = source.streams[0]
    done = pull_stream(engine, source, stream)
    raw = table_of(source, stream, "raw")
    rows = engine.store(source, stream, "raw").scan(raw).read_all().to_pylist()
    assert sorted((r["id"], r["v"]) for r in rows) == [(1, "new"), (2, "none")]
    kept = set_aside(engine, raw, 10)
    assert sorted(str(r["record"]).split('"v": ')[1][:8] for r in kept) == ['"nobody ', '"nobody"']
    assert {r["reason"] for r in kept} == {"a NULL in the primary key: 'id'"}
    assert (done.unreadable, done.stats.discarded_rows) == (2, 2)
    pull_stream(engine, source, stream, force=True)
    assert len(set_aside(engine, raw, 10)) == 2, "once, however often it is read"


def test_a_null_in_any_part_of_a_key_fails_the_read_where_that_is_declared(
    engine: Engine, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"primary_key": ["id", "part"], "on_row_error": "fail"}
    source = source_of(tmp_path, "1,a,2024-01-01,x\n1,,2024-01-01,y\n", SYNC["incremental"], **keys)
    with pytest.raises(DataError, match="a NULL in the primary key: 'part'"):
        pull_stream(engine, source, source.streams[0])
    assert not engine.lake.exists(TableRef("default", "crm", "notes", "raw"))


def test_refined_rows_of_an_appended_stream_are_those_of_a_refine_of_all(
    engine: Engine, tmp_path: Path
) -> None:
    sync = {**SYNC["incremental"], "disposition": "append"}
    lines = "1,a,2024-01-01,x\n,a,2024-01-01,y\n"
    for more in ("", "1,a,2024-01-03,z\n,a,2024-01-02,w\n"):
        source = source_of(tmp_path, lines + more, sync)
        pull_stream(engine, source, source.streams[0])
        refine_stream(engine, source, source.streams[0])
    refined = engine.lake.scan(TableRef("default", "crm", "notes", "refined"), columns=["v"]).read_all()
    assert sorted(refined["v"].to_pylist()) == ["w", "x", "y", "z"]

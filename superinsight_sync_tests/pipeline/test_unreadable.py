"""Lines of files that are no records are kept with their reason, and the rest lands."""

from pathlib import Path

import pytest

from superinsight_sync.core.errors import DataError
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream

RAW = TableRef("default", "drop", "sales", "raw")


def declared(folder: Path, **stream: object) -> SourceSpec:
    entry = {"name": "sales", "path": "*.csv", **stream}
    return SourceSpec.model_validate(
        {"name": "drop", "connection": {"kind": "files", "path": str(folder)}, "streams": [entry]}
    )


def test_a_ragged_line_is_kept_with_its_reason_and_gone_when_mended(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.csv").write_text("id,name\n1,one\n2,two,too,many\n3,three\n")
    source = declared(folder)
    pulled = pull_stream(engine, source, source.streams[0])
    assert (pulled.table_rows, pulled.unreadable) == (2, 1)
    kept = engine.lake.scan(RAW.at("unreadable")).read_all().to_pylist()
    assert [(r["file"], r["line"], r["record"]) for r in kept] == [("a.csv", 3, "2,two,too,many")]

    (folder / "a.csv").write_text("id,name\n1,one\n2,two\n3,three\n")
    pulled = pull_stream(engine, source, source.streams[0])
    assert (pulled.table_rows, pulled.unreadable) == (3, 0)
    assert engine.lake.count(RAW.at("unreadable")) == 0


def test_with_on_row_error_fail_a_ragged_line_stops_the_pull(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.csv").write_text("id,name\n1,one\n2,two,too,many\n")
    source = declared(folder, on_row_error="fail")
    with pytest.raises(DataError, match=r"a\.csv"):
        pull_stream(engine, source, source.streams[0])
    assert not engine.lake.exists(RAW)


def test_what_was_set_aside_is_listed_with_file_line_and_reason(engine: Engine, tmp_path: Path) -> None:
    from superinsight_sync.pipeline.inspect import set_aside
    from superinsight_sync.pipeline.refine import refine_stream

    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.csv").write_text("id,name\n1,one\n2,two,too,many\nx,three\n")
    source = declared(folder, refine=[{"step": "cast", "columns": {"id": "int64"}}])
    pull_stream(engine, source, source.streams[0])
    refine_stream(engine, source, source.streams[0])
    listed = set_aside(engine, RAW, 10)
    assert [r["rule"] for r in listed][1:] == ["unreadable"]
    assert "a.csv, line 3" in listed[1]["reason"]
    assert listed[1]["record"] == "2,two,too,many"
    assert set_aside(engine, RAW, 1) == listed[:1]

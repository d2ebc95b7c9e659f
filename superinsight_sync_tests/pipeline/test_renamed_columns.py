"""A row whose columns changed their names is another row, whatever its values and their order."""

from pathlib import Path

import pytest

from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.pull import pull_stream

SYNCS = {
    "merge by hash": {"mode": "incremental", "by": "hash"},
    "full, merged": {"mode": "full", "disposition": "merge"},
    "full": {"mode": "full"},
}


@pytest.mark.parametrize("sync", SYNCS.values(), ids=SYNCS)
@pytest.mark.parametrize("header", ["id,title,b", "id,b,a", "b,id,a"])
def test_values_follow_the_names(engine: Engine, tmp_path: Path, sync: dict[str, str], header: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = SourceSpec.model_validate(
        {
            "name": "s",
            "connection": {"kind": "files", "path": str(folder), "settle": "0s"},
            "streams": [{"name": "t", "path": "a.csv", "primary_key": ["id"], "sync": sync}],
        }
    )
    for names in ("id,a,b", header):
        (folder / "a.csv").write_text(f"{names}\n1,1,2\n")
        pull_stream(open_engine("again", engine.settings), source, source.streams[0])
    (row,) = engine.lake.scan(TableRef("default", "s", "t", "raw")).read_all().to_pylist()
    named = dict(zip(header.split(","), ("1", "1", "2"), strict=True))
    assert {name: str(row[name]) for name in named} == named

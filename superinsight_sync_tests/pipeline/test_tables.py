"""Tables that users' own assets read and land: from where they are kept, batch by batch."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.tables import Commit, TableRef
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.own_tables import land_table, read_table
from superinsight_sync.pipeline.project import load_project
from superinsight_sync_tests.orchestration.test_loading import project
from superinsight_sync_tests.servers.postgres import PostgresServer

OWN = TableRef("default", "mine", "big", "refined")
STREAMING = """
import json, resource, sys
import numpy as np, pyarrow as pa
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.own_tables import land_table

schema = pa.schema([("id", pa.int64()), ("value", pa.float64())])
made = 0

def batches(count):
    global made
    for n in range(count):
        rng = np.random.default_rng(n)
        made += 65_536
        yield pa.record_batch([np.arange(n * 65_536, (n + 1) * 65_536), rng.random(65_536)], schema=schema)

engine = open_engine("run-1", load_settings({"SIS_PROJECT_DIR": sys.argv[1]}))
table = TableRef("default", "mine", "big", "refined")

def peak_mb(count):
    land_table(engine, table, pa.RecordBatchReader.from_batches(schema, batches(count)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

few, many = peak_mb(40), peak_mb(640)
print(json.dumps({"few_mb": few, "many_mb": many, "rows": engine.lake.count(table)}))
"""


def test_a_returned_reader_is_landed_in_bounded_memory(tmp_path: Path) -> None:
    """640 batches are 640 MB as Arrow; 40 of them went before, so that what a commit needs is there already."""
    project(tmp_path, {})
    done = subprocess.run(
        [sys.executable, "-c", STREAMING, str(tmp_path)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == 640 * 65_536
    assert found["many_mb"] - found["few_mb"] < 150, found


@pytest.fixture
def engine(tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("WAREHOUSE_DSN", postgres_server.create_database())
    saves = {
        "lake": "persistent",
        "run": "memory",
        "either": {"strategy": "hybrid", "max_memory": "1MB"},
        "warehouse": {"strategy": "database", "dsn": "{{ env.WAREHOUSE_DSN }}", "table": "mart.rows"},
    }
    streams = [{"name": n, "table": n, "save": {"refined": save}} for n, save in saves.items()]
    attributes = {"name": "web", "connection": {"kind": "sqlite", "path": "web.db"}, "streams": streams}
    declared = {"type": "superinsight_sync.SyncSource", "attributes": attributes}
    project(tmp_path, {"web": yaml.safe_dump(declared)})
    return open_engine("run-1", load_settings({"SIS_PROJECT_DIR": str(tmp_path)}))


@pytest.mark.parametrize("stream", ["lake", "run", "either", "warehouse"])
def test_a_table_is_read_from_where_its_stream_keeps_it(engine: Engine, stream: str) -> None:
    source, declared = load_project(engine.settings).stream(f"web.{stream}")
    rows = pa.table({"page": ["a", "b"]})

    def read() -> pa.RecordBatchReader:
        return add_system_columns(rows.to_reader(), load_id="one", extracted_at=utc_now())

    table = TableRef("default", "web", stream, "refined")
    engine.store(source, declared, "refined").replace(table, read, Commit("one"))
    assert read_table(engine, table).read_all()["page"].to_pylist() == ["a", "b"]
    engine.release()


def test_a_reader_is_not_landed_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a commit lost a race the rows would have to be read again: nothing may land as if they were none."""
    from superinsight_sync.lake import delta

    real, lost = delta.write_whole, []

    def lose(*args: object, **kwargs: object) -> None:
        if not lost:
            lost.append(True)
            list(args[1])  # type: ignore[call-overload]
            raise delta_errors.LostRaceError("another writer committed at the same time")
        real(*args, **kwargs)  # type: ignore[arg-type]

    from superinsight_sync.lake import delta_errors

    monkeypatch.setattr(delta, "write_whole", lose)
    with pytest.raises(TransientError, match="the rows are gone by"):
        land_table(engine, OWN, pa.table({"a": [1]}).to_reader())
    lost.clear()
    assert land_table(engine, OWN, pa.table({"a": [1, 2]})).rows == 2

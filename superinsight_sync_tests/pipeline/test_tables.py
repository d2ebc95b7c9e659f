"""Tables that users' own assets read and land: from where they are kept, batch by batch."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
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
from superinsight_sync_tests.lake.rows import reads
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


def meanwhile(rows: pa.Table, work: Callable[[], object]) -> pa.RecordBatchReader:
    """A reader, before whose end something else happens."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches()
        work()

    return pa.RecordBatchReader.from_batches(rows.schema, batches())


def test_a_reader_lands_also_where_another_process_wrote_at_the_same_time(engine: Engine) -> None:
    land_table(engine, OWN, pa.table({"a": [0]}))
    late = meanwhile(pa.table({"a": [1, 2]}), lambda: land_table(engine, OWN, pa.table({"a": [9]})))
    assert land_table(engine, OWN, late).rows == 2
    assert read_table(engine, OWN).read_all()["a"].to_pylist() == [1, 2]


def test_a_reader_is_not_landed_as_if_it_were_empty(engine: Engine) -> None:
    """Where the rows would have to be read again."""
    land_table(engine, OWN, pa.table({"a": [0]}))

    def repartition() -> None:
        rows = pa.table({"a": [9], "_sis_partition": ["k"]})
        engine.lake.replace(OWN, reads(rows, "two", by=None), Commit("two"))

    with pytest.raises(TransientError, match="the rows are gone by"):
        land_table(engine, OWN, meanwhile(pa.table({"a": [1]}), repartition))
    assert read_table(engine, OWN).read_all()["a"].to_pylist() == [9]

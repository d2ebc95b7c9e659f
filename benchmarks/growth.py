"""How cost grows with the shape of the data: each line at three sizes, with the exponent between the last two.

    python benchmarks/growth.py [line …] [--scale 1.0]

An exponent of 1 is linear; 0 says that the cost does not follow the size. CPU seconds are of the step that the line
names, peak memory is of the whole process, which also made the data. Nothing fails: `make test` counts the work.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))

import pyarrow as pa
import pyarrow.parquet as pq

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.pipeline.describe import describe_stream
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync.pipeline.export import export_dataset
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream

BY_FILE = {"mode": "incremental", "cursor": "_sis_file_modified_at"}
Step = Callable[[], object]
LEAST_CPU_S = 0.01
"""Below it a clock of hundredths shows nothing."""


class Shop:
    """One stream of Parquet files, and the verbs on it."""

    def __init__(self, folder: Path, refine: list[dict[str, Any]] | None = None, **stream: Any) -> None:
        self.folder = folder
        self.engine: Engine = open_engine("growth", load_settings({"SIS_PROJECT_DIR": str(folder)}))
        entry = {"name": "s", "path": "*.parquet", "refine": refine or [], **stream}
        connection = {"kind": "files", "path": str(folder), "settle": "0s"}
        self.source = SourceSpec.model_validate(
            {"name": "shop", "connection": connection, "streams": [entry]}
        )
        self.stream: StreamSpec = self.source.streams[0]

    def file(self, name: str, rows: pa.Table) -> None:
        pq.write_table(rows, self.folder / f"{name}.parquet", row_group_size=100_000)

    def pull(self) -> object:
        return pull_stream(self.engine, self.source, self.stream)

    def refine(self) -> object:
        return refine_stream(self.engine, self.source, self.stream)

    def describe(self) -> object:
        return describe_stream(self.engine, self.source, self.stream)

    def export(self) -> object:
        spec = {
            "name": "d",
            "inputs": {"rows": "shop/s"},
            "select": "SELECT * FROM rows",
            "formats": ["parquet"],
        }
        return export_dataset(self.engine, DatasetSpec.model_validate(spec))


def numbers(rows: int, columns: int, first: int = 0) -> pa.Table:
    ids = pa.array(range(first, first + rows), pa.int64())
    return pa.table(
        {"id": ids, **{f"c{n}": [f"{(i * 7 + n) % 1_000}" for i in range(rows)] for n in range(columns - 1)}}
    )


def rows_refined(folder: Path, rows: int) -> Step:
    shop = Shop(folder, [{"step": "cast", "columns": {f"c{n}": "int64" for n in range(6)}}])
    for part in range(0, rows, 250_000):
        shop.file(f"p{part}", numbers(min(250_000, rows - part), 12, part))
    shop.pull()
    return shop.refine


PYPROJECT = """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "growing"
code_location_target_module = "growing.definitions"
defs_module = "growing.defs"
"""
DEFINITIONS = """
from pathlib import Path
import dagster as dg
from superinsight_sync.orchestration.loading import load_project_definitions

@dg.definitions
def defs() -> dg.Definitions:
    return load_project_definitions(Path(__file__).parent)
"""


def project(folder: Path, streams: int, crons: int) -> None:
    """A project of so many streams of ten rows each, ten of a source, on so many schedules."""
    package = folder / "growing"
    (package / "defs").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "dagster.yaml").write_text((HERE / "dagster.yaml").read_text())
    (package / "__init__.py").touch()
    (package / "defs" / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    for first in range(0, streams, 10):
        entries = []
        for n in range(first, min(first + 10, streams)):
            (folder / "data" / f"s{n}").mkdir(parents=True)
            pq.write_table(numbers(10, 4), folder / "data" / f"s{n}" / "a.parquet")
            schedule = {"schedule": f"{n % crons % 60} {n % crons // 60} * * *"} if crons else {}
            entries.append({"name": f"s{n}", "path": f"s{n}/*.parquet", **schedule})
        connection = {"kind": "files", "path": str(folder / "data"), "settle": "0s"}
        attributes = {"name": f"f{first}", "connection": connection, "streams": entries}
        (package / "defs" / f"f{first}").mkdir()
        (package / "defs" / f"f{first}" / "defs.yaml").write_text(
            json.dumps({"type": "superinsight_sync.SyncSource", "attributes": attributes})
        )
    os.environ |= {"SIS_PROJECT_DIR": str(folder), "DAGSTER_HOME": str(folder)}


def project_loaded(folder: Path, streams: int) -> Step:
    """The code location, with a schedule for each five streams."""
    project(folder, streams, max(1, streams // 5))
    from superinsight_sync.cli.project_definitions import definitions

    return lambda: definitions().get_repository_def()


def streams_run(folder: Path, streams: int, *, again: bool) -> Step:
    """Raw, refined and dictionary of each, in one run; `again` where nothing is new."""
    project(folder, streams, 0)
    from superinsight_sync.cli.project_definitions import definitions
    from superinsight_sync.orchestration.running import plan_runs, run_all, select

    defs = definitions()
    step: Step = partial(run_all, defs, plan_runs(defs, select(defs, "*")))
    if again:
        step()
    return step


def columns_described(folder: Path, columns: int) -> Step:
    shop = Shop(folder)
    shop.file("a", numbers(1_000, columns))
    shop.pull()
    shop.refine()
    return shop.describe


def columns_exported(folder: Path, columns: int) -> Step:
    shop = Shop(folder)
    shop.file("a", numbers(10_000, columns))
    shop.pull()
    shop.refine()
    return shop.export


def long_cells_pulled(folder: Path, rows: int) -> Step:
    shop = Shop(folder)
    for part in range(0, rows, 500):
        count = min(500, rows - part)
        texts = [f"{i:08d}" * 12_500 for i in range(part, part + count)]
        shop.file(f"p{part}", pa.table({"id": range(part, part + count), "text": texts}))
    return shop.pull


def ten_new_rows(folder: Path, rows: int, verb: str) -> Step:
    """The verb after ten new rows, with one record in quarantine."""
    rule = {"step": "rule", "name": "known", "check": "id <> 5", "else": "quarantine"}
    shop = Shop(folder, [rule], sync=BY_FILE, primary_key=["id"])
    shop.file("a", numbers(rows, 8))
    for step in (shop.pull, shop.refine, shop.describe):
        step()
    shop.file("b", numbers(10, 8, rows))
    shop.pull()
    if verb == "describe":
        shop.refine()
    step: Step = getattr(shop, verb)
    return step


def small_commits(folder: Path, runs: int) -> Step:
    shop = Shop(folder, sync=BY_FILE, primary_key=["id"])
    for n in range(runs):
        shop.file("a", numbers(10, 4, 10 * n))
        shop.pull()
    shop.file("a", numbers(10, 4, 10 * runs))
    return shop.pull


def deliveries_waiting(folder: Path, waiting: int) -> Step:
    import hashlib

    from superinsight_sync.state.inbox import Inbox
    from superinsight_sync.state.inbox_writer import Delivery

    engine = open_engine("growth", load_settings({"SIS_PROJECT_DIR": str(folder)}))
    inbox = Inbox(engine.state.database, engine.settings.landing_dir)
    body = b'{"id": 1}'
    digest = hashlib.sha256(body).hexdigest()
    writer = inbox.writer()
    try:
        for n in range(waiting):
            made = Delivery(f"d{n}", "acme", "till", "s", f"d{n}", digest, "json", "", body, len(body), 1)
            writer.accept(inbox.prepared(made))
    finally:
        writer.close()
    return lambda: [inbox.waits([("acme", "till", "s")]) for _ in range(100)]


LINES: dict[str, tuple[Callable[[Path, int], Step], tuple[int, int, int]]] = {
    "rows refined": (rows_refined, (1_000_000, 2_000_000, 4_000_000)),
    "columns described": (columns_described, (100, 400, 1_600)),
    "columns exported": (columns_exported, (50, 100, 200)),
    "long cells pulled (100 kB)": (long_cells_pulled, (2_500, 5_000, 10_000)),
    "10 new rows refined": (lambda f, n: ten_new_rows(f, n, "refine"), (25_000, 100_000, 400_000)),
    "10 new rows described": (lambda f, n: ten_new_rows(f, n, "describe"), (25_000, 100_000, 400_000)),
    "100 looks at what waits": (deliveries_waiting, (1_000, 4_000, 16_000)),
    "a pull after so many": (small_commits, (10, 40, 160)),
    "a project loaded, crons a fifth": (project_loaded, (50, 200, 800)),
    "streams in a run": (partial(streams_run, again=False), (10, 30, 90)),
    "streams in a run, nothing new": (partial(streams_run, again=True), (10, 30, 90)),
}


def child(line: str, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        step = LINES[line][0](Path(folder), size)
        before = time.process_time()
        step()
        used = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"cpu_s": used, "peak_mb": peak}) + "\n")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("lines", nargs="*", help=f"of: {', '.join(LINES)}")
    options.add_argument("--scale", type=float, default=1.0, help="times the sizes")
    options.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.child is not None:
        child(asked.lines[0], asked.child)
        return
    sys.stdout.write(f"{'line':<34}{'size':>10}{'CPU s':>9}{'peak MB':>9}{'exponent':>10}\n")
    for line in asked.lines or LINES:
        last: tuple[int, float] | None = None
        for size in (max(1, int(n * asked.scale)) for n in LINES[line][1]):
            command = [sys.executable, __file__, line, "--child", str(size)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            found = json.loads(said)
            used = max(found["cpu_s"], LEAST_CPU_S)
            exponent = "" if last is None else f"{math.log(used / last[1]) / math.log(size / last[0]):.2f}"
            sys.stdout.write(
                f"{line:<34}{size:>10,}{found['cpu_s']:>9.2f}{found['peak_mb']:>9.0f}{exponent:>10}\n"
            )
            sys.stdout.flush()
            last = size, used


if __name__ == "__main__":
    main()

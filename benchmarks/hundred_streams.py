"""A hundred streams of one source in one Dagster run: CPU and memory per stream, by subtraction of a run of one."""

import resource
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing
from pathlib import Path

import yaml

STREAMS, ROWS = 100, 1_000
HERE = Path(__file__).parents[1]

RUN = """
import sys, time, resource
sys.path.insert(0, {home!r}); sys.path.insert(0, {folder!r})
from superinsight_sync.cli.project_definitions import definitions
from superinsight_sync.orchestration.running import plan_runs, run_all, select
defs = definitions()
outcome = run_all(defs, plan_runs(defs, select(defs, {selection!r})))
assert outcome.exit_code == 0, outcome.errors
assert all(a.rows == {rows} for a in outcome.assets.values())
print(len(outcome.assets), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def make_project(folder: Path) -> None:
    (folder / "proj" / "defs" / "many").mkdir(parents=True)
    (folder / "proj" / "__init__.py").touch()
    (folder / "proj" / "defs" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "proj"\n'
        'code_location_target_module = "proj.definitions"\ndefs_module = "proj.defs"\n'
    )
    (folder / "proj" / "definitions.py").write_text(
        textwrap.dedent("""
        from pathlib import Path
        import dagster as dg
        from superinsight_sync.orchestration.loading import load_project_definitions
        @dg.definitions
        def defs() -> dg.Definitions:
            return load_project_definitions(Path(__file__).parent)
        """)
    )
    (folder / "dagster.yaml").write_text((HERE / "dagster.yaml").read_text())
    with closing(sqlite3.connect(folder / "many.db")) as db, db:
        for n in range(STREAMS):
            db.execute(f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, name TEXT, at TEXT)")
            rows = [(i, f"name {i}", "2026-01-01T00:00:00Z") for i in range(ROWS)]
            db.executemany(f"INSERT INTO t{n} VALUES (?,?,?)", rows)
    source = {
        "type": "superinsight_sync.SyncSource",
        "attributes": {
            "name": "many",
            "connection": {"kind": "sqlite", "path": "many.db"},
            "streams": [{"name": f"t{n}", "table": f"t{n}", "primary_key": ["id"]} for n in range(STREAMS)],
        },
    }
    (folder / "proj" / "defs" / "many" / "defs.yaml").write_text(yaml.safe_dump(source))


def run(folder: Path, selection: str) -> tuple[int, float, float]:
    """Number of streams, CPU seconds, peak MB of a run of the selection in a process of its own."""
    code = RUN.format(home=str(HERE), folder=str(folder), selection=selection, rows=ROWS)
    env = {
        "PATH": "/usr/bin:/bin",
        "SIS_PROJECT_DIR": str(folder),
        "DAGSTER_HOME": str(folder),
        "HOME": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    streams, cpu_s, peak_mb = done.stdout.split()[-3:]
    return int(streams), float(cpu_s), float(peak_mb)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_project(folder)
        run(folder, "many/raw_t0")
        _, one_s, _ = run(folder, "many/raw_t0")
        streams, all_s, peak_mb = run(folder, "tag:stage=raw")
    per_stream_s = (all_s - one_s) / (streams - 1)
    print(f"{streams} streams of {ROWS:,} rows in one run: {all_s:.1f} s CPU (a run of one: {one_s:.1f} s)")
    print(f"per stream: {per_stream_s:.3f} s CPU, all told; peak memory {peak_mb:.0f} MB")
    print(f"children: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.1f} s user")


if __name__ == "__main__":
    main()

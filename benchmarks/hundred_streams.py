"""A hundred streams of 10,000 rows of one PostgreSQL database: as one Dagster run, and as a run each.

    python benchmarks/hundred_streams.py [--runs 10] [--rows 10000]

What a stream adds is told by subtraction of a run of one stream. Of the runs each, `--runs` are made, one process after
the other, and their time is scaled to a hundred.
"""

import argparse
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))

STREAMS = 100

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


def make_project(folder: Path, dsn: str, rows: int) -> None:
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
    with psycopg.connect(dsn, autocommit=True) as db:
        for n in range(STREAMS):
            db.execute(
                f"CREATE TABLE t{n} AS SELECT i AS id, 'name ' || i AS name, i * 0.5 AS amount,"
                f" now() AS at FROM generate_series(1, {rows}) i"
            )
            db.execute(f"ALTER TABLE t{n} ADD PRIMARY KEY (id)")
    source = {
        "type": "superinsight_sync.SyncSource",
        "attributes": {
            "name": "many",
            "connection": {"kind": "postgres", "dsn": "{{ env.MANY_DSN }}"},
            "streams": [
                {"name": f"t{n}", "table": f"public.t{n}", "primary_key": ["id"]} for n in range(STREAMS)
            ],
        },
    }
    (folder / "proj" / "defs" / "many" / "defs.yaml").write_text(yaml.safe_dump(source))


@dataclass(frozen=True)
class Run:
    streams: int
    cpu_s: float
    wall_s: float
    peak_mb: float


def run(folder: Path, dsn: str, selection: str, rows: int) -> Run:
    """A Dagster run of the selection in a process of its own, its start included."""
    code = RUN.format(home=str(HERE), folder=str(folder), selection=selection, rows=rows)
    env = {
        "PATH": "/usr/bin:/bin",
        "SIS_PROJECT_DIR": str(folder),
        "DAGSTER_HOME": str(folder),
        "HOME": str(folder),
        "MANY_DSN": dsn,
    }
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    streams, cpu_s, peak_mb = done.stdout.split()[-3:]
    return Run(int(streams), float(cpu_s), time.perf_counter() - started, float(peak_mb))


def main() -> None:
    from superinsight_sync_tests.servers.postgres import running_postgres

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, running_postgres() as server:
        folder, dsn = Path(scratch), server.create_database()
        make_project(folder, dsn, options.rows)
        run(folder, dsn, "many/raw_t0", options.rows)
        each = [run(folder, dsn, f"many/raw_t{n}", options.rows) for n in range(options.runs)]
        whole = run(folder, dsn, "tag:stage=raw", options.rows)
    scale = STREAMS / options.runs
    cpu_s, wall_s = sum(r.cpu_s for r in each) * scale, sum(r.wall_s for r in each) * scale
    print(f"{STREAMS} streams of {options.rows:,} rows, process starts included")
    print(f"{'':<26}{'CPU s':>9}{'wall s':>9}{'peak MB':>10}")
    print(f"{'one run':<26}{whole.cpu_s:>9.1f}{whole.wall_s:>9.1f}{whole.peak_mb:>10.0f}")
    print(f"{'a run each (scaled)':<26}{cpu_s:>9.1f}{wall_s:>9.1f}{max(r.peak_mb for r in each):>10.0f}")
    overhead_s = (whole.cpu_s - cpu_s / STREAMS) / (whole.streams - 1)
    print(f"a stream adds {overhead_s:.3f} s CPU to a run, its rows, event, commit and checkpoint included")


if __name__ == "__main__":
    main()

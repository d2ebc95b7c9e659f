"""PostgreSQL → lake against dlt and pandas, in one run.

    python benchmarks/pull_postgres.py --rows 1000000 [--rows 5000000] [--dsn postgresql://…]
        [--peers .bench-venv/bin/python] [--repeat 3]

Without a DSN a PostgreSQL server is started for the run. It also measures what no pull can do without: COPY to nowhere,
and writing the same Arrow data. With several numbers of rows it prints whether our peak memory stays where it was.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.data import CREATE, FILL, TABLE
from benchmarks.measure import Measured, check_rows, measure, median_of, show

HERE = Path(__file__).parent
PEERS = {
    "dlt connectorx → delta": "dlt_connectorx",
    "dlt default (sqlalchemy) → delta": "dlt_default",
    "pandas.read_sql → parquet": "pandas",
}

DECLARED = {
    "BENCH_CONNECTION": json.dumps({"kind": "postgres", "dsn": "{{ env.BENCH_DSN }}"}),
    "BENCH_STREAM": json.dumps({"table": f"public.{TABLE}", "primary_key": ["id"]}),
}

FLAT = 1.2
"""Peak memory that grows by no more than this from the least to the most rows counts as flat."""


def fill(dsn: str, rows: int) -> None:
    """Makes the table once, in steps of a million rows."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(CREATE)
        have = db.execute(f"SELECT coalesce(max(id), 0) FROM {TABLE}").fetchone()
        for first in range(have[0] + 1 if have else 1, rows + 1, 1_000_000):
            db.execute(FILL.format(first=first, last=min(first + 999_999, rows)))
        db.execute(f"DELETE FROM {TABLE} WHERE id > %s", (rows,))
        db.execute(f"VACUUM ANALYZE {TABLE}")


def tool(name: str, command: list[str], dsn: str, rows: int, scratch: str) -> Measured:
    env = {"BENCH_DSN": dsn, "BENCH_TABLE": TABLE, "BENCH_DIR": scratch, **DECLARED}
    return check_rows(measure(name, command, env), rows)


def run(dsn: str, options: argparse.Namespace, rows: int) -> Measured:
    """Prints the table for so many rows; our own measurement."""
    command = [sys.executable, str(HERE / "ours.py")]
    ours = median_of(partial(tool, "superinsight_sync → delta", command, dsn, rows), options.repeat)
    others = []
    for name, peer in PEERS.items() if options.peers else ():
        if not options.only or peer in options.only:
            command = [options.peers, str(HERE / "peers.py"), peer]
            others.append(median_of(partial(tool, name, command, dsn, rows), options.repeat))
    show(f"PostgreSQL, {rows:,} rows × 22 columns", ours, others)
    show_limit(ours, *limit(dsn, rows, options.repeat))
    return ours


def limit(dsn: str, rows: int, repeat: int | None) -> tuple[Measured, Measured]:
    """COPY to nowhere, and writing the same Arrow data to Delta, each alone."""
    wire = str(HERE / "wire.py")
    with tempfile.TemporaryDirectory() as folder:
        saved = {"BENCH_ARROW": f"{folder}/rows.arrow"}
        env = {"BENCH_DSN": dsn, "BENCH_TABLE": TABLE, **DECLARED, **saved}

        def part(name: str, what: str, scratch: str) -> Measured:
            return measure(name, [sys.executable, wire, what], {**env, "BENCH_DIR": scratch})

        part("save", "save", folder)
        copied = median_of(partial(part, "COPY binary to nowhere", "copy"), repeat)
        written = median_of(lambda s: check_rows(part("the same Arrow → delta", "write", s), rows), repeat)
    return copied, written


def show_limit(ours: Measured, copied: Measured, written: Measured) -> None:
    """How far our pull is from what it cannot do without."""
    for part in (copied, written):
        print(f"{part.name:<38}{part.cpu_s:>9.2f}{part.wall_s:>9.2f}{part.peak_mb:>10.0f}")
    ratio = ours.cpu_s / (copied.cpu_s + written.cpu_s)
    print(f"ours: × {ratio:.2f} of the CPU of these two together; wanted: at most × 1.5")


def show_growth(by_rows: dict[int, Measured]) -> None:
    """Whether our memory depends on the number of rows."""
    (few, small), *_, (many, large) = sorted(by_rows.items())
    growth = large.peak_mb / small.peak_mb
    word = "flat" if growth <= FLAT else "NOT flat"
    each = ", ".join(f"{m.peak_mb:.0f} MB at {rows:,} rows" for rows, m in sorted(by_rows.items()))
    print(f"\nour peak memory: {each}: × {growth:.2f} for × {many / few:g} rows, {word} (up to × {FLAT:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help="may be given several times")
    parser.add_argument("--repeat", type=int, help="runs of each tool, of which the median counts")
    parser.add_argument("--dsn")
    parser.add_argument("--peers", help="python of the environment that has the peers")
    parser.add_argument("--only", action="append", default=[], choices=PEERS.values())
    options = parser.parse_args()
    with ExitStack() as stack:
        dsn = options.dsn
        if dsn is None:
            from superinsight_sync_tests.servers.postgres import running_postgres

            dsn = stack.enter_context(running_postgres()).create_database()
        by_rows = {}
        for rows in sorted(set(options.rows or [1_000_000])):
            fill(dsn, rows)
            by_rows[rows] = run(dsn, options, rows)
    if len(by_rows) > 1:
        show_growth(by_rows)


if __name__ == "__main__":
    main()

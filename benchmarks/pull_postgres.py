"""PostgreSQL → lake against dlt and pandas, in one run.

    python benchmarks/pull_postgres.py --rows 1000000 [--dsn postgresql://…] [--peers .bench-venv/bin/python]

Without a DSN a PostgreSQL server is started for the run.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.data import CREATE, FILL, TABLE
from benchmarks.measure import Measured, measure, show

HERE = Path(__file__).parent
PEERS = {
    "dlt connectorx → delta": "dlt_connectorx",
    "dlt default (sqlalchemy) → delta": "dlt_default",
    "pandas.read_sql → parquet": "pandas",
}


def fill(dsn: str, rows: int) -> None:
    """Makes the table once, in steps of a million rows."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(CREATE)
        have = db.execute(f"SELECT coalesce(max(id), 0) FROM {TABLE}").fetchone()
        for first in range(have[0] + 1 if have else 1, rows + 1, 1_000_000):
            db.execute(FILL.format(first=first, last=min(first + 999_999, rows)))
        db.execute(f"DELETE FROM {TABLE} WHERE id > %s", (rows,))
        db.execute(f"VACUUM ANALYZE {TABLE}")


def check_rows(measured: Measured, rows: int) -> Measured:
    """A tool that wrote other than the table's rows gets no number."""
    if measured.output != f"rows={rows}":
        raise RuntimeError(f"{measured.name} wrote {measured.output}, not rows={rows}")
    return measured


def run(dsn: str, rows: int, peers_python: str | None, only: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        env = {"BENCH_DSN": dsn, "BENCH_TABLE": TABLE, "BENCH_DIR": scratch}
        ours = check_rows(
            measure("superinsight_sync → delta", [sys.executable, str(HERE / "ours.py")], env), rows
        )
        others = []
        for name, peer in PEERS.items() if peers_python else ():
            if not only or peer in only:
                command = [str(peers_python), str(HERE / "peers.py"), peer]
                others.append(check_rows(measure(name, command, env), rows))
    show(f"PostgreSQL, {rows:,} rows × 22 columns", ours, others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dsn")
    parser.add_argument("--peers", help="python of the environment that has the peers")
    parser.add_argument("--only", action="append", default=[], choices=PEERS.values())
    options = parser.parse_args()
    with ExitStack() as stack:
        dsn = options.dsn
        if dsn is None:
            from superinsight_sync_tests.servers.postgres import running_postgres

            dsn = stack.enter_context(running_postgres()).create_database()
        fill(dsn, options.rows)
        run(dsn, options.rows, options.peers, options.only)


if __name__ == "__main__":
    main()

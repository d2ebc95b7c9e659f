"""How long a commit at a PostgreSQL takes until the lake has it, what a change costs, and how much of that is decoding.

.venv/bin/python benchmarks/capture.py [--rate 200] [--seconds 20] [--backlog 200000]

An own server with synchronous commits, one table, a capture with its usual settings in this process. First transactions
of one change each, at even times: from the commit (the source's clock, in the log) to the commit in the lake (the time
in Delta's log). Then a backlog of changes, caught up with: CPU per change, beside reading and decoding the same log
without landing it.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psycopg

from superinsight_sync.capture.protocol import ChangeBatch, Pace, Resume, open_feed
from superinsight_sync.core.errors import StopRequested
from superinsight_sync.core.settings import load_settings
from superinsight_sync.core.stopping import StopSignal
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.capture import Capture
from superinsight_sync.pipeline.engine import Engine, open_engine, table_of
from superinsight_sync_tests.capture.bank import captured, caught_up
from superinsight_sync_tests.servers.postgres import running_postgres

TABLE = """CREATE TABLE accounts (id bigint PRIMARY KEY, owner text, balance numeric(12,2), note text,
                                  changed_at timestamptz DEFAULT now())"""
CHANGE = """INSERT INTO accounts VALUES (%s, %s, %s, repeat('x', 100))
            ON CONFLICT (id) DO UPDATE SET balance = excluded.balance, changed_at = now()"""


class Running:
    """A capture in a thread."""

    def __init__(self, engine: Engine, source: SourceSpec) -> None:
        self._stop = StopSignal()
        self._capture = Capture(engine, source)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._capture.run(self._stop)
        except StopRequested:
            return

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


def paced(dsn: str, rate: int, seconds: int) -> None:
    """So many transactions a second, at even times."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("SET synchronous_commit = on")
        began = time.monotonic()
        for n in range(rate * seconds):
            time.sleep(max(0.0, began + n / rate - time.monotonic()))
            db.execute(CHANGE, (n % 5_000, f"owner {n}", n / 7))


def latencies_ms(engine: Engine, source: SourceSpec) -> list[float]:
    """Of each change that no snapshot found."""
    log = table_of(source, source.streams[0], "changes")
    landed = {v.load_id: v.at for v in engine.lake.history(log, 1_000_000)}
    columns = ["_sis_op", "_sis_load_id", "_sis_committed_at"]
    rows = engine.lake.scan(log, columns=columns).read_all().to_pylist()
    return sorted(
        1000 * (landed[r["_sis_load_id"]] - r["_sis_committed_at"]).total_seconds()
        for r in rows
        if r["_sis_op"] in ("insert", "update")
    )


def write_backlog(dsn: str, changes: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        for first in range(0, changes, 20):
            with db.transaction(), db.cursor() as cursor:
                cursor.executemany(
                    CHANGE, [(n % 50_000, f"owner {n}", n / 7) for n in range(first, first + 20)]
                )


def decode_only(engine: Engine, source: SourceSpec, changes: int) -> float:
    """CPU microseconds a change, of reading and decoding into batches. Acknowledges nothing."""
    feed = open_feed(source, engine.settings, Pace())
    found, began = 0, time.process_time()
    with feed.follow(Resume()) as session:
        for item in session.items():
            found += item.rows.num_rows if isinstance(item, ChangeBatch) else 0
            if found >= changes:
                break
    return 1e6 * (time.process_time() - began) / found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--backlog", type=int, default=200_000)
    args = options.parse_args()
    with running_postgres() as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.create_database()
        engine = open_engine("bench", load_settings({"SIS_PROJECT_DIR": folder}))
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(TABLE)
        source = captured(dsn, {"table": "accounts"})
        running = Running(engine, source)
        caught_up(engine, source, dsn)
        before = time.process_time()
        paced(dsn, args.rate, args.seconds)
        caught_up(engine, source, dsn)
        cpu = (time.process_time() - before) / args.seconds
        running.end()
        found = latencies_ms(engine, source)
        cuts = statistics.quantiles(found, n=100)
        print(f"{args.rate} transactions/s for {args.seconds} s, commit to commit in the lake:")
        print(
            f"  p50 {cuts[49]:.0f} ms, p90 {cuts[89]:.0f} ms, p99 {cuts[98]:.0f} ms, most {found[-1]:.0f} ms"
        )
        print(f"  {100 * cpu:.0f} % of a core, with the clients that write and measure")
        write_backlog(dsn, args.backlog)
        decoding = decode_only(engine, source, args.backlog)
        began, cpu_began = time.perf_counter(), time.process_time()
        running = Running(engine, source)
        caught_up(engine, source, dsn)
        running.end()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        cost = 1e6 * cpu / args.backlog
        print(f"backlog of {args.backlog:,} changes: {args.backlog / wall:,.0f} changes/s")
        print(
            f"  {cost:.1f} µs of CPU a change, {cost / decoding:.1f} times reading and decoding alone ({decoding:.1f})"
        )
        print(f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at most")


if __name__ == "__main__":
    main()

"""Each kind of source → lake, against dlt and another peer, in one run.

    python benchmarks/pull_kinds.py --peers .bench-venv/bin/python [--kind csv --kind sqlite] [--rows 200000]

Every tool is a process of its own, its start included. Servers are started for the run and not counted. A run of less
than 20 CPU seconds is made three times, and the median counts. A tool that takes longer than --timeout is killed.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import kinds, served
from benchmarks.kinds import Prepare, Prepared
from benchmarks.measure import TIMEOUT_S, Measured, check_rows, measure, median_of, show

HERE = Path(__file__).parent
KINDS: dict[str, Prepare] = {
    "postgres": kinds.postgres,
    "mysql": kinds.mysql,
    "sqlite": kinds.sqlite,
    "duckdb": kinds.duckdb_file,
    "mongodb": served.mongodb,
    "rest": served.rest,
    "graphql": served.graphql,
    "soap": served.soap,
    "kafka": served.kafka,
    "redis": served.redis,
    "csv": kinds.csv,
    "parquet": kinds.parquet,
    "jsonl": kinds.jsonl,
}
RECORDS_PER_S, MB_PER_S = 10_000, 10
"""What every kind has to reach at least."""


@dataclass(frozen=True)
class Rates:
    """What our pull of a kind reached, from its start to its end. MB are of Arrow memory."""

    kind: str
    ours: Measured
    rows: int

    def line(self) -> str:
        told = json.loads(next(t for t in self.ours.lines if t.startswith("{")))
        per_s, mb_per_s = self.rows / told["pull_s"], told["size_bytes"] / 1e6 / told["pull_s"]
        reached = per_s > RECORDS_PER_S and mb_per_s > MB_PER_S
        return (
            f"{self.kind:<10}{per_s:>12,.0f}{mb_per_s:>9.1f}{self.rows / self.ours.wall_s:>14,.0f}"
            f"{self.rows / self.ours.cpu_s:>14,.0f}   {'yes' if reached else 'NO'}"
        )


def ours(prepared: Prepared, rows: int, timeout_s: float, scratch: str) -> Measured:
    env = {
        "BENCH_CONNECTION": json.dumps(prepared.connection),
        "BENCH_STREAM": json.dumps(prepared.stream),
        "BENCH_DIR": scratch,
        "BENCH_SECRET": prepared.secret,
    }
    command = [sys.executable, str(HERE / "ours.py")]
    return check_rows(measure("superinsight_sync → delta", command, env, timeout_s), rows)


def theirs(prepared: Prepared, name: str, python: str, rows: int, timeout_s: float, scratch: str) -> Measured:
    env = {"BENCH_DSN": prepared.peer, "BENCH_TABLE": "lineitem", "BENCH_DIR": scratch}
    command = [python, str(HERE / "peers.py"), prepared.peers[name]]
    return check_rows(measure(name, command, env, timeout_s), rows)


def run(kind: str, options: argparse.Namespace) -> Rates:
    """Prints the kind's table."""
    rows, timeout_s = options.rows, options.timeout
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepared = KINDS[kind](stack, folder, rows)
        mine = median_of(partial(ours, prepared, rows, timeout_s), options.repeat)
        others = []
        for name in prepared.peers if options.peers else ():
            try:
                others.append(
                    median_of(partial(theirs, prepared, name, options.peers, rows, timeout_s), options.repeat)
                )
            except RuntimeError as error:
                print(f"\n{error}", flush=True)
    show(f"{kind}, {rows:,} rows × 16 columns", mine, others)
    return Rates(kind, mine, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be given several times")
    parser.add_argument("--peers", help="python of the environment that has the peers")
    parser.add_argument("--repeat", type=int, help="runs of each tool, of which the median counts")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds after which a tool hangs")
    options = parser.parse_args()
    found = [run(kind, options) for kind in options.kind or KINDS]
    print(
        f"\nour speed; wanted: more than {RECORDS_PER_S:,} records/s and {MB_PER_S} MB/s of Arrow in a pull"
    )
    print(f"{'kind':<10}{'records/s':>12}{'MB/s':>9}{'with start':>14}{'per CPU s':>14}   reached")
    for rates in found:
        print(rates.line())


if __name__ == "__main__":
    main()

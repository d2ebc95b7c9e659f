"""Each kind of source → lake, against dlt and sling, in one run.

    python benchmarks/pull_kinds.py --peers .bench-venv/bin/python [--kind csv --kind sqlite] [--rows 500000]

Every tool is a process of its own, its start included. Servers are started for the run.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kinds import KINDS, Prepared
from benchmarks.measure import Measured, check_rows, measure, show

HERE = Path(__file__).parent


def ours(prepared: Prepared, rows: int) -> Measured:
    declared = {
        "BENCH_CONNECTION": json.dumps(prepared.connection),
        "BENCH_STREAM": json.dumps(prepared.stream),
    }
    with tempfile.TemporaryDirectory() as scratch:
        env = {**declared, "BENCH_DIR": scratch, "BENCH_SECRET": prepared.secret}
        command = [sys.executable, str(HERE / "ours.py")]
        return check_rows(measure("superinsight_sync → delta", command, env), rows)


def theirs(prepared: Prepared, name: str, peer: str, python: str, rows: int) -> Measured:
    with tempfile.TemporaryDirectory() as scratch:
        env = {"BENCH_DSN": prepared.peer, "BENCH_TABLE": "lineitem", "BENCH_DIR": scratch}
        return check_rows(measure(name, [python, str(HERE / "peers.py"), peer], env), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be given several times")
    parser.add_argument("--peers", help="python of the environment that has the peers")
    options = parser.parse_args()
    for kind in options.kind or KINDS:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            prepared = KINDS[kind](stack, folder, options.rows)
            mine = ours(prepared, options.rows)
            peers = prepared.peers.items() if options.peers else ()
            others = []
            for name, peer in peers:
                try:
                    others.append(theirs(prepared, name, peer, options.peers, options.rows))
                except RuntimeError as error:
                    print(f"\n{error}")
            show(f"{kind}, {options.rows:,} rows × 16 columns", mine, others)
            print(f"ours: {options.rows / mine.wall_s:,.0f} rows/s of wall time, start included")


if __name__ == "__main__":
    main()

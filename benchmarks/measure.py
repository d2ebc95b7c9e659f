"""Runs a command as a child process and measures it: CPU seconds, wall seconds, peak memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

LAUNCH = Path(__file__).with_name("launch.py")
SHORT_S = 20.0
"""A run of less CPU than this is made three times, and the median counts."""
TIMEOUT_S = 300.0
"""A tool that takes longer than this is taken to hang, and is killed."""


@dataclass(frozen=True)
class Measured:
    """One run of one tool. `peak_mb` is the largest resident set of the process tree's members."""

    name: str
    cpu_s: float
    wall_s: float
    peak_mb: float
    output: str

    @property
    def lines(self) -> list[str]:
        """What it printed. The last line is the path of what it wrote."""
        return self.output.strip().splitlines() or [""]


def measure(
    name: str, command: Sequence[str], env: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> Measured:
    """Runs the command to its end. Raises RuntimeError with its last lines if it fails, or says that it hung."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "used.json"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCH), str(report), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{name}: hung after {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{name} failed:\n" + "\n".join(output.splitlines()[-15:]))
        return Measured(name, output=output, **json.loads(report.read_text()))


def median_of(run: Callable[[str], Measured], repeat: int | None = None) -> Measured:
    """The run of median CPU, each in an empty folder that it is given; its peak memory is the largest of all.

    Args:
        repeat: how many runs; by default three, but one if that takes longer than `SHORT_S`.
    """
    runs: list[Measured] = []
    while len(runs) < (repeat or (3 if not runs or runs[0].cpu_s < SHORT_S else 1)):
        with tempfile.TemporaryDirectory() as scratch:
            runs.append(run(scratch))
    median = sorted(runs, key=lambda r: r.cpu_s)[len(runs) // 2]
    return replace(median, peak_mb=max(r.peak_mb for r in runs))


def check_rows(measured: Measured, rows: int) -> Measured:
    """A tool that wrote other than the table's rows gets no number. Counted here, so that nobody pays for it."""
    path = measured.lines[-1]
    if path.endswith(".parquet"):
        written = pq.read_metadata(path).num_rows
    else:
        files = pa.table(DeltaTable(path).get_add_actions(flatten=True))
        written = sum(files["num_records"].to_pylist())
    if written != rows:
        raise RuntimeError(f"{measured.name} wrote {written:,} rows, not {rows:,}")
    return measured


def show(title: str, ours: Measured, others: Sequence[Measured]) -> None:
    """A table with each peer's ratio to ours."""
    print(f"\n{title}")
    print(f"{'tool':<38}{'CPU s':>9}{'wall s':>9}{'peak MB':>10}{'CPU × ours':>12}")
    for m in [ours, *others]:
        print(
            f"{m.name:<38}{m.cpu_s:>9.2f}{m.wall_s:>9.2f}{m.peak_mb:>10.0f}{m.cpu_s / ours.cpu_s:>12.2f}",
            flush=True,
        )

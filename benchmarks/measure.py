"""Runs a command as a child process and measures it: CPU seconds, wall seconds, peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable


@dataclass(frozen=True)
class Measured:
    """One run of one tool. `peak_mb` is the largest resident set of the process tree's members."""

    name: str
    cpu_s: float
    wall_s: float
    peak_mb: float
    output: str


def measure(name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Measured:
    """Runs the command to its end. Raises RuntimeError with its last lines if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{name} failed:\n" + "\n".join(output.splitlines()[-15:]))
    return Measured(
        name,
        usage.ru_utime + usage.ru_stime,
        time.perf_counter() - started,
        usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024),
        output.strip().splitlines()[-1] if output.strip() else "",
    )


def check_rows(measured: Measured, rows: int) -> Measured:
    """A tool that wrote other than the table's rows gets no number. Counted here, so that nobody pays for it."""
    if measured.output.endswith(".parquet"):
        written = pq.read_metadata(measured.output).num_rows
    else:
        files = pa.table(DeltaTable(measured.output).get_add_actions(flatten=True))
        written = sum(files["num_records"].to_pylist())
    if written != rows:
        raise RuntimeError(f"{measured.name} wrote {written:,} rows, not {rows:,}")
    return measured


def show(title: str, ours: Measured, others: Sequence[Measured]) -> None:
    """A table with each peer's ratio to ours."""
    print(f"\n{title}")
    print(f"{'tool':<34}{'CPU s':>9}{'wall s':>9}{'peak MB':>10}{'CPU × ours':>12}")
    for m in [ours, *others]:
        print(f"{m.name:<34}{m.cpu_s:>9.2f}{m.wall_s:>9.2f}{m.peak_mb:>10.0f}{m.cpu_s / ours.cpu_s:>12.2f}")

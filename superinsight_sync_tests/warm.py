"""Processes that have imported Dagster already: forked, each as fresh as a new one but for what it imports.

Where what a process imports is tested, start a new one.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PRELOADED = [
    "dagster",
    "dagster._cli",
    "dagster_dg_cli.cli",
    "dagster_postgres",
    "superinsight_sync.components",
    "superinsight_sync.definitions",
    "superinsight_sync.cli.main",
    "superinsight_sync.state",
]
_forking = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Ended:
    """A process that has ended, and what it wrote."""

    code: int
    out: str
    err: str


def run_warm(
    does: Callable[..., object], *arguments: Any, env: Mapping[str, str], cwd: Path | None = None
) -> Ended:
    """Runs the function of a module in a process of its own.

    Args:
        env: all of its environment. `PYTHONPATH` is obeyed.
    """
    _forking.set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _forking.Process(
            target=_in_child, args=(does, arguments, dict(env), cwd or Path.cwd(), out, err)
        )
        process.start()
        process.join()
        code = process.exitcode
        process.close()
        assert code is not None
        return Ended(code, out.read_text(), err.read_text())


def _in_child(
    does: Callable[..., object],
    arguments: tuple[Any, ...],
    env: dict[str, str],
    cwd: Path,
    out: Path,
    err: Path,
) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]
    does(*arguments)
    sys.stdout.flush()


def command(*argv: str) -> None:
    """For `run_warm`: `dagster …`, `dg …` or `sis …`, as in a shell."""
    sys.argv = list(argv)
    if argv[0] == "dagster":
        from dagster._cli import main
    elif argv[0] == "dg":
        from dagster_dg_cli.cli import main
    else:
        from superinsight_sync.cli.entry import sis as main
    main()

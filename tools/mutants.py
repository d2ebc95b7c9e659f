"""Breaks the code in small ways, one at a time, and tells which faults the tests of its room do not find.

python tools/mutants.py [--count 64] [--seed 1] [--list] [--rooms lake,state]

The same seed gives the same mutants as long as the code is the same. The tests run on a copy of the project.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "superinsight_sync"
FLIPPED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
NOTHING = {"fsync", "acquire", "flush", "commit", "rollback"}


@dataclass(frozen=True)
class Mutant:
    """A piece of a file, and what stands there instead."""

    path: str
    line: int
    start: int
    end: int
    new: str
    what: str

    @property
    def room(self) -> str:
        return self.path.split("/")[1]


def mutants_of(path: Path) -> Iterator[Mutant]:
    text = path.read_bytes()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    name = str(path.relative_to(ROOT))

    def piece(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def source(node: ast.expr) -> str:
        start, end = piece(node)
        return text[start:end].decode()

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in FLIPPED:
            sign = FLIPPED[type(node.ops[0])]
            new = f"{source(node.left)} {sign} {source(node.comparators[0])}"
            yield Mutant(name, node.lineno, *piece(node), f"({new})", f"compares by {sign}")
        elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
            word = "or" if isinstance(node.op, ast.And) else "and"
            new = f"(({source(node.values[0])}) {word} ({source(node.values[1])}))"
            yield Mutant(name, node.lineno, *piece(node), new, f"says {word}")
        elif isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and node.right.value == 1:
            yield Mutant(name, node.lineno, *piece(node), f"({source(node.left)})", "is off by one")
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NOTHING
        ):
            yield Mutant(name, node.lineno, *piece(node), "None", f"leaves out {node.func.attr}")


def chosen(count: int, seed: int, rooms: set[str]) -> list[Mutant]:
    """As many of each room, as far as there are."""
    by_room: dict[str, list[Mutant]] = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        for mutant in mutants_of(path):
            tests = ROOT / f"{PACKAGE}_tests" / mutant.room
            if tests.is_dir() and (not rooms or mutant.room in rooms):
                by_room.setdefault(mutant.room, []).append(mutant)
    chance = random.Random(seed)
    for found in by_room.values():
        chance.shuffle(found)
    picked: list[Mutant] = []
    while len(picked) < count and any(by_room.values()):
        picked += [found.pop() for found in by_room.values() if found]
    return picked[:count]


def is_found(copy: Path, mutant: Mutant) -> bool:
    path = copy / mutant.path
    before = path.read_bytes()
    path.write_bytes(before[: mutant.start] + mutant.new.encode() + before[mutant.end :])
    try:
        tests = f"{PACKAGE}_tests/{mutant.room}"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout=300",
            tests,
        ]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True).returncode in (1, 2)
    finally:
        path.write_bytes(before)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--count", type=int, default=64)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--list", action="store_true")
    options.add_argument("--rooms", default="")
    asked = options.parse_args()
    mutants = chosen(asked.count, asked.seed, set(asked.rooms.split(",")) - {""})
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        if not asked.list:
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".sis", "*_cache"))
        for mutant in mutants:
            found = asked.list or is_found(copy, mutant)
            survived += not found
            verdict = "" if asked.list else "found    " if found else "SURVIVED "
            sys.stdout.write(f"{verdict}{mutant.path}:{mutant.line} {mutant.what}\n")
            sys.stdout.flush()
    if not asked.list:
        sys.stdout.write(f"{len(mutants)} mutants, {survived} survived\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The rules of the house that tools do not check."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "superinsight_sync"
MODULES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_NAMES = re.compile(r"(Manager|Service|Helper|Util|Enhanced|Intelligent)s?$")
ALLOWED_NAMES = {"LakeIOManager"}
ASSET_DECORATORS = {"asset", "multi_asset", "asset_check", "multi_asset_check"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_keeps_the_house_rules(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400, "a module has at most 400 lines"
    assert "from __future__ import annotations" not in text, "it breaks Dagster's annotations"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert node.name in ALLOWED_NAMES or not FORBIDDEN_NAMES.search(node.name), node.name
            if any(isinstance(b, ast.Name) and b.id.endswith("Error") for b in node.bases):
                assert node.name.endswith("Error") or node.name == "StopRequested", (
                    f"{node.name}: errors end in Error"
                )
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
        ):
            assert node.exc.func.id != "Exception", f"line {node.lineno}: raise one of ours"
        if isinstance(node, ast.FunctionDef) and ASSET_DECORATORS & set(_decorators(node)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.body[0].lineno + 1 <= 10, (
                f"{node.name}: an asset body has at most 10 lines"
            )


def _decorators(node: ast.FunctionDef) -> list[str]:
    names = []
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        names.append(target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", ""))
    return names


def test_every_package_says_what_it_is() -> None:
    """A public module starts with a docstring."""
    silent = [
        str(p.relative_to(PACKAGE))
        for p in MODULES
        if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []


def test_numpys_threads_are_told_to_sleep_before_numpy_is_there() -> None:
    code = "import superinsight_sync, os, sys; print(os.environ['OPENBLAS_THREAD_TIMEOUT'], 'numpy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["4", "False"]


CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "monotonic_ns", "perf_counter_ns"}
LOWER_BOUND = "the product must wait at least so long; a slow machine only makes it longer"
TIMES_IN_TESTS = {
    "waiting.py": "here is the waiting, for a condition",
    "drills/test_kill.py": "kills at a random moment of a run, whose length it measures first",
    "gateway/api/test_rules.py": LOWER_BOUND,
    "gateway/test_file_bounds.py": "an upload is kept for longer than the pauses between its parts",
    "gateway/test_sessions.py": "lets the other coroutines go on",
    "gateway/test_short_way.py": LOWER_BOUND,
    "gateway/test_socket_bounds.py": LOWER_BOUND,
    "lake/writers.py": "a writer that is slow, so that it can be killed",
    "pipeline/test_late_commits.py": "transactions that stay open, as customers' do, for as long as a load lasts",
    "pipeline/test_retries.py": LOWER_BOUND,
    "servers/llm.py": "a service that is slow",
    "sources/test_mongodb.py": "the server writes its journal by its own clock and does not tell",
    "sources/test_rest_asking.py": LOWER_BOUND,
    "state/processes.py": "a holder and competitors that work for a while",
    "state/test_concurrency.py": "a lease takes the moment it was granted at",
    "state/test_uploads.py": "an upload is given up by the clock",
}
"""Tests that sleep or read a clock, and why no machine is too slow for them."""


def test_no_test_sleeps_or_judges_a_time() -> None:
    """`waiting.until` waits for what happens; seconds are measured in `benchmarks/`."""
    folder = Path(__file__).parent
    found = {
        str(path.relative_to(folder)): line
        for path in sorted(folder.rglob("*.py"))
        for line in _times(ast.parse(path.read_text()))
    }
    assert {k: v for k, v in found.items() if k not in TIMES_IN_TESTS} == {}, (
        "wait for a condition or count what is done"
    )
    assert set(TIMES_IN_TESTS) - set(found) == set(), "take it from the list"


def _times(tree: ast.AST) -> list[int]:
    """Lines that sleep, or read a clock that only tells how long something took."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (
            (node.func.attr == "sleep" and node.func.value.id in ("time", "asyncio"))
            or (node.func.attr in CLOCKS and node.func.value.id == "time")
        )
    ]


def _imports(path: Path, known: Collection[str]) -> set[str]:
    """Modules of ours that a module imports when it runs, at its top or later; not those that only types need."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.add(whole if whole in known else node.module)
    return found & set(known)


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    left = {name: _imports(path, modules) - {name} for name, path in modules.items()}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        for name in free:
            del left[name]
    circle = {name for name in left if any(name in needs for needs in left.values())}
    assert circle == set(), "these import each other, or stand between such"

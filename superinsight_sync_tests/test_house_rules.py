"""The rules of the house that tools do not check."""

import ast
import re
import subprocess
import sys
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

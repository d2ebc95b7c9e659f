"""What is in the wheel: the package, not its tests nor what the repository declares for its demo."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_package_alone(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "superinsight_sync", copy / "superinsight_sync", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "setup.py"):
        shutil.copy(ROOT / name, copy)
    (copy / "superinsight_sync_tests").mkdir()
    (copy / "superinsight_sync_tests" / "__init__.py").touch()
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = copy.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"superinsight_sync"}
    kept = {
        str(p.relative_to(ROOT))
        for p in (ROOT / "superinsight_sync").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and "defs" not in p.relative_to(ROOT).parts[1:2]
    }
    assert {n for n in names if n.startswith("superinsight_sync/")} == kept

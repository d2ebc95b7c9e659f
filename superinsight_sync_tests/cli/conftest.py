"""Projects made by `sis init`, with a partitioned stream beside it."""

import itertools
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from superinsight_sync_tests.cli.commands import sis

VISITS = """type: superinsight_sync.SyncSource
attributes:
  name: web
  owners: ["team:data"]
  connection: {kind: sqlite, path: data/web.db}
  streams:
    - name: visits
      table: visits
      primary_key: [visit_id]
      sync: {mode: incremental, cursor: seen_at}
      partition: {by: month, start: "2026-01-01", end: "2026-04-01"}
      priority: 7
      schedule: "*/15 * * * *"
      expect:
        - {type: not_null, column: visit_id, severity: critical}
    - name: pages
      table: pages
      schedule: "*/15 * * * *"
"""

_numbers = itertools.count(1)


def make_web(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE visits (visit_id INTEGER PRIMARY KEY, page TEXT, seen_at TIMESTAMP NOT NULL)"
        )
        db.execute("CREATE TABLE pages (page TEXT PRIMARY KEY, title TEXT)")
        rows = [(i, f"p{i % 5}", f"2026-{i % 3 + 1:02d}-{i % 28 + 1:02d} 10:00:00") for i in range(1, 91)]
        db.executemany("INSERT INTO visits VALUES (?,?,?)", rows)
        db.executemany("INSERT INTO pages VALUES (?,?)", [(f"p{i}", f"[bold] [/x] {i}") for i in range(5)])


@contextmanager
def made_project(folder: Path) -> Iterator[Path]:
    """The folder, which is the current one meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SIS_HOME", "SIS_LAKE_URL", "SIS_DATABASE_URL", "SIS_PROJECT_DIR"):
            patch.delenv(name, raising=False)
        assert sis("init", str(folder)).code == 0
        make_web(folder / "data" / "web.db")
        declared = folder / folder.name / "defs" / "web"
        declared.mkdir()
        (declared / "defs.yaml").write_text(VISITS)
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder))
        yield folder
    sys.path[:] = [p for p in sys.path if p != str(folder)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project that the tests of a module share: what one runs, the others see."""
    with made_project(tmp_path_factory.mktemp("sis") / f"shop{next(_numbers)}") as folder:
        yield folder


@pytest.fixture
def new_project(tmp_path: Path) -> Iterator[Path]:
    """A project of one test, in which nothing has run."""
    with made_project(tmp_path / f"shop{next(_numbers)}") as folder:
        yield folder

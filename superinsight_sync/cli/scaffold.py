"""The files of a new project."""

import re
import sqlite3
from contextlib import closing
from importlib.resources.abc import Traversable
from pathlib import Path

from superinsight_sync.core.errors import ConfigError


def make_project(folder: Path, package: Traversable) -> list[Path]:
    """Writes a project that runs: declarations, Dagster's files, and a small database to pull from."""
    name = re.sub(r"\W+", "_", folder.name.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"'{folder.name}' is no project name", hint="Use letters, digits and _, a letter first"
        )
    made = []
    template = package / "template"
    for relative in sorted(_files(template)):
        source = template.joinpath(*relative.split("/"))
        target = folder / relative.replace("__name__", name).removesuffix(".tmpl")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text().replace("__name__", name))
        made.append(target)
    database = folder / "data" / "shop.db"
    _make_shop(database)
    return [*made, database]


def _files(folder: Traversable, prefix: str = "") -> list[str]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                found += _files(entry, f"{prefix}{entry.name}/")
        else:
            found.append(f"{prefix}{entry.name}")
    return found


def _make_shop(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(target)) as db, db:
        db.execute(
            "CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer TEXT NOT NULL, amount TEXT NOT NULL,"
            " placed_at TEXT NOT NULL)"
        )
        rows = [
            (i, f"c{i % 40:03d}", f"{i * 7 % 500}.{i % 100:02d}", f"2026-01-{i % 28 + 1:02d}T08:00:00Z")
            for i in range(1, 501)
        ]
        db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)

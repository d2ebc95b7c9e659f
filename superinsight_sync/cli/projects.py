"""``sis init`` and ``sis check``."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from superinsight_sync.cli.output import (
    FAILED,
    OK,
    USAGE,
    errors_shown,
    json_option,
    show_json,
    show_table,
    tell,
)
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings

if TYPE_CHECKING:
    from superinsight_sync.pipeline.project import Project
    from superinsight_sync.pipeline.yaml_lines import Problem


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@errors_shown
def init_command(folder: Path, as_json: bool) -> None:
    """Makes a new project folder that runs: a small SQLite source and a dataset to change.

    \b
    Example:
        sis init shop && cd shop && sis run --all
    """
    from superinsight_sync.cli.scaffold import make_project

    if folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty", hint="Name a folder that does not exist yet")
    made = make_project(folder, resources.files("superinsight_sync.cli"))
    if as_json:
        show_json({"folder": str(folder), "files": [str(path) for path in made]})
        return
    for path in made:
        tell(f"made {path}")
    tell(f"\nNext:\n  cd {folder}\n  sis check\n  sis run --all\n  sis dev")


@click.command("check")
@click.argument("sources", nargs=-1)
@click.option("--offline", is_flag=True, help="Validate the declarations only, test no connection.")
@json_option
@errors_shown
def check_command(sources: tuple[str, ...], offline: bool, as_json: bool) -> None:
    """Validates every declaration, loads your own assets beside them, and tests each connection.

    \b
    Example:
        sis check airline --json
    """
    from superinsight_sync.pipeline.inspect import test_connection
    from superinsight_sync.pipeline.project import load_project

    settings = load_settings()
    project = load_project(settings)
    found = [*project.problems, *(_of_own_code(project) if project.own_code else ())]
    wanted = [project.source(name) for name in sources] if sources else list(project.sources.values())
    reports = [] if offline else [test_connection(s, settings) for s in wanted]
    failed = [r for r in reports if not r.ok]
    code = USAGE if found or any(r.error_class == "ConfigError" for r in failed) else FAILED if failed else OK
    if as_json:
        problems = [{"file": str(p.file), "line": p.line, "message": p.message} for p in found]
        show_json({"ok": code == OK, "problems": problems, "connections": [vars(r) for r in reports]})
        raise SystemExit(code)
    for problem in found:
        tell(f"error: {problem}")
    if reports:
        show_table(
            "Connections",
            ["source", "kind", "result", "server", "ms", "remarks"],
            [
                (
                    r.source,
                    r.kind,
                    "ok" if r.ok else "FAILED",
                    r.server,
                    f"{r.latency_ms:.1f}",
                    r.error or "; ".join(r.warnings),
                )
                for r in reports
            ],
            right=["ms"],
        )
    tell(
        f"{len(project.sources)} sources with {sum(len(s.streams) for s in project.sources.values())} streams, "
        f"{len(project.datasets)} datasets, {len(found)} problems"
    )
    raise SystemExit(code)


def _of_own_code(project: "Project") -> "Iterator[Problem]":
    """What is wrong with Python files beside the declarations. Dagster loads them to find out."""
    import logging

    from superinsight_sync.cli.project_definitions import definitions
    from superinsight_sync.orchestration.loading import load_problems
    from superinsight_sync.orchestration.own_assets import specs_of
    from superinsight_sync.pipeline.yaml_lines import Problem

    logging.disable(logging.ERROR)  # what could not be loaded is told here, once
    try:
        defs = definitions()
    finally:
        logging.disable(logging.NOTSET)
    made = {key.to_user_string() for key in specs_of(defs)}
    unknown = [problem for key, problem in project.undecided if key not in made]
    yield from unknown
    told = {p.file.relative_to(project.defs_dir).parts[0] for p in (*project.problems, *unknown)}
    for entry, reason in load_problems(defs):
        if entry not in told:
            yield Problem(project.defs_dir / entry, 1, reason)

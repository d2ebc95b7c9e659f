"""``sis doctor``: is this machine and this configuration able to do the work."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from superinsight_sync.cli.output import (
    FAILED,
    OK,
    errors_shown,
    human_bytes,
    json_option,
    show_json,
    show_table,
)
from superinsight_sync.core.errors import SisError
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.security.secrets import redact

_LOW_DISK_BYTES = 2 * 10**9
_MANY_WAITING = 100_000
_MANY_COLUMNS = 2_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    detail: str


@click.command("doctor")
@json_option
@errors_shown
def doctor_command(as_json: bool) -> None:
    """Looks at Python, disk, lake, state database, Dagster and the declarations, and says what to change.

    \b
    Example:
        sis doctor --json
    """
    from superinsight_sync.pipeline.project import defs_dir

    settings = load_settings()
    defs_dir(settings)  # outside a project it would make what it looks for
    findings = list(_findings(settings))
    if as_json:
        show_json({"ok": all(f.ok for f in findings), "findings": [vars(f) for f in findings]})
    else:
        rows = [(f.what, "ok" if f.ok else "PROBLEM", f.detail) for f in findings]
        show_table("Doctor", ["what", "result", "detail"], rows)
    raise SystemExit(OK if all(f.ok for f in findings) else FAILED)


def _findings(settings: Settings) -> Iterator[Finding]:
    version = sys.version_info
    yield Finding("python", version >= (3, 11), f"{version.major}.{version.minor}.{version.micro}")
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    yield Finding("disk", free > _LOW_DISK_BYTES, f"{human_bytes(free)} free at {settings.home}")
    yield _tried("lake", lambda: _lake(settings))
    yield _tried("tables", lambda: _tables(settings))
    yield _tried("state database", lambda: _state(settings))
    yield _tried("inbox", lambda: _inbox(settings))
    yield _tried("declarations", lambda: _declarations(settings))
    yield _tried("secrets", lambda: _secrets(settings))
    yield _tried("private files", lambda: _private(settings))
    yield _tried("dagster", _dagster)


def _tried(what: str, look: Callable[[], str]) -> Finding:
    started = time.perf_counter()
    try:
        detail = look()
    except SisError as error:
        return Finding(what, False, redact(str(error)))
    return Finding(what, True, f"{detail} ({1000 * (time.perf_counter() - started):.0f} ms)")


def _lake(settings: Settings) -> str:
    from superinsight_sync.pipeline.engine import open_engine

    engine = open_engine(settings=settings)
    probe = ".doctor/probe"
    engine.blobs.write(probe, b"ok")
    engine.blobs.delete(probe)
    return f"{sum(1 for _ in engine.lake.tables())} tables at {redact(settings.lake_url)}"


def _tables(settings: Settings) -> str:
    from superinsight_sync.core.errors import ConfigError
    from superinsight_sync.pipeline.engine import open_engine

    lake = open_engine(settings=settings).lake
    columns = {str(table): len(lake.schema(table)) for table in lake.tables()}
    widest = max(columns, key=lambda name: columns[name], default=None)
    if widest is not None and columns[widest] > _MANY_COLUMNS:
        raise ConfigError(
            f"table {widest} has {columns[widest]:,} columns; memory and time are measured up to {_MANY_COLUMNS:,}",
            hint="Read fewer columns by a query or the `map` step, or nest them in one",
        )
    return f"at most {columns[widest]} columns, {widest}" if widest is not None else "none yet"


def _inbox(settings: Settings) -> str:
    from superinsight_sync.core.errors import ConfigError
    from superinsight_sync.pipeline.engine import open_engine
    from superinsight_sync.state.inbox import Inbox

    waiting = Inbox(open_engine(settings=settings).state.database, settings.landing_dir).backlog()
    if waiting.deliveries > _MANY_WAITING:
        raise ConfigError(
            f"{waiting.deliveries:,} deliveries wait to be landed, the oldest since {waiting.oldest_at:%F %R} UTC",
            hint="Run `sis drain` or the sensors' daemon; `sis inbox list` shows what fails",
        )
    return f"{waiting.deliveries:,} deliveries wait"


def _state(settings: Settings) -> str:
    from superinsight_sync.pipeline.engine import open_engine

    running = open_engine(settings=settings).state.executions.running()
    return f"{redact(settings.database_url)}, {len(running)} executions running"


def _declarations(settings: Settings) -> str:
    from superinsight_sync.core.errors import ConfigError
    from superinsight_sync.pipeline.project import load_project

    project = load_project(settings)
    if project.problems:
        raise ConfigError(str(project.problems[0]), hint="Run `sis check`")
    return f"{len(project.sources)} sources, {len(project.datasets)} datasets"


def _secrets(settings: Settings) -> str:
    from superinsight_sync.core.errors import ConfigError
    from superinsight_sync.pipeline.project import written_out_secrets

    found = written_out_secrets(settings)
    if found:
        raise ConfigError(
            f"{found[0]} holds a secret in plain text; {len(found)} such places",
            hint='Put it into the environment or a file and write "{{ env.NAME }}"',
        )
    return "none is written out in a declaration"


def _private(settings: Settings) -> str:
    from superinsight_sync.core.errors import ConfigError

    held = [settings.home / name for name in ("state.db", "keys", "landing", "uploads", "audit")]
    held += [inner for folder in held for inner in folder.glob("*")]
    found = [path for path in held if path.exists() and path.stat().st_mode & 0o077]
    if found:
        raise ConfigError(
            f"others of this machine can reach {found[0]}; {len(found)} such files and folders",
            hint=f"Run: chmod -R go-rwx {settings.home}",
        )
    return "only this user can read them"


def _dagster() -> str:
    from importlib.metadata import version

    from superinsight_sync.orchestration.running import instance

    with instance() as dagster:
        return f"{version('dagster')}, {dagster.get_runs_count()} runs, {type(dagster.run_storage).__name__}"

"""Where Dagster keeps its own things. Named in ``dagster.yaml``, which cannot choose by itself; a class can.

Runs and events: SQLite by default, PostgreSQL where SIS_DATABASE_URL says so. Files: under ``SIS_HOME``.
The base classes are Dagster's internals: `dagster==1.13.*` is pinned, and a test runs a job on both.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster import DagsterRun
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from superinsight_sync.core.settings import load_settings
from superinsight_sync.state.urls import DAGSTERS, is_postgres, parse_url


class SyncStorage(DagsterSqliteStorage):
    """Stands for SQLite under ``<home>/dagster`` or the PostgreSQL of SIS_DATABASE_URL."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> DagsterStorage:
        """The storage itself. Raises ConfigError if SIS_DATABASE_URL is neither PostgreSQL nor SQLite."""
        url = parse_url(load_settings().database_url, DAGSTERS)
        if not is_postgres(url):
            folder = Path(_folder())
            folder.mkdir(parents=True, exist_ok=True)
            with alone(folder / "opening"):
                from superinsight_sync.orchestration.sqlite import SqliteStorage

                return SqliteStorage.from_local(str(folder), inst_data)
        from superinsight_sync.orchestration.postgres import PostgresStorage

        return PostgresStorage(url.render_as_string(hide_password=False), inst_data)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Waits for every other process of this machine that is in such a block: two that make Dagster's SQLite files
    at once leave them broken."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class SyncComputeLogs(LocalComputeLogManager):
    """What steps print, under ``<home>/dagster/logs``."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(_folder("logs"), inst_data=inst_data)


class SyncArtifacts(LocalArtifactStorage):
    """What Dagster itself keeps in files, under ``<home>/dagster``."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(_folder(), inst_data=inst_data)


def _folder(name: str = "") -> str:
    return str(load_settings().home / "dagster" / name)


class SyncRunCoordinator(QueuedRunCoordinator):
    """The run queue, whose limits hold from a pool's first run on.

    Dagster's daemon learns of a pool while it looks at the first runs that need it, and lets all of those start.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run, storage = context.dagster_run, self._instance.event_log_storage
        pools = run.run_op_concurrency.all_pools if run.run_op_concurrency else None
        if pools and self._instance.global_op_concurrency_default_limit:
            for pool in set(pools) - storage.get_concurrency_keys():
                storage.initialize_concurrency_limit_to_default(pool)
        return super().submit_run(context)

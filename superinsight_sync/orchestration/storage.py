"""Dagster's own storage: SQLite by default, PostgreSQL where SIS_DATABASE_URL says so. Named in ``dagster.yaml``."""

import re
from pathlib import Path
from typing import Any

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from superinsight_sync.core.settings import load_settings

_POSTGRES = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://")


def dagster_postgres_url(url: str) -> str:
    """The URL with the driver that Dagster needs: with another one its first event fails."""
    return _POSTGRES.sub("postgresql+psycopg2://", url, count=1)


class SyncStorage(DagsterSqliteStorage):
    """One ``dagster.yaml`` for both: YAML cannot choose between storages, a class can."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Any:
        settings = load_settings()
        if _POSTGRES.match(settings.database_url):
            from dagster_postgres import DagsterPostgresStorage

            return DagsterPostgresStorage(dagster_postgres_url(settings.database_url), inst_data=inst_data)
        folder = settings.home / "dagster"
        Path(folder).mkdir(parents=True, exist_ok=True)
        return DagsterSqliteStorage(base_dir=str(folder), inst_data=inst_data)

"""An engine over an empty lake, and a database of its own whose slots are gone at the end."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync_tests.servers.postgres import PostgresServer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SIS_PROJECT_DIR": str(tmp_path), "SIS_LEASE_TTL_S": "2"})


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return open_engine("run-1", settings)


@pytest.fixture
def bank(log_server: PostgresServer) -> Iterator[str]:
    dsn = log_server.create_database()
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE database = current_database() AND active"
        )
        db.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )

"""An engine over an empty lake, and a database of its own whose slots are gone at the end."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync_tests.capture.shop import Shop
from superinsight_sync_tests.servers.mariadb import MariadbServer
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.waiting import until


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
        until(lambda: _slots_dropped(db), "a slot is still followed")


def _slots_dropped(db: "psycopg.Connection[tuple[object, ...]]") -> bool:
    ours = "FROM pg_replication_slots WHERE database = current_database()"
    db.execute(f"SELECT pg_terminate_backend(active_pid) {ours} AND active".encode())
    try:
        db.execute(f"SELECT pg_drop_replication_slot(slot_name) {ours}".encode())
    except psycopg.errors.ObjectInUse:
        return False
    return True


@pytest.fixture
def shop(logged_mariadb: MariadbServer) -> Shop:
    return Shop(logged_mariadb)

"""Opening, migrating, and what goes wrong with a database."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, inspect, select, table, text
from sqlalchemy.engine.interfaces import ReflectedIndex

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.state import State, open_state
from superinsight_sync.state.database import Database
from superinsight_sync.state.migrate import VERSION_TABLE, known_versions, upgrade
from superinsight_sync.state.tables import metadata
from superinsight_sync.state.urls import DAGSTERS, parse_url
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.waiting import stays

MIGRATIONS = Path(sys.modules["superinsight_sync.state.migrate"].__file__ or "").parent / "migrations"


def test_migrations_make_exactly_the_declared_tables(url: str) -> None:
    migrated_to(url, "head")
    state = open_state(url)
    with state.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == known_versions()[-1]
    state.close()


def test_a_new_database_is_as_one_that_went_through_every_migration(empty_url: Callable[[], str]) -> None:
    migrated, new = empty_url(), empty_url()
    migrated_to(migrated, "head")
    open_state(new).close()
    assert everything(new) == everything(migrated)


def migrated_to(url: str, version: str) -> None:
    database = Database(url)
    with database.write() as connection:
        upgrade(connection, version)
    database.close()


def by_text(index: ReflectedIndex) -> dict[str, object]:
    return {**index, "dialect_options": {k: str(v) for k, v in index.get("dialect_options", {}).items()}}


def everything(url: str) -> dict[str, object]:
    """Every table with its columns, keys, indexes, checks, and the number of its rows."""
    database = Database(url)
    with database.read() as connection:
        seen = inspect(connection)
        found = {
            name: {
                "columns": {
                    c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(name)
                },
                "key": seen.get_pk_constraint(name),
                "indexes": sorted(map(by_text, seen.get_indexes(name)), key=str),
                "checks": sorted(seen.get_check_constraints(name), key=str),
                "unique": sorted(seen.get_unique_constraints(name), key=str),
                "foreign": sorted(seen.get_foreign_keys(name), key=str),
                "rows": connection.scalar(select(func.count()).select_from(table(name))),
            }
            for name in seen.get_table_names()
        }
    database.close()
    return found


def test_the_migrations_are_one_line_and_named_by_their_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert [r.revision for r in script.walk_revisions()] == list(reversed(known_versions()))


def test_opening_again_keeps_what_is_there(state: State, url: str) -> None:
    key = state.executions.start(run_id="r", verb="pull", source="crm", stream="s")
    again = open_state(url)
    assert again.executions.get(key) == state.executions.get(key)
    again.close()


def test_a_database_newer_than_the_code_is_refused(state: State, url: str) -> None:
    with state.database.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="version 9999, newer than this code's"):
        open_state(url)


def test_an_interrupted_migration_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.operations import Operations

    migrated_to(url, "0001")
    made: list[str] = []
    real = Operations.create_table

    def create_table(self: Operations, name: str, *columns: object, **options: object) -> object:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(name)
        return real(self, name, *columns, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "create_table", create_table)
        with pytest.raises(KeyboardInterrupt):
            open_state(url)
    assert len(made) == 2
    assert open_state(url).executions.recent() == ()


def test_a_failed_transaction_leaves_nothing(state: State) -> None:
    with pytest.raises(ZeroDivisionError), state.database.write() as connection:
        connection.execute(text("DELETE FROM sis_leases"))
        connection.execute(
            text("INSERT INTO sis_leases VALUES ('n', 'h', :at)"), {"at": "2026-01-01 00:00:00.000000"}
        )
        _ = 1 / 0
    assert state.leases.holder("n") is None


def test_in_sqlite_a_writer_waits_for_another_and_a_reader_does_not(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/s.db")
    assert state.database.pragma("PRAGMA journal_mode") == "wal"
    assert state.database.pragma("PRAGMA foreign_keys") == 1
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    assert state.executions.recent() == (), "a reader does not wait"
    writer = threading.Thread(
        target=lambda: state.executions.start(run_id="r", verb="pull", source="s", stream="s")
    )
    writer.start()
    stays(writer.is_alive, "a writer does")
    other.execute("ROLLBACK")
    writer.join()
    assert len(state.executions.recent()) == 1


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("not a url", ConfigError, "is not a database URL"),
        ("mysql://li:hunter2@h/db", ConfigError, "'mysql' databases cannot hold our state"),
        ("sqlite://", ConfigError, "needs a file"),
        ("sqlite:////proc/nowhere/state.db", ConfigError, "folder /proc/nowhere cannot be made"),
        ("postgresql://li:hunter2@127.0.0.1:1/db", TransientError, "connection failed"),
        ("postgresql://li:hunter2@no-such-host.invalid/db", ConfigError, "no-such-host.invalid"),
    ],
)
def test_a_wrong_url_says_what_to_change(url: str, error: type[SisError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        open_state(url)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("something else entirely, and long enough to have a header " * 20)
    with pytest.raises(ConfigError, match="file is not a database"):
        open_state(f"sqlite:///{tmp_path}/s.db")


def test_a_full_database_says_so(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(ConfigError, match="full"), state.database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.execute(text("INSERT INTO sis_leases VALUES (hex(randomblob(900000)), 'h', 'x')"))


def test_postgres_refusals_are_told_apart(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    state = open_state(url)
    with state.database.write() as connection:
        connection.execute(text("CREATE ROLE bystander LOGIN"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO bystander"))
    stranger = open_state(url.replace("postgres@", "bystander:hunter2@"))
    assert stranger.executions.recent() == ()
    with pytest.raises(AccessError, match="permission denied for table sis_executions") as caught:
        stranger.executions.start(run_id="r", verb="pull", source="s", stream="s")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match='database "nowhere" does not exist'):
        open_state(postgres_server.dsn("nowhere"))
    with pytest.raises(ConfigError, match='role "nobody_knows" does not exist'):
        open_state(postgres_server.dsn(user="nobody_knows"))


def test_a_server_that_drops_connections_is_transient_and_then_works_again(
    postgres_server: PostgresServer,
) -> None:
    state = open_state(postgres_server.create_database())
    drop = text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(TransientError), state.database.read() as connection:
        connection.execute(drop)
    assert state.executions.recent() == ()


def test_postgres_in_another_time_zone_gives_utc(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    state = open_state(url)
    with state.database.write() as connection:
        name = connection.engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET timezone TO 'Asia/Kathmandu'"))
    state.close()
    key = state.executions.start(run_id="r", verb="pull", source="s", stream="s")
    found = state.executions.get(key)
    assert found is not None and str(found.started_at.tzinfo) == "UTC"
    with state.leases.hold("x", 30.0):
        assert state.leases.holder("x") is not None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_postgres_gets_the_driver_that_is_needed(scheme: str) -> None:
    url = f"{scheme}://li:p%40ss@db:5433/crm?sslmode=require"
    ours, dagsters = parse_url(url), parse_url(url, DAGSTERS)
    assert ours.drivername == "postgresql+psycopg"
    text = dagsters.render_as_string(hide_password=False)
    assert text == "postgresql+psycopg2://li:p%40ss@db:5433/crm?sslmode=require"


def test_importing_the_state_opens_nothing_and_loads_no_driver(tmp_path: Path) -> None:
    code = (
        "import sys, superinsight_sync.state as s; s.State\n"
        "print([m for m in ('alembic', 'psycopg', 'psycopg2', 'dagster', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout == "[]\n"

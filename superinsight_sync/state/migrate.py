"""Brings our metadata database to the version the code expects; safe when many processes start at once.

A new database gets the declared tables at once: going through every migration, and importing what runs them, costs
as much CPU as a fifth of a small pull. A test holds both ways to the same tables.
"""

import uuid
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
)

from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.state.database import Database
from superinsight_sync.state.tables import inbox_identity, metadata

VERSION_TABLE = "sis_alembic_version"
_VERSION = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
_FOLDER = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 7_305_113_481  # any fixed number will do


def known_versions() -> tuple[str, ...]:
    """Versions this code can make, oldest first: the numbers in the migrations' file names."""
    return tuple(sorted(p.name[1:5] for p in (_FOLDER / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py")))


def migrate(database: Database) -> None:
    """Makes or upgrades the tables, in one transaction, under a lock that a dead process lets go of.

    Raises:
        ConfigError: a newer version of the project has been at the database.
        TransientError, AccessError: it cannot be reached.
    """
    if is_newest(database):
        return
    if database.engine.dialect.name == "sqlite":
        with_retry(lambda: _use_wal(database), RetryPolicy(retries=20, base_s=0.05, max_s=1.0))
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        found = _version(connection)
        if found is None:
            _make(connection)
        elif found != known_versions()[-1]:
            upgrade(connection)


def is_newest(database: Database) -> bool:
    """Whether the tables are those this code expects."""
    with database.read() as connection:
        return _version(connection) == known_versions()[-1]


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(select(_VERSION.c.version_num))
    if found is not None and found not in known_versions():
        raise ConfigError(
            f"the state database is at version {found}, newer than this code's {known_versions()[-1]}",
            where="SIS_DATABASE_URL",
            hint="Upgrade superinsight-sync, or point SIS_DATABASE_URL at another database",
        )
    return found


def _use_wal(database: Database) -> None:
    """Lets readers go on while one writes. SQLite does not wait by itself for the lock this needs. A new file also
    learns to give back what is deleted; one that has tables is not changed by that."""
    if database.pragma("PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = WAL") != "wal":
        raise TransientError("the journal mode could not be set", where="state database")


def _make(connection: Connection) -> None:
    """The tables of the newest version, and the rows that migrations put into them."""
    metadata.create_all(connection)
    _VERSION.create(connection, checkfirst=True)
    connection.execute(insert(_VERSION).values(version_num=known_versions()[-1]))
    connection.execute(insert(inbox_identity).values(id=uuid.uuid4().hex))


def upgrade(connection: Connection, to: str = "head") -> None:
    """Runs the migrations up to a version, in the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)

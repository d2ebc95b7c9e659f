"""Connections and transactions of our metadata database, on SQLite and PostgreSQL alike."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, create_engine, event, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.sql.dml import Insert

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.private import make_private_file, make_private_folder
from superinsight_sync.security.secrets import redact
from superinsight_sync.state.urls import is_postgres, parse_url

_BUSY_TIMEOUT_MS = 60_000
_CONNECT_TIMEOUT_S = 10
_KEPT_CONNECTIONS = 2
"""To a SQLite file, between transactions: the last one that closes makes SQLite copy its log and wait for the disk."""
_WHERE = "state database"
_BEGIN = "sis_begin"
_TEXT_LIMIT = 4_000
_INCREMENTAL = 2
_PAGES_AT_ONCE = 1_000

_ACCESS_WORDS = ("password", "authentication failed", "permission denied", "no pg_hba.conf entry")
_CONFIG_HINTS = {
    "unable to open database file": "Check that its folder can be written (SIS_HOME, SIS_DATABASE_URL)",
    "readonly database": "Let this user write to the file and its folder",
    "file is not a database": "SIS_DATABASE_URL points at some other file",
    "disk is full": "Free some space and try again",
    "no space left": "Free some space and try again",
    "could not translate host name": "Check the host in SIS_DATABASE_URL",
    "failed to resolve host": "Check the host in SIS_DATABASE_URL",
    "does not exist": "Create the database, or let the project make its tables by opening it once",
    "no such table": "The file was replaced while it was open; start again",
}


class Database:
    """One database. Nothing is opened before the first transaction; usable from threads and after a fork."""

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        if not is_postgres(self.url) and self.url.database in (None, "", ":memory:"):
            raise ConfigError(
                "the state database needs a file", where=_WHERE, hint="Use sqlite:////path/to/state.db"
            )
        self._engines: dict[int, Engine] = {}

    @property
    def engine(self) -> Engine:
        """This process's engine: a forked child gets its own and never touches its parent's connections."""
        found = self._engines.get(os.getpid())
        return found or self._engines.setdefault(os.getpid(), self._make_engine())

    @property
    def folder(self) -> Path | None:
        """Where its file is; None for a server."""
        return None if is_postgres(self.url) else Path(str(self.url.database)).parent

    def _make_engine(self) -> Engine:
        if is_postgres(self.url):
            return create_engine(
                self.url,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_recycle=1800,
                # No server-side prepared statements: they break behind a pooling proxy.
                connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, "prepare_threshold": None},
            )
        folder = self.folder
        assert folder is not None
        try:
            make_private_folder(folder)
        except OSError as error:
            raise ConfigError(
                f"folder {folder} cannot be made: {error.strerror}",
                where=_WHERE,
                hint="Set SIS_HOME or SIS_DATABASE_URL",
            ) from error
        with suppress(OSError):  # SQLite says it in its own words
            make_private_file(Path(str(self.url.database)))
        engine = create_engine(self.url, hide_parameters=True, pool_size=_KEPT_CONNECTIONS, max_overflow=-1)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads. Raises TransientError, AccessError, ConfigError."""
        with _named_errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes, committed at the end, rolled back on any error; on SQLite it has the
        write lock from its start. Raises TransientError, AccessError, ConfigError."""
        with _named_errors(), self.engine.connect() as connection:
            connection = connection.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
            with connection.begin():
                yield connection

    def keep(self, *settings: str) -> "KeptConnection":
        """A connection for one thread that writes again and again."""
        return KeptConnection(self, settings)

    def pragma(self, *statements: str) -> Any:
        """What the last of some SQLite PRAGMAs gives, run on one connection outside of a transaction. Raises as
        `write` does."""
        with _named_errors(), self.engine.connect() as connection:
            plain = connection.execution_options(**{_BEGIN: ""})
            found = None
            for statement in statements:
                result = plain.exec_driver_sql(statement)
                rows = result.fetchall() if result.returns_rows else []
                found = rows[0][0] if rows else None
            return found

    def give_back(self, most_pages: int = 100_000) -> int:
        """Gives free pages of a SQLite file back to the disk, some at a time, so that writers get in between; how
        many. A server does that itself. Raises as `write` does."""
        if is_postgres(self.url) or self.pragma("PRAGMA auto_vacuum") != _INCREMENTAL:
            return 0
        before = left = int(self.pragma("PRAGMA freelist_count"))
        while left and before - left < most_pages:
            self.pragma(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            now_left = int(self.pragma("PRAGMA freelist_count"))
            if now_left >= left:
                break
            left = now_left
        return before - left

    def close(self) -> None:
        """Closes this process's connections; the next transaction opens new ones."""
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()


class KeptConnection:
    """One connection, opened when it is needed, kept between transactions, opened anew after an error.

    Args:
        settings: statements run on a new connection.
    """

    def __init__(self, database: Database, settings: Sequence[str]) -> None:
        self._database, self._settings = database, settings
        self._connection: Connection | None = None

    def write(self) -> AbstractContextManager[Connection]:
        """As `Database.write`."""
        return self._begun("BEGIN IMMEDIATE")

    def single(self) -> AbstractContextManager[Connection]:
        """As `write`, but on SQLite each statement is a transaction of its own."""
        return self._begun("")

    @contextmanager
    def _begun(self, begin: str) -> Iterator[Connection]:
        try:
            with _named_errors():
                connection = self._opened().execution_options(**{_BEGIN: begin})
                with connection.begin():
                    yield connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes it; the next transaction opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _opened(self) -> Connection:
        if self._connection is None:
            connection = self._database.engine.connect().execution_options(**{_BEGIN: ""})
            for statement in self._settings:
                connection.exec_driver_sql(statement)
            connection.commit()
            self._connection = connection
        return self._connection


def _prepare_sqlite(dbapi_connection: Any, _: object) -> None:
    dbapi_connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError:
        raise TransientError("all connections of this process are in use", where=_WHERE) from None
    except (DatabaseError, InterfaceError) as error:
        named = _named(error)
        if named is None:
            raise
        raise named from error


def _named(error: DatabaseError | InterfaceError) -> SisError | None:
    """Our error for the driver's; None for a mistake of ours, such as a broken constraint."""
    text = clean(str(error.orig)).strip()
    lower = text.lower()
    if any(word in lower for word in _ACCESS_WORDS):
        return AccessError(text, where=_WHERE, hint="Check user, password and rights in SIS_DATABASE_URL")
    for words, hint in _CONFIG_HINTS.items():
        if words in lower:
            return ConfigError(text, where=_WHERE, hint=hint)
    return (
        TransientError(text, where=_WHERE) if isinstance(error, OperationalError | InterfaceError) else None
    )


def now(connection: Connection) -> datetime:
    """The database's clock: what processes on several machines agree on."""
    if connection.dialect.name == "sqlite":
        return utc_now()
    at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return at.astimezone(UTC)


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can be made an upsert, in the connection's dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def insert_one(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Inserts the row; the id it was given."""
    inserted: int = connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one()
    return inserted


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, newer: str | None = None
) -> None:
    """Inserts the rows, or writes over those with the same primary key.

    Args:
        newer: a column; a row is written over only by one whose value there is not smaller.
    """
    if not rows:
        return
    statement = insert_into(connection, table)
    keys = [c.name for c in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    where = statement.excluded[newer] >= table.c[newer] if newer else None
    final: Insert = statement.on_conflict_do_update(index_elements=keys, set_=changed, where=where)
    connection.execute(final, list(rows))


def matching(table: Table, where: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Conditions that the named columns equal the given values."""
    return [table.c[name] == value for name, value in where.items()]


def clean(text: str) -> str:
    """`text` fit to be kept: no secrets, no NUL, valid Unicode, at most 4,000 characters."""
    # Cut first: the search for secrets takes quadratic time on a long run of letters.
    text = redact(text[: 2 * _TEXT_LIMIT]).replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"

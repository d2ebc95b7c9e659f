"""Connections to a PostgreSQL target, and its errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.retry import OWN_STORES
from superinsight_sync.security.secrets import redact

CONNECT_TIMEOUT_S = 15
LOCK_TIMEOUT_S = 300
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+adbc")


def libpq_dsn(dsn: str) -> str:
    """The DSN as PostgreSQL's drivers take it. Raises ConfigError for any other database."""
    scheme, found, rest = dsn.partition("://")
    if found and scheme in _SCHEMES:
        return f"postgresql://{rest}"
    if not found and "=" in dsn:
        return dsn
    raise ConfigError(
        f"save: database cannot write to '{scheme if found else 'this DSN'}'",
        hint="It supports PostgreSQL 15 or newer: postgresql://user@host:5432/database",
    )


@contextmanager
def connected(dsn: str, where: str) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection in UTC; database errors inside come out as ours, without DSN and values."""
    try:
        connection = psycopg.connect(
            dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="superinsight_sync",
            client_encoding="utf8",
        )
    except psycopg.Error as error:
        raise _connect_error(error, where) from None
    try:
        with mapped_errors(where):
            connection.execute("SELECT set_config('TimeZone', 'UTC', false)")
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_TIMEOUT_S}s"])
            yield connection
    finally:
        with suppress(psycopg.Error):
            connection.close()


@contextmanager
def mapped_errors(where: str) -> Iterator[None]:
    """psycopg's errors as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _as_ours(error, where) from None


def _connect_error(error: psycopg.Error, where: str) -> SisError:
    if not isinstance(error, psycopg.OperationalError):
        return ConfigError("the target's DSN cannot be parsed", where=where, hint="Check save.dsn")
    text = redact(str(error))
    if any(t in text for t in ("authentication failed", "no password supplied", "no pg_hba.conf entry")):
        return AccessError(
            "the target database refused the login", where=where, hint="Check user, password and pg_hba.conf"
        )
    if "role" in text and "does not exist" in text:
        return AccessError("the target database does not know this user", where=where)
    if "does not exist" in text or "translate host name" in text:
        return ConfigError(f"the target database was not found: {_last_line(text)}", where=where)
    away = TransientError(f"the target database cannot be reached: {_last_line(text)}", where=where)
    away.patience_s = OWN_STORES.patience_s
    return away


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "no answer"


_KINDS: tuple[tuple[str, type[SisError]], ...] = (
    ("42501", AccessError),
    ("28", AccessError),
    ("25006", AccessError),
    ("22", DataError),
    ("23", DataError),
    ("08", TransientError),
    ("40", TransientError),
    ("53", TransientError),
    ("55", TransientError),
    ("57", TransientError),
    ("58", TransientError),
)


def _as_ours(error: psycopg.Error, where: str) -> SisError:
    state = error.sqlstate or ""
    if isinstance(error, errors.CharacterNotInRepertoire | errors.UntranslatableCharacter):
        return DataError(
            "a text holds a character that PostgreSQL cannot keep, such as NUL",
            where=where,
            hint="Remove it in a standardise or sql step",
        )
    if state.startswith("22"):  # its message quotes the value
        return DataError(f"a value does not fit the target: {type(error).__name__}", where=where)
    kind = next((k for prefix, k in _KINDS if state.startswith(prefix)), None)
    if kind is None:
        kind = TransientError if not state and isinstance(error, psycopg.OperationalError) else ConfigError
    message = error.diag.message_primary or f"the connection was lost ({type(error).__name__})"
    return kind(f"the target database says: {redact(message)}", where=where)

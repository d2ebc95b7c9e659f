"""Database URLs as users write them, and as the drivers want them."""

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from superinsight_sync.core.errors import ConfigError

OURS = "psycopg"
DAGSTERS = "psycopg2"


def parse_url(url: str, driver: str = OURS) -> URL:
    """The URL with the driver named: ``postgres://``, ``postgresql://`` and ``postgresql+any://`` become
    ``postgresql+<driver>://``; SQLite stays as it is.

    SQLAlchemy 2.0 and 2.1 differ in what a bare ``postgresql://`` means, and dagster-postgres works with
    psycopg2 alone.

    Raises:
        ConfigError: not a URL, or neither PostgreSQL nor SQLite. The URL itself is not repeated.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "is not a database URL",
            where="SIS_DATABASE_URL",
            hint="Write postgresql://user:password@host:5432/database or sqlite:////path/to/state.db",
        ) from None
    backend = parsed.drivername.split("+")[0]
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername=f"postgresql+{driver}")
    if backend == "sqlite":
        return parsed.set(drivername="sqlite")
    raise ConfigError(
        f"'{backend}' databases cannot hold our state",
        where="SIS_DATABASE_URL",
        hint="Use postgresql or sqlite",
    )


def is_postgres(url: URL) -> bool:
    """Whether the parsed URL is one of PostgreSQL."""
    return url.get_backend_name() == "postgresql"

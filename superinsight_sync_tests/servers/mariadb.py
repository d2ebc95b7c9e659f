"""A real MariaDB server, from Debian's package, on a free loopback port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql

from superinsight_sync_tests.servers import keeper
from superinsight_sync_tests.servers.process import ServerProcess, new_name

_SERVER = "/usr/sbin/mariadbd"
PASSWORD = "test-only"


@dataclass
class MariadbServer(ServerProcess):
    """A running server. Its account is `root` with the password above."""

    options: tuple[str, ...] = ()

    def dsn(self, database: str = "mysql", user: str = "root", password: str = PASSWORD) -> str:
        return f"mysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "mysql") -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            password=PASSWORD,
            database=database,
            autocommit=True,
        )

    def create_database(self, name: str = "") -> str:
        """The DSN of a new, empty database."""
        name = name or new_name("db")
        with self.connect() as db, db.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def command(self) -> list[str]:
        account = ["--user=root"] if os.geteuid() == 0 else []
        return [
            _SERVER,
            "--no-defaults",
            *account,
            f"--datadir={self.folder}/data",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder}/s.sock",
            f"--pid-file={self.folder}/pid",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-name-resolve",
            f"--init-file={self.folder}/data/accounts.sql",
            *self.options,
        ]


_ACCOUNTS = f"""CREATE OR REPLACE USER 'root'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
"""


@contextmanager
def mariadb_template() -> Iterator[Path]:
    """The folder of a server that never ran, to be copied."""
    install = shutil.which("mariadb-install-db")
    if install is None or not Path(_SERVER).exists():
        raise RuntimeError("tests need MariaDB: apt-get install mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="sis-mariadb-", dir="/tmp"))
    account = ["--user=root"] if os.geteuid() == 0 else []
    try:
        subprocess.run(
            [install, "--no-defaults", f"--datadir={folder}/data", "--auth-root-authentication-method=normal",
             "--skip-test-db", *account],
            check=True,
            capture_output=True,
        )  # fmt: skip
        (folder / "data" / "accounts.sql").write_text(_ACCOUNTS)
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


LOGGED = (
    "--log-bin=bin",
    "--server-id=1",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--sync-binlog=1",
)


@contextmanager
def running_mariadb(options: tuple[str, ...] = ()) -> Iterator[MariadbServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    template: Path = keeper.ask("mariadb_template")
    with MariadbServer.in_new_folder("mariadb") as server:
        server.options = options
        subprocess.run(["cp", "-a", str(template), str(server.folder / "data")], check=True)
        server.start()
        yield server


@contextmanager
def running_logged_mariadb() -> Iterator[MariadbServer]:
    """One that writes a binlog as a capture needs it."""
    with running_mariadb(LOGGED) as server:
        yield server

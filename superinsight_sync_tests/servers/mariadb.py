"""A real MariaDB server, from Debian's package, on a free loopback port."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from superinsight_sync_tests.servers.process import ServerProcess

_SERVER = "/usr/sbin/mariadbd"
PASSWORD = "test-only"


class MariadbServer(ServerProcess):
    """A running server. Its account is `root` with the password above."""

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

    def create_database(self) -> str:
        """The DSN of a new, empty database."""
        name = f"db_{os.getpid()}_{next(self._numbers)}"
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
        ]


@contextmanager
def running_mariadb() -> Iterator[MariadbServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    install = shutil.which("mariadb-install-db")
    if install is None or not Path(_SERVER).exists():
        raise RuntimeError("tests need MariaDB: apt-get install mariadb-server")
    with MariadbServer.in_new_folder("mariadb") as server:
        account = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            [install, "--no-defaults", f"--datadir={server.folder}/data", "--auth-root-authentication-method=normal",
             "--skip-test-db", *account],
            check=True,
            capture_output=True,
        )  # fmt: skip
        server.start()
        with (
            pymysql.connect(host="127.0.0.1", port=server.port, user="root", autocommit=True) as db,
            db.cursor() as cursor,
        ):
            cursor.execute("CREATE OR REPLACE USER 'root'@'127.0.0.1' IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute("GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION")
        yield server

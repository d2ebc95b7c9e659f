"""A real MariaDB server, from Debian's package, on a free loopback port."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pymysql

from superinsight_sync_tests.servers.ports import free_port, wait_for_port

_SERVER = "/usr/sbin/mariadbd"
PASSWORD = "test-only"


@dataclass
class MariadbServer:
    """A running server. Its account is `root` with the password above."""

    folder: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

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

    def start(self) -> None:
        account = ["--user=root"] if os.geteuid() == 0 else []
        command = [
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
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for_port(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def running_mariadb() -> Iterator[MariadbServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    install = shutil.which("mariadb-install-db")
    if install is None or not Path(_SERVER).exists():
        raise RuntimeError("tests need MariaDB: apt-get install mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="sis-mariadb-"))
    server = MariadbServer(folder, free_port())
    try:
        account = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            [install, "--no-defaults", f"--datadir={folder}/data", "--auth-root-authentication-method=normal",
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
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

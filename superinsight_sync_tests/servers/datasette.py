"""Datasette: a real API server in front of a SQLite file, as a process of its own on a free loopback port."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from superinsight_sync_tests.servers.process import ServerProcess


class DatasetteServer(ServerProcess):
    """A running server of `shop.db`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def execute(self, statement: str, rows: list[tuple[object, ...]] | None = None) -> None:
        """Runs a statement on the file, for each of the rows if there are any."""
        with closing(sqlite3.connect(self.folder / "shop.db")) as db, db:
            db.executemany(statement, [()] if rows is None else rows)

    def command(self) -> list[str]:
        return [
            sys.executable,
            *("-m", "datasette", "serve", str(self.folder / "shop.db"), "--port", str(self.port)),
            *("--setting", "max_returned_rows", "100", "--setting", "default_page_size", "100"),
        ]


@contextmanager
def running_datasette(*statements: str) -> Iterator[DatasetteServer]:
    """Makes the file by the statements and serves it."""
    with DatasetteServer.in_new_folder("datasette") as server:
        for statement in statements:
            server.execute(statement)
        server.start()
        yield server

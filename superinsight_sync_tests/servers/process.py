"""Servers that are processes of their own: started, killed, started again, and never left behind."""

import shutil
import subprocess
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from superinsight_sync_tests.servers.ports import free_port, wait_for_port

_STARTER = ThreadPoolExecutor(1)


def dying_with_us(command: Sequence[str], how: str = "KILL") -> list[str]:
    """The command so that its process gets the signal when the thread that starts it is gone, however it goes.

    Only where there is `setpriv`, as on every Linux.
    """
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", how, *command] if found else list(command)


def started(command: Sequence[str], **how: Any) -> "subprocess.Popen[bytes]":
    """Starts a process that does not outlive this one. A thread that lives as long as this process does it."""
    found: subprocess.Popen[bytes] = _STARTER.submit(subprocess.Popen, dying_with_us(command), **how).result()
    return found


def new_name(kind: str) -> str:
    """A name that no other test and no other process gives."""
    return f"{kind}_{uuid.uuid4().hex[:12]}"


@dataclass
class ServerProcess(ABC):
    """A server that listens on a loopback port and keeps all in its folder, its log too.

    One that another process keeps (see `keeper`) can be used, and neither be stopped nor started.
    """

    folder: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = None
    _kept: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None, "_kept": True}

    @abstractmethod
    def command(self) -> list[str]:
        """What runs it."""

    def start(self) -> None:
        self._ours()
        with (self.folder / "log").open("ab") as log:
            self._process = started(self.command(), stdout=log, stderr=log, cwd=self.folder)
        self.wait()

    def wait(self) -> None:
        """Returns when it answers."""
        wait_for_port(self.port)

    def stop(self) -> None:
        self._ours()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _ours(self) -> None:
        assert not self._kept, "others use this server too; start one of your own to stop it"

    @classmethod
    @contextmanager
    def in_new_folder(cls, name: str) -> Iterator[Self]:
        """A server not started yet, in a folder of its own; stops and removes it at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"sis-{name}-", dir="/tmp"))
        server = cls(folder, free_port())
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

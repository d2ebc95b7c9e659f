"""Servers that are processes of their own: started, killed, started again."""

import itertools
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from superinsight_sync_tests.servers.ports import free_port, wait_for_port


@dataclass
class ServerProcess(ABC):
    """A server that listens on a loopback port and keeps all in its folder, its log too."""

    folder: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @abstractmethod
    def command(self) -> list[str]:
        """What runs it."""

    def start(self) -> None:
        command = self.command()
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

    @classmethod
    @contextmanager
    def in_new_folder(cls, name: str) -> Iterator[Self]:
        """A server not started yet, in a folder of its own; stops and removes it at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"sis-{name}-"))
        server = cls(folder, free_port())
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

"""Keeps the servers that tests share: one process for the whole run, whatever the number of its workers.

Whoever asks first for a server has it started. All end when the process that began the run is gone, however it
goes: it holds the other end of a pipe.
"""

import importlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

ADDRESS = "SIS_TEST_KEEPER"
"""The variable that tells a worker where the keeper listens."""
KEPT = {
    "postgres": "postgres:running_postgres",
    "postgres_template": "postgres:postgres_template",
    "mariadb": "mariadb:running_mariadb",
    "logged_mariadb": "mariadb:running_logged_mariadb",
    "mariadb_template": "mariadb:mariadb_template",
    "s3": "s3:running_s3",
    "mongo": "mongo:running_mongo",
    "kafka": "kafka:running_kafka",
}
_STARTED: list["subprocess.Popen[bytes]"] = []


def start() -> None:
    """Starts the keeper for this process and those it starts, unless there is one."""
    if ADDRESS in os.environ:
        return
    address = f"{tempfile.mkdtemp(prefix='sis-keeper-', dir='/tmp')}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends the run, and the run ends the keeper
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None and process.stdout.readline() == b"listening\n"
    _STARTED.append(process)
    os.environ[ADDRESS] = address


def end() -> None:
    """Ends the keeper that this process has started, and with it the servers."""
    while _STARTED:
        del os.environ[ADDRESS]
        process = _STARTED.pop()
        process.communicate()


def ask(kind: str) -> Any:
    """The server of this kind, started if nobody asked before. Raises RuntimeError."""
    start()
    with Client(os.environ[ADDRESS], "AF_UNIX") as connection:
        connection.send(kind)
        found, error = pickle.loads(connection.recv_bytes())
    if error:
        raise RuntimeError(error)
    return found


class _Keeper:
    def __init__(self) -> None:
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[Future[Any], threading.Thread]] = {}

    def answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError, BrokenPipeError):
            kind = connection.recv()
            with self._lock:
                if kind not in self._kept:
                    found: Future[Any] = Future()
                    thread = threading.Thread(target=self._keep, args=(kind, found))
                    self._kept[kind] = found, thread
                    thread.start()
            connection.send_bytes(pickle.dumps(self._kept[kind][0].result()))

    def _keep(self, kind: str, found: "Future[Any]") -> None:
        """Its thread lives as long as the server, which would die with it."""
        try:
            room, name = KEPT[kind].split(":")
            running = getattr(importlib.import_module(f"superinsight_sync_tests.servers.{room}"), name)
            with running() as server:
                found.set_result((server, ""))
                self.over.wait()
        finally:
            if not found.done():
                found.set_result((None, f"{kind}: {traceback.format_exc()}"))

    def end(self) -> None:
        self.over.set()
        for _, thread in self._kept.values():
            thread.join()


def _main(address: str) -> None:
    os.environ[ADDRESS] = address
    keeper = _Keeper()
    listener = Listener(address, "AF_UNIX", backlog=16)

    def serve() -> None:
        while True:
            with suppress(OSError):
                threading.Thread(target=keeper.answer, args=(listener.accept(),), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    sys.stdout.buffer.write(b"listening\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()
    keeper.end()
    listener.close()
    shutil.rmtree(Path(address).parent, ignore_errors=True)


if __name__ == "__main__":
    _main(sys.argv[1])

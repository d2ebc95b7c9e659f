"""A TCP proxy on a free loopback port, to break connections with."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Passes bytes on until it is told to break: each connection to the next of the ports that takes it."""

    def __init__(self, *to_ports: int) -> None:
        self._to = deque(to_ports)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.passed_bytes = 0
        self.broken = 0
        self.refusing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def break_all(self) -> None:
        """Cuts every connection there is."""
        self.broken += 1
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.break_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                if self.refusing:
                    inner.close()
                    continue
                outer = self._connected()
                if outer is None:
                    inner.close()
                    continue
                self._open += [inner, outer]
                for source, target in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _connected(self) -> socket.socket | None:
        for _ in range(len(self._to)):
            self._to.rotate(-1)
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", self._to[0]))
        return None

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.passed_bytes += len(data)
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def running_proxy(*to_ports: int) -> Iterator[Proxy]:
    proxy = Proxy(*to_ports)
    try:
        yield proxy
    finally:
        proxy.close()

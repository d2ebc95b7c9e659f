"""Ports where something listens that is no database."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage_port() -> Iterator[int]:
    """Answers everything with text of another protocol and hangs up."""
    with _saying(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 50, listens_first=True) as port:
        yield port


@contextmanager
def greeting_port(greeting: bytes) -> Iterator[int]:
    """Says this to whoever connects, as servers of other protocols do, and hangs up."""
    with _saying(greeting, listens_first=False) as port:
        yield port


@contextmanager
def mute_port() -> Iterator[int]:
    """Takes connections and never says a word."""
    with _listening() as server:
        yield server.getsockname()[1]


@contextmanager
def _saying(text: bytes, *, listens_first: bool) -> Iterator[int]:
    with _listening() as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    if listens_first:
                        client.recv(4096)
                    client.sendall(text)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            yield server
        finally:
            server.close()


@contextmanager
def ssh_cut_at_login() -> Iterator[tuple[int, str]]:
    """An SSH server that hangs up while it checks a password: its port and its key, as `type base64`."""
    import paramiko

    key = paramiko.ECDSAKey.generate()

    class Cut(paramiko.ServerInterface):
        def __init__(self, client: socket.socket) -> None:
            self._client = client

        def get_allowed_auths(self, username: str) -> str:
            return "password"

        def check_auth_password(self, username: str, password: str) -> int:
            self._client.shutdown(socket.SHUT_RDWR)
            return paramiko.AUTH_FAILED

    with _listening() as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                transport = paramiko.Transport(client)
                transport.add_server_key(key)
                transport.start_server(server=Cut(client))

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], f"{key.get_name()} {key.get_base64()}"

"""Free loopback ports, and waiting until something listens on one."""

import socket

from superinsight_sync_tests.waiting import until


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether something listens on it now."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int) -> None:
    """Returns when something listens."""
    until(lambda: listens(port), f"nothing listens on 127.0.0.1:{port}")

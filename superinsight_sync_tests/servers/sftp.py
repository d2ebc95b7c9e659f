"""A real SFTP server: OpenSSH's sshd on a free loopback port, for the account that runs the tests."""

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from superinsight_sync_tests.servers.ports import free_port, wait_for_port
from superinsight_sync_tests.servers.process import dying_with_us


@dataclass
class SftpServer:
    """A running server. `folder` is where tests put files; it is seen under the same path."""

    port: int
    folder: Path
    private_key: str
    host_key: str
    process_id: int
    user: str = getpass.getuser()

    def sessions(self) -> int:
        """How many connections it has now."""
        found = subprocess.run(
            ["ps", "--ppid", str(self.process_id), "-o", "pid="], capture_output=True, text=True, check=False
        )
        return len(found.stdout.split())


def _binary() -> str:
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        raise RuntimeError("tests need an SFTP server: tools/install_servers.sh")
    return found


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)


@contextmanager
def running_sftp() -> Iterator[SftpServer]:
    """Starts a server in a folder of its own; kills and removes it at the end."""
    home = Path(tempfile.mkdtemp(prefix="sis-sftp-"))
    (home / "files").mkdir()
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    _key(home / "host")
    _key(home / "client")
    port = free_port()
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {home / 'client.pub'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    with (home / "log").open("wb") as log:
        command = [_binary(), "-D", "-e", "-f", str(home / "config")]
        process = subprocess.Popen(dying_with_us(command), stderr=log)
    try:
        wait_for_port(port)
        host_key = " ".join((home / "host.pub").read_text().split()[:2])
        yield SftpServer(port, home / "files", (home / "client").read_text(), host_key, process.pid)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)

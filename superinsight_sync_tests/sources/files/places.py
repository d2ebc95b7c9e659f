"""The same folder on a server of each protocol, to test what must hold for all of them."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import Source
from superinsight_sync_tests.servers.ftp import PASSWORD, USER, running_ftp
from superinsight_sync_tests.servers.s3 import S3Server
from superinsight_sync_tests.servers.sftp import SftpServer
from superinsight_sync_tests.servers.web import running_web
from superinsight_sync_tests.sources.reading import read, stream
from superinsight_sync_tests.waiting import until

PROTOCOLS = ("ftp", "ftps", "ftp-old", "sftp", "s3", "http")
FAST = {"allow_private": True, "connect_timeout": "5s", "read_timeout": "5s"}


@dataclass
class RemotePlace:
    """A folder on a server.

    Attributes:
        put: writes a file; what was there is replaced.
        sessions: how many connections the server has now; None if that cannot be seen.
        server: what the protocol's own tests use.
    """

    protocol: str
    connection: dict[str, Any]
    put: Callable[[str, bytes], None]
    server: Any
    sessions: Callable[[], int] | None = None
    folder: Path | None = None
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = self.connection["path"]

    def source(self, project: Settings, **keys: Any) -> Source:
        return open_source({**self.connection, **keys}, project)


def _writer(folder: Path) -> Callable[[str, bytes], None]:
    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return put


@contextmanager
def place_of(
    protocol: str, sftp: Callable[[], SftpServer], s3: Callable[[], S3Server], name: str
) -> Iterator[RemotePlace]:
    """An empty folder of this name. Secrets are in the environment."""
    if protocol == "http":
        with running_web() as web:
            (web.folder / name).mkdir()
            at = {"kind": "files", "path": f"{web.url}/{name}/", **FAST}
            yield RemotePlace("http", at, _writer(web.folder / name), web, web.sessions, web.folder / name)
    elif protocol == "sftp":
        ssh = sftp()
        (ssh.folder / name).mkdir()
        os.environ["TEST_SFTP_KEY"] = ssh.private_key
        at = {
            "kind": "files", "path": f"sftp://127.0.0.1:{ssh.port}{ssh.folder / name}", "user": ssh.user,
            "private_key": "{{ env.TEST_SFTP_KEY }}", "host_key": ssh.host_key, **FAST,
        }  # fmt: skip
        yield RemotePlace("sftp", at, _writer(ssh.folder / name), ssh, ssh.sessions, ssh.folder / name)
    elif protocol == "s3":
        store = s3()
        bucket = store.create_bucket(f"files-{name}").removeprefix("s3://")
        keys = store.environment
        os.environ["TEST_S3_KEY"], os.environ["TEST_S3_SECRET"] = (
            keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip

        def put(file: str, data: bytes) -> None:
            with store.files().open_output_stream(f"{bucket}/in/{file}", compression=None) as stream:
                stream.write(data)

        put(".keep", b"")
        at = {
            "kind": "files", "path": f"s3://{bucket}/in", "endpoint": store.endpoint, "region": "us-east-1",
            "access_key_id": "{{ env.TEST_S3_KEY }}", "secret_access_key": "{{ env.TEST_S3_SECRET }}", **FAST,
        }  # fmt: skip
        yield RemotePlace("s3", at, put, store)
    else:
        with running_ftp(tls=protocol == "ftps", machine_lists=protocol != "ftp-old") as ftp:
            (ftp.folder / name).mkdir()
            os.environ["TEST_FTP_PASSWORD"] = PASSWORD
            scheme = "ftps" if protocol == "ftps" else "ftp"
            at = {
                "kind": "files", "path": f"{scheme}://127.0.0.1:{ftp.port}/{name}", "user": USER,
                "password": "{{ env.TEST_FTP_PASSWORD }}", **FAST,
            }  # fmt: skip
            if ftp.certificate:
                at["ca_file"] = str(ftp.certificate)
            yield RemotePlace(protocol, at, _writer(ftp.folder / name), ftp, ftp.sessions, ftp.folder / name)


def csv_of(*ids: int) -> bytes:
    return ("id\n" + "".join(f"{i}\n" for i in ids)).encode()


def ids(source: Source, path: str, **keys: Any) -> list[int]:
    spec = stream(path=path, format={"columns": {"id": "int64"}})
    return [int(i) for i in read(source, ReadRequest(spec, **keys)).column("id").to_pylist()]


def parquet_of(table: pa.Table, **how: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **how)
    return sink.getvalue().to_pybytes()


def nothing_open(place: RemotePlace) -> None:
    if place.sessions is not None:
        until(lambda: not place.sessions or place.sessions() == 0, "connections are left open")


@contextmanager
def place_in(request: pytest.FixtureRequest, protocol: str) -> Iterator[RemotePlace]:
    """An empty folder on a server of a protocol."""
    name = f"in-{uuid.uuid4().hex[:8]}"
    servers = (lambda: request.getfixturevalue("sftp_server"), lambda: request.getfixturevalue("s3_server"))
    with place_of(protocol, *servers, name) as found:
        yield found

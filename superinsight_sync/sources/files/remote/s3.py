"""S3 and what speaks like it, by Arrow's file system."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from superinsight_sync.core.errors import AccessError, ConfigError, TransientError
from superinsight_sync.security.net import Guard
from superinsight_sync.sources.files.listing import FoundFile, Seen
from superinsight_sync.sources.files.remote.file import changed
from superinsight_sync.sources.files.remote.server import REACH, Entry, Scope, lost, unknown_host

_REQUEST_BYTES = 4 << 20
_S = 10**9
_CODE = re.compile(r"AWS Error ([A-Z_]+)")
_STATUS = re.compile(r"HTTP (?:status|response code:?) (\d{3})", re.IGNORECASE)
_REFUSED = {
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID",
    "UNRECOGNIZED_CLIENT", "MISSING_AUTHENTICATION_TOKEN", "EXPIRED_TOKEN",
}  # fmt: skip


@dataclass(frozen=True)
class S3Account:
    """Where and who. Without a key, what the environment or the machine's role gives."""

    endpoint: str | None
    region: str | None
    access_key_id: str | None
    secret_access_key: str | None
    session_token: str | None
    anonymous: bool
    ca_file: str | None
    connect_timeout_s: float
    read_timeout_s: float


class S3Server:
    """A prefix of a bucket. Times are of whole seconds.

    Args:
        base: bucket and prefix.
    """

    lists_deep = True

    def __init__(self, account: S3Account, guard: Guard, base: str) -> None:
        self._account = account
        self._guard = guard
        self._base = base.strip("/")
        self._lock = threading.Lock()
        self._files: Any = None
        self._etags: dict[str, str] = {}
        self._scope = Scope(self._etags.clear)
        self.where = f"s3://{self._base.partition('/')[0]}"

    def kept(self) -> AbstractContextManager[None]:
        """Within it a file must keep the ETag that it had when it was opened first: a listing has none, and a
        time in whole seconds may stay when a file is replaced."""
        return self._scope.kept()

    def entry(self, path: str) -> Entry | None:
        with self._told():
            info = self._fs().get_file_info(self._full(path))
        if info.type == fs.FileType.NotFound:
            return None
        entry = self._entry(info)
        known = self._etags.get(entry.path)
        if known and entry.seen is not None and self._etag(entry.path) != known:
            return replace(entry, seen=replace(entry.seen, version="another"))
        return entry

    def entries(self, folder: str, *, deep: bool) -> Iterator[Entry]:
        selector = fs.FileSelector(self._full(folder), recursive=deep, allow_not_found=True)
        with self._told():
            found = self._fs().get_file_info(selector)
        for info in found:
            entry = self._entry(info)
            if not any(part in ("", ".", "..") for part in entry.path.split("/")):
                yield entry

    def stream(self, file: FoundFile, offset: int) -> "S3Stream":
        with self._told(file):
            opened = self._fs().open_input_file(self._full(file.path))
        etag = _etag_of(opened)
        if opened.size() != file.size_bytes or self._etags.setdefault(file.path, etag) != etag:
            opened.close()
            raise changed(file)
        return S3Stream(self, file, opened, offset)

    def jumps(self, file: FoundFile) -> bool:
        return True

    def warnings(self) -> list[str]:
        return []

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def _entry(self, info: Any) -> Entry:
        path = (
            info.path[len(self._base) :].strip("/")
            if info.type != fs.FileType.File
            else info.path[len(self._base) + 1 :]
        )
        if info.type != fs.FileType.File:
            return Entry(info.base_name, path, True)
        return Entry(info.base_name, path, seen=Seen(info.size, (info.mtime_ns or 0) // _S * _S))

    def _etag(self, path: str) -> str:
        with self._told(), self._fs().open_input_file(self._full(path)) as opened:
            return _etag_of(opened)

    def _fs(self) -> Any:
        """Arrow's file system. The address of an endpoint is judged each time, since Arrow looks it up itself."""
        account = self._account
        endpoint = urlsplit(account.endpoint) if account.endpoint else None
        if endpoint is not None:
            if endpoint.scheme not in ("http", "https") or not endpoint.hostname or endpoint.path.strip("/"):
                raise ConfigError(
                    "endpoint is no address of a server", where="connection", hint="Write https://host:port"
                )
            port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
            self._guard.addresses(endpoint.hostname, port)
        with self._lock:
            if self._files is None:
                keys: dict[str, Any] = {
                    "access_key": account.access_key_id,
                    "secret_key": account.secret_access_key,
                    "session_token": account.session_token,
                    "anonymous": account.anonymous,
                    "region": account.region,
                    "tls_ca_file_path": account.ca_file,
                }
                if endpoint is not None:
                    keys |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
                self._files = fs.S3FileSystem(
                    connect_timeout=account.connect_timeout_s,
                    request_timeout=account.read_timeout_s,
                    retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
                    background_writes=False,
                    **{k: v for k, v in keys.items() if v},
                )
        return self._files

    @contextmanager
    def _told(self, file: FoundFile | None = None) -> Iterator[None]:
        """Our errors instead of Arrow's."""
        where = f"file '{file.name}'" if file else self.where
        try:
            yield
        except FileNotFoundError:
            raise TransientError("it is gone", where=where) from None
        except socket.gaierror:
            raise unknown_host(where) from None
        except UnicodeError as error:
            raise lost(where, error) from None
        except (OSError, pa.ArrowException) as error:
            raise self._error(str(error), where, error) from None

    def _error(self, text: str, where: str, error: Exception) -> Exception:
        code = _CODE.search(text)
        status = _STATUS.search(text)
        name = code.group(1) if code else type(error).__name__
        if name in _REFUSED or (status and status.group(1) in ("401", "403")):
            return AccessError(
                f"the key is refused ({name})", where=where, hint="Check the key, its rights and the region"
            )
        if name == "NO_SUCH_BUCKET":
            return ConfigError("there is no such bucket", where=where, hint="Correct `path`")
        if "resolve host" in text:
            return unknown_host(where)
        if "certificate" in text.lower():
            return ConfigError("the server's certificate is not trusted", where=where, hint="Set ca_file")
        if status and status.group(1) in ("301", "400"):
            return ConfigError(
                f"the server answered {status.group(1)}", where=where, hint="Check endpoint and region"
            )
        return TransientError(f"the server cannot be asked ({name})", where=where, hint=REACH)


class S3Stream:
    """Reads by ranges, a request for each: as much as is asked for at first, then 4 MB at once."""

    def __init__(self, server: S3Server, file: FoundFile, opened: Any, offset: int) -> None:
        self._server = server
        self._file = file
        self._opened = opened
        self._at = offset
        self._ahead = memoryview(b"")
        self._least = 0

    def read(self, size: int) -> bytes:
        if not self._ahead:
            with self._server._told(self._file):
                data = self._opened.read_at(max(size, self._least), self._at)
            self._least = _REQUEST_BYTES
            self._at += len(data)
            self._ahead = memoryview(data)
        part, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(part)

    def close(self) -> None:
        self._opened.close()


def _etag_of(opened: Any) -> str:
    return bytes((opened.metadata() or {}).get("ETag", b"")).decode()

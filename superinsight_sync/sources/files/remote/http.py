"""HTTP: single files, files of an index page, or files by declared names. A file is asked for from a byte on
(RFC 9110, 14) under the condition that it is still the one that was listed (13.1)."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpx

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, TransientError
from superinsight_sync.security.net import Guard, guarded_client
from superinsight_sync.sources.files.listing import UNKNOWN, FoundFile, Seen
from superinsight_sync.sources.files.remote.file import changed
from superinsight_sync.sources.files.remote.server import REACH, Connections, Entry, lost, unknown_host
from superinsight_sync.sources.http.retry_after import retry_after_s

_MAX_INDEX_BYTES = 10 << 20
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class HttpAccount:
    """Where and who. `url` is a folder's, with a slash at its end, or one file's."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0


class HttpServer:
    """A folder of a web server, or one file. Credentials and headers go to its host alone."""

    lists_deep = False

    def __init__(self, account: HttpAccount, guard: Guard) -> None:
        self._account = account
        self._url = account.url
        parts = urlsplit(account.url)
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._own = dict(account.headers)
        if account.user is not None:
            pair = base64.b64encode(f"{account.user}:{account.password or ''}".encode()).decode()
            self._own["Authorization"] = f"Basic {pair}"
        self._ranged: dict[str, bool] = {}

        def connect() -> httpx.Client:
            return guarded_client(
                guard,
                read_timeout_s=account.read_timeout_s,
                connect_timeout_s=account.connect_timeout_s,
                ca_file=account.ca_file,
            )

        self._clients: Connections[httpx.Client] = Connections(
            connect, lambda c: c.close(), lambda c: not c.is_closed
        )

    def kept(self) -> AbstractContextManager[None]:
        return self._clients.kept()

    def entry(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        with self._told(), self._clients.lent() as client:
            response = self._send(client, self._address(path), {"Range": "bytes=0-0"})
            try:
                if response.status_code in (404, 410):
                    return None
                if response.url.path.endswith("/") and response.status_code < 300:
                    return Entry(name, path, True)
                self._check(response, 200, 206, 416)
                self._ranged[path] = (
                    response.status_code != 200 or response.headers.get("accept-ranges") == "bytes"
                )
                return Entry(name, path, seen=_seen(response))
            finally:
                _finish(response)

    def entries(self, folder: str, *, deep: bool) -> Iterator[Entry]:
        with self._told(), self._clients.lent() as client:
            response = self._send(client, self._address(f"{folder}/" if folder else ""), {})
            try:
                if response.status_code in (404, 410):
                    return
                self._check(response, 200)
                if "html" not in response.headers.get("content-type", ""):
                    raise ConfigError(
                        "the server gives no index page of the folder", where=self.where,
                        hint="Name the files: names: [a.csv, b.csv], or end `path` with a file",
                    )  # fmt: skip
                page = _Index(_text(response), str(response.url))
            finally:
                response.close()
        prefix = f"{folder}/" if folder else ""
        for name, is_folder in page.found:
            yield Entry(name, prefix + name, is_folder)

    def stream(self, file: FoundFile, offset: int) -> "HttpStream":
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if file.version and not file.version.startswith("W/"):
            headers["If-Match"] = file.version
        client = self._clients.take()
        given = False
        try:
            with self._told():
                response = self._send(client, self._address(file.path), headers)
                try:
                    self._check_same(response, file, offset)
                    stream = HttpStream(self, client, response)
                    if response.status_code == 200 and offset:
                        stream.skip(offset)
                except (TransientError, AccessError, ConfigError, httpx.HTTPError):
                    response.close()
                    raise
            given = True
            return stream
        finally:
            if not given:
                self._clients.give(client, usable=False)

    def jumps(self, file: FoundFile) -> bool:
        return self._ranged.get(file.path, False)

    def warnings(self) -> list[str]:
        return []

    def _address(self, path: str) -> str:
        return self._url + quote(path, safe="/") if self._url.endswith("/") else self._url

    def _send(self, client: httpx.Client, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The answer's head; its body is not read yet. Redirects are followed, without what is ours alone."""
        for _ in range(_MAX_REDIRECTS + 1):
            own = self._own if _origin(url) == _origin(self._url) else {}
            request = client.build_request(
                "GET", url, headers={**own, **headers, "Accept-Encoding": "identity"}
            )
            response = client.send(request, stream=True)
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response
            response.close()
            target = urljoin(url, response.headers["location"])
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise ConfigError(
                    "the server redirects to an address without TLS", where=self.where, hint="Correct `path`"
                )
            url = target
        raise ConfigError("the server redirects in a circle", where=self.where, hint="Correct `path`")

    def _check(self, response: httpx.Response, *wanted: int) -> None:
        status = response.status_code
        if status in wanted:
            return
        said = f"the server answered {status}"
        if status in (401, 403, 407):
            raise AccessError(said, where=self.where, hint="Check user, password, headers and their rights")
        if status >= 500 or status in (408, 425, 429):
            failure = TransientError(said, where=self.where, hint=REACH)
            failure.wait_s = retry_after_s(response.headers)
            raise failure
        raise ConfigError(said, where=self.where, hint="Check `path`")

    def _check_same(self, response: httpx.Response, file: FoundFile, offset: int) -> None:
        """Raises TransientError if what comes is not the listed file from `offset` on."""
        if response.status_code in (412, 416):
            raise changed(file)
        if response.status_code in (404, 410):
            raise TransientError("it is gone", where=f"file '{file.name}'")
        self._check(response, 200, *((206,) if offset else ()))
        now = _seen(response)
        if (file.version and now.version != file.version) or (
            UNKNOWN not in (file.modified_ns, now.modified_ns) and now.modified_ns != file.modified_ns
        ):
            raise changed(file)
        start = response.headers.get("content-range", "")
        if response.status_code == 206 and not start.startswith(f"bytes {offset}-"):
            raise TransientError(
                "the server gives another part than was asked for", where=f"file '{file.name}'"
            )
        if offset and not file.version and file.modified_ns == UNKNOWN:
            raise TransientError(
                "the server cannot say whether it is still the same after the connection dropped",
                where=f"file '{file.name}'",
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Our errors instead of the library's."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            text = str(error)
            if "CERTIFICATE_VERIFY_FAILED" in text:
                raise ConfigError(
                    "the server's certificate is not trusted", where=self.where,
                    hint="Write the name that is in the certificate, or set ca_file",
                ) from None  # fmt: skip
            if any(word in text for word in ("Name or service", "name resolution", "No address", "nodename")):
                raise unknown_host(self.where) from None
            raise lost(self.where, error) from None
        except httpx.InvalidURL:
            raise ConfigError("an address of the server is no URL", where=self.where) from None
        except httpx.UnsupportedProtocol:
            raise ConfigError(
                "the server redirects to something that is not HTTP", where=self.where, hint="Correct `path`"
            ) from None
        except httpx.HTTPError as error:
            raise lost(self.where, error) from None


class HttpStream:
    """An answer's bytes as they are on the wire."""

    def __init__(self, server: HttpServer, client: httpx.Client, response: httpx.Response) -> None:
        self._server = server
        self._client = client
        self._response = response
        self._parts = response.iter_raw()
        self._ahead = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._ahead:
            with self._server._told():
                part = next(self._parts, None)
            if part is None:
                return b""
            self._ahead = memoryview(part)
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(taken)

    def skip(self, size: int) -> None:
        """Reads over what a server that knows no ranges gives again."""
        while size > 0 and (part := self.read(size)):
            size -= len(part)

    def close(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self._response.close()
        self._server._clients.give(self._client)


class _Index(HTMLParser):
    """The files and folders that an index page links to, directly below it."""

    def __init__(self, text: str, url: str) -> None:
        super().__init__()
        self._base = url if url.endswith("/") else f"{url.rpartition('/')[0]}/"
        self.found: dict[tuple[str, bool], None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") if tag == "a" else None
        if not href:
            return
        try:
            parts = urlsplit(urljoin(self._base, href))
            same = _origin(parts.geturl()) == _origin(self._base)
        except ValueError:
            return
        folder = unquote(urlsplit(self._base).path)
        path = unquote(parts.path)
        name = path.removeprefix(folder)
        is_folder = name.endswith("/")
        name = name.rstrip("/")
        if (
            same
            and not parts.query
            and path.startswith(folder)
            and name not in ("", ".", "..")
            and "/" not in name
        ):
            self.found[(name, is_folder)] = None


def _seen(response: httpx.Response) -> Seen:
    headers = response.headers
    if response.status_code == 200:
        total = headers.get("content-length", "")
    else:
        total = headers.get("content-range", "").rpartition("/")[2]
    try:
        modified_ns = int(parsedate_to_datetime(headers.get("last-modified", "")).timestamp()) * 10**9
    except (ValueError, TypeError):
        modified_ns = UNKNOWN
    return Seen(int(total) if total.isdecimal() else UNKNOWN, modified_ns, headers.get("etag", ""))


def _text(response: httpx.Response) -> str:
    parts = bytearray()
    for part in response.iter_bytes():
        parts += part
        if len(parts) > _MAX_INDEX_BYTES:
            raise DataError(
                f"the index page has more than {_MAX_INDEX_BYTES >> 20} MB", hint="Name the files: names: […]"
            )
    return parts.decode("utf-8", "replace")


def _finish(response: httpx.Response) -> None:
    """Reads a short rest, so that the connection can be used again; else cuts it."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) <= 1024:
        with contextlib.suppress(httpx.HTTPError):
            response.read()
    response.close()


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or (443 if parts.scheme == "https" else 80),
    )

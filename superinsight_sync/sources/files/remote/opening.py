"""A connection's URL and keys → the folder on its server."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.extras import need
from superinsight_sync.security.net import Guard, guard_of
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.files.remote.file import LocalRoom, RemotePlace
from superinsight_sync.sources.files.remote.folder import RemoteFolder
from superinsight_sync.sources.files.remote.options import SCHEMES, RemoteConfig
from superinsight_sync.sources.files.remote.server import Server

_ALL = {"allow_private", "allow_networks", "connect_timeout", "read_timeout"}
KEYS = {
    "ftp": _ALL | {"user", "password"},
    "ftps": _ALL | {"user", "password", "ca_file"},
    "sftp": _ALL
    | {"user", "password", "private_key", "private_key_password", "known_hosts", "host_key"},
    "s3": _ALL
    | {
        "endpoint", "region", "access_key_id", "secret_access_key", "session_token", "anonymous", "ca_file",
    },
    "http": _ALL | {"user", "password", "headers", "names"},
    "https": _ALL | {"user", "password", "headers", "names", "ca_file"},
}  # fmt: skip
"""Which keys mean something for which protocol."""


def check_keys(config: RemoteConfig, scheme: str) -> None:
    """Raises ConfigError for a key that means nothing here, so that none is thought to hold."""
    allowed = KEYS.get(scheme, set())
    wrong = sorted((config.model_fields_set & set(RemoteConfig.model_fields)) - allowed)
    if wrong:
        kind = f"{scheme}://" if scheme else "a local folder"
        raise ConfigError(
            f"'{wrong[0]}' means nothing for {kind}",
            where="connection",
            hint=f"Its keys: {', '.join(sorted(allowed)) or 'none of those of servers'}",
        )


def scheme_of(path: str) -> str:
    """The protocol of a URL; '' for a local path. Raises ConfigError for one that is not known."""
    scheme, separator, _ = path.partition("://")
    if not separator:
        return ""
    if scheme.lower() not in SCHEMES:
        raise ConfigError(
            f"protocol '{scheme}' is not known", where="connection", hint=f"Valid: {', '.join(SCHEMES)}"
        )
    return scheme.lower()


def open_folder(config: RemoteConfig, url: str, settle: timedelta, room: LocalRoom) -> RemoteFolder:
    """Connects, and finds out whether the URL is a folder's or a file's.

    Raises:
        ConfigError: if there is nothing, or for a key or URL that is wrong.
    """
    scheme = scheme_of(url)
    check_keys(config, scheme)
    guard = guard_of(allow_private=config.allow_private, allow_networks=config.allow_networks)
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        raise ConfigError("`path` is no URL", where="connection") from None
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ConfigError(
            "`path` names no host" if not parts.hostname else "`path` holds a user or password",
            where="connection",
            hint=f"Write {scheme}://host/folder, and the account into keys of their own",
        )
    if scheme in ("http", "https"):
        return _http(config, parts, guard, settle, room)
    if scheme != "s3" and (parts.query or parts.fragment):
        raise ConfigError("`path` has a query", where="connection", hint="Write '?' as %3F and '#' as %23")
    base = url.partition("://")[2] if scheme == "s3" else unquote(parts.path)
    make = _makers(config, parts, guard)[scheme]
    server = make(base)
    with server.kept():
        entry = server.entry("")
    if entry is None:
        raise ConfigError(
            f"'{base}' does not exist", where=server.where, hint="Correct `path` of the connection"
        )
    only = None
    if not entry.is_folder:
        parent, _, only = base.rstrip("/").rpartition("/")
        server = make(parent or "/")
    return RemoteFolder(RemotePlace(server, room), settle, only=only)


def _makers(config: RemoteConfig, parts: SplitResult, guard: Guard) -> dict[str, Callable[[str], Server]]:
    def secret(text: str | None) -> str | None:
        return None if text is None else resolve(text)

    host = parts.hostname or ""
    times: dict[str, Any] = {
        "connect_timeout_s": config.connect_timeout.total_seconds(),
        "read_timeout_s": config.read_timeout.total_seconds(),
    }

    def ftp(base: str) -> Server:
        from superinsight_sync.sources.files.remote.ftp import FtpAccount, FtpServer

        account = FtpAccount(
            host, parts.port or 21, secret(config.user) or "anonymous", secret(config.password) or "",
            parts.scheme == "ftps", secret(config.ca_file), **times,
        )  # fmt: skip
        return FtpServer(account, guard, _below_login(base))

    def sftp(base: str) -> Server:
        need("sftp", "reading files over SFTP")
        from superinsight_sync.sources.files.remote.sftp import SftpAccount, SftpServer

        account = SftpAccount(
            host, parts.port or 22, secret(config.user), secret(config.password), secret(config.private_key),
            secret(config.private_key_password), secret(config.host_key), secret(config.known_hosts), **times,
        )  # fmt: skip
        return SftpServer(account, guard, _below_login(base))

    def s3(base: str) -> Server:
        from superinsight_sync.sources.files.remote.s3 import S3Account, S3Server

        account = S3Account(
            secret(config.endpoint), secret(config.region), secret(config.access_key_id),
            secret(config.secret_access_key), secret(config.session_token), config.anonymous,
            secret(config.ca_file), **times,
        )  # fmt: skip
        return S3Server(account, guard, base)

    return {"ftp": ftp, "ftps": ftp, "sftp": sftp, "s3": s3}


def _http(
    config: RemoteConfig, parts: SplitResult, guard: Guard, settle: timedelta, room: LocalRoom
) -> RemoteFolder:
    from superinsight_sync.sources.files.remote.http import HttpAccount, HttpServer

    is_folder = parts.path.endswith("/") or config.names is not None or not parts.path
    if is_folder and parts.query:
        raise ConfigError("the URL of a folder has no query", where="connection", hint="Correct `path`")
    url = parts._replace(fragment="").geturl()
    account = HttpAccount(
        url=f"{url.rstrip('/')}/" if is_folder else url,
        headers={name: resolve(text) for name, text in config.headers.items()},
        user=None if config.user is None else resolve(config.user),
        password=None if config.password is None else resolve(config.password),
        ca_file=None if config.ca_file is None else resolve(config.ca_file),
        connect_timeout_s=config.connect_timeout.total_seconds(),
        read_timeout_s=config.read_timeout.total_seconds(),
    )
    only = None if is_folder else unquote(parts.path.rpartition("/")[2])
    place = RemotePlace(HttpServer(account, guard), room)
    return RemoteFolder(place, settle, only=only, names=config.names)


def _below_login(base: str) -> str:
    """`/~/in` is `in` below the folder that the login leads to."""
    return f".{base[2:]}" if base.startswith("/~") else base or "/"

"""SFTP by paramiko. The server's key must be known; keys of an agent or of the home folder are not used."""

import contextlib
import io
import socket
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import paramiko

from superinsight_sync.core.errors import AccessError, ConfigError, TransientError
from superinsight_sync.security.net import Guard
from superinsight_sync.sources.files.listing import FoundFile, Seen
from superinsight_sync.sources.files.remote.server import REACH, Connections, Entry, lost, unknown_host

_REQUEST_BYTES = 32 << 10
_WINDOW_BYTES = 4 << 20
_SYSTEM_KEYS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class SftpAccount:
    """Where and who. `host_key` is `type base64`; `known_hosts` a file."""

    host: str
    port: int
    user: str | None
    password: str | None
    private_key: str | None
    private_key_password: str | None
    host_key: str | None
    known_hosts: str | None
    connect_timeout_s: float
    read_timeout_s: float


@dataclass
class _Session:
    ssh: paramiko.SSHClient
    sftp: paramiko.SFTPClient
    root: str


class SftpServer:
    """A folder of an SFTP server.

    Args:
        base: the folder, as the server calls it; one that is not absolute is below the login folder.
    """

    lists_deep = False

    def __init__(self, account: SftpAccount, guard: Guard, base: str) -> None:
        self._account = account
        self._guard = guard
        self._base = base or "/"
        self.where = f"sftp://{account.host}:{account.port}"
        self._connections: Connections[_Session] = Connections(self._connect, lambda s: s.ssh.close(), _alive)

    def kept(self) -> AbstractContextManager[None]:
        return self._connections.kept()

    def entry(self, path: str) -> Entry | None:
        with self._told(), self._connections.lent() as session:
            inside = _inside(session, path)
            if inside is None:
                return None
            return _entry(path.rpartition("/")[2], inside, session.sftp.stat(_full(session, inside)))

    def entries(self, folder: str, *, deep: bool) -> Iterator[Entry]:
        with self._told(), self._connections.lent() as session:
            found = list(_listed(session, folder))
        yield from found

    def stream(self, file: FoundFile, offset: int) -> "SftpStream":
        with self._told():
            session = self._connections.take()
            opened = False
            try:
                if _inside(session, file.path) != file.path:
                    raise TransientError("it is gone or a link now", where=f"file '{file.name}'")
                handle = session.sftp.open(_full(session, file.path), "rb")
                opened = True
            finally:
                if not opened:
                    self._connections.give(session, usable=False)
        return SftpStream(self, session, handle, offset, file.size_bytes)

    def jumps(self, file: FoundFile) -> bool:
        return True

    def warnings(self) -> list[str]:
        with self._told(), self._connections.lent() as session:
            mode = session.sftp.stat(session.root).st_mode or 0
        return ["every account of the server can write to the folder"] if mode & stat.S_IWOTH else []

    def _connect(self) -> _Session:
        account, ssh = self._account, paramiko.SSHClient()
        _trust(ssh, account)
        key = _private_key(account)
        sock = self._guard.connect(account.host, account.port, account.connect_timeout_s)
        try:
            ssh.connect(
                account.host, account.port, username=account.user, password=account.password, pkey=key,
                sock=sock, timeout=account.connect_timeout_s, banner_timeout=account.connect_timeout_s,
                auth_timeout=account.connect_timeout_s, channel_timeout=account.connect_timeout_s,
                allow_agent=False, look_for_keys=False,
            )  # fmt: skip
            sftp = ssh.open_sftp()
            channel = sftp.get_channel()
            assert channel is not None
            channel.settimeout(account.read_timeout_s)
            return _Session(ssh, sftp, sftp.normalize(self._base))
        except FileNotFoundError:
            ssh.close()
            raise ConfigError(
                f"'{self._base}' does not exist", where=self.where, hint="Correct `path` of the connection"
            ) from None
        except paramiko.AuthenticationException as error:
            transport = ssh.get_transport()
            refused = transport is not None and transport.is_active()
            ssh.close()
            if refused:
                raise
            raise EOFError from error
        except (OSError, EOFError, paramiko.SSHException, ConfigError):
            ssh.close()
            sock.close()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Our errors instead of the library's."""
        try:
            yield
        except paramiko.BadHostKeyException as error:
            raise ConfigError(
                f"the server's {error.key.get_name()} key is not the known one; it may be another server",
                where=self.where,
                hint=f"Ask its operator whether {error.key.fingerprint} is its new key; if so, "
                "change known_hosts or host_key",
            ) from None
        except paramiko.AuthenticationException:
            raise AccessError(
                "the login is refused", where=self.where, hint="Check user, password, private_key and rights"
            ) from None
        except PermissionError:
            raise AccessError(
                "a file or folder may not be read", where=self.where, hint="Check the account's rights"
            ) from None
        except FileNotFoundError:
            raise TransientError("a file or folder vanished while it was read", where=self.where) from None
        except socket.gaierror:
            raise unknown_host(self.where) from None
        except paramiko.SSHException as error:
            raise TransientError(
                f"no SSH server answers, or the connection failed ({type(error).__name__})",
                where=self.where, hint=REACH,
            ) from None  # fmt: skip
        except (OSError, EOFError) as error:
            raise lost(self.where, error) from None


class SftpStream:
    """An open file, read by many requests at once: as much as is asked for at first, then 4 MB."""

    def __init__(
        self, server: SftpServer, session: _Session, handle: paramiko.SFTPFile, offset: int, end: int
    ) -> None:
        self._server = server
        self._session = session
        self._handle = handle
        self._at = offset
        self._end = end
        self._ahead = memoryview(b"")
        self._least = 0
        self._usable = True

    def read(self, size: int) -> bytes:
        if not self._ahead:
            wanted = min(max(size, self._least), _WINDOW_BYTES, self._end - self._at)
            self._least = _WINDOW_BYTES
            self._usable = False
            with self._server._told():
                data = _fetched(self._handle, self._at, wanted)
            self._usable = True
            self._at += len(data)
            self._ahead = memoryview(data)
        part, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(part)

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            if self._usable:
                self._handle.close()
        self._server._connections.give(self._session, usable=self._usable)


def _fetched(handle: paramiko.SFTPFile, at: int, size: int) -> bytes:
    """The bytes up to the first answer that is shorter than asked for, after which there would be a gap."""
    chunks = [(a, min(_REQUEST_BYTES, at + size - a)) for a in range(at, at + size, _REQUEST_BYTES)]
    parts, whole = [], True
    for (_, wanted), part in zip(chunks, handle.readv(chunks), strict=False):
        if whole:
            parts.append(part)
        whole = whole and len(part) == wanted
    return b"".join(parts)


def _trust(ssh: paramiko.SSHClient, account: SftpAccount) -> None:
    ssh.set_missing_host_key_policy(_Refuse())
    name = account.host if account.port == 22 else f"[{account.host}]:{account.port}"
    if account.host_key:
        try:
            kind, text, *_ = account.host_key.split()
            entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {text}")
        except (ValueError, paramiko.SSHException, paramiko.hostkeys.InvalidHostKey):
            entry = None
        if entry is None or entry.key is None:
            raise ConfigError("host_key is no key", where="connection", hint="Write 'ssh-ed25519 AAAA…'")
        ssh.get_host_keys().add(name, kind, entry.key)
        return
    for file in [account.known_hosts] if account.known_hosts else _SYSTEM_KEYS:
        path = Path(file).expanduser()
        try:
            ssh.load_system_host_keys(str(path))
        except OSError as error:
            if account.known_hosts:
                raise ConfigError(
                    f"known_hosts cannot be read ({type(error).__name__})", where="connection"
                ) from None


class _Refuse:
    """A `paramiko.MissingHostKeyPolicy`: no key is taken on trust."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise ConfigError(
            f"the server's {key.get_name()} key is not known",
            where=f"sftp server {hostname}",
            hint=f"Ask its operator whether {key.fingerprint} is its key; if so, set host_key: "
            f"'{key.get_name()} {key.get_base64()}', or put it into known_hosts",
        )


def _private_key(account: SftpAccount) -> paramiko.PKey | None:
    if not account.private_key:
        return None
    text = account.private_key.replace("\\n", "\n").strip() + "\n"
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError):
            return kind.from_private_key(io.StringIO(text), account.private_key_password)
    raise ConfigError(
        "private_key is no key that can be used",
        where="connection",
        hint="Its whole text is needed, Ed25519, ECDSA or RSA, and private_key_password if it is encrypted",
    )


def _alive(session: _Session) -> bool:
    transport = session.ssh.get_transport()
    return transport is not None and transport.is_active()


def _full(session: _Session, path: str) -> str:
    return str(PurePosixPath(session.root) / path)


def _inside(session: _Session, path: str) -> str | None:
    """Where a path really is, relative to the root; None if it is not there. Raises ConfigError if it is out."""
    try:
        real = session.sftp.normalize(_full(session, path))
        session.sftp.stat(real)
    except FileNotFoundError:
        return None
    inside = PurePosixPath(real)
    if not inside.is_relative_to(session.root):
        raise ConfigError(
            f"'{path}' is a symbolic link that leads out of the source's folder",
            hint="Remove it, or declare its target's folder as a source of its own",
        )
    relative = str(inside.relative_to(session.root))
    return "" if relative == "." else relative


def _listed(session: _Session, folder: str) -> Iterator[Entry]:
    inside = _inside(session, folder)
    if inside is None:
        return
    prefix = f"{inside}/" if inside else ""
    for found in session.sftp.listdir_attr(_full(session, inside)):
        name: str = found.filename
        if name in ("", ".", "..") or "/" in name:
            continue
        path, attributes = prefix + name, found
        if stat.S_ISLNK(found.st_mode or 0):
            target = _inside(session, path)
            if target is None:
                continue
            path, attributes = target, session.sftp.stat(_full(session, target))
        if stat.S_ISREG(attributes.st_mode or 0) or stat.S_ISDIR(attributes.st_mode or 0):
            yield _entry(name, path, attributes)


def _entry(name: str, path: str, attributes: Any) -> Entry:
    if stat.S_ISDIR(attributes.st_mode or 0):
        return Entry(name, path, True)
    return Entry(name, path, seen=Seen(attributes.st_size or 0, (attributes.st_mtime or 0) * 10**9))

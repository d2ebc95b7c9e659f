"""FTP and FTP over TLS (RFC 959, 3659, 4217), passive. Names are UTF-8; other bytes survive."""

import contextlib
import ftplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, TransientError
from superinsight_sync.security.net import Guard
from superinsight_sync.sources.files.listing import UNKNOWN, FoundFile, Seen
from superinsight_sync.sources.files.remote.server import REACH, Connections, Entry, lost, unknown_host

_MAX_LISTING_BYTES = 100 << 20
_PLAIN = ("file", "dir", "cdir", "pdir")
"""Kinds of entries that need no second look, as a link does (RFC 3659, 7.5.1)."""
_WRITES = frozenset("acdfmpw")
"""Rights that MLSD tells which change something (RFC 3659, 7.5.5)."""


@dataclass(frozen=True)
class FtpAccount:
    """Where and who. `tls` says whether the connection is turned into TLS before anything is said."""

    host: str
    port: int
    user: str
    password: str
    tls: bool
    ca_file: str | None
    connect_timeout_s: float
    read_timeout_s: float


class FtpServer:
    """A folder of an FTP server.

    Args:
        base: the folder, as the server calls it.
    """

    lists_deep = False

    def __init__(self, account: FtpAccount, guard: Guard, base: str) -> None:
        self._account = account
        self._guard = guard
        self._base = base.rstrip("/") or "/"
        self.where = f"{'ftps' if account.tls else 'ftp'}://{account.host}:{account.port}"
        self._connections: Connections[_Ftp] = Connections(self._connect, _close, _alive)

    def kept(self) -> AbstractContextManager[None]:
        return self._connections.kept()

    def entry(self, path: str) -> Entry | None:
        with self._told(), self._connections.lent() as ftp:
            return self._entry(ftp, path)

    def entries(self, folder: str, *, deep: bool) -> Iterator[Entry]:
        with self._told(), self._connections.lent() as ftp:
            found = list(self._listed(ftp, folder))
        yield from found

    def stream(self, file: FoundFile, offset: int) -> "FtpStream":
        with self._told():
            ftp = self._connections.take()
            try:
                data = ftp.transfercmd(f"RETR {self._full(file.path)}", rest=offset or None)
            except ftplib.error_perm as error:
                self._connections.give(ftp, usable=False)
                if str(error)[:3] == "550":
                    raise TransientError(
                        "it is gone, or may not be read", where=f"file '{file.name}'"
                    ) from None
                raise
            except ftplib.all_errors:
                self._connections.give(ftp, usable=False)
                raise
        return FtpStream(self, ftp, data, file.size_bytes - offset)

    def jumps(self, file: FoundFile) -> bool:
        return False

    def warnings(self) -> list[str]:
        with self._told(), self._connections.lent() as ftp:
            facts = ftp.facts(self._base) if ftp.machine_lists else None
        rights = set((facts or {}).get("perm", "").lower()) & _WRITES
        return ["the account can write to the folder; one that only reads is enough"] if rights else []

    def _full(self, path: str) -> str:
        return f"{self._base.rstrip('/')}/{path}" if path else self._base

    def _entry(self, ftp: "_Ftp", path: str) -> Entry | None:
        name, full = path.rpartition("/")[2], self._full(path)
        if ftp.machine_lists:
            facts = ftp.facts(full)
            if facts is None or facts.get("type", "file") in _PLAIN:
                return None if facts is None else _entry(name, path, facts)
        size = ftp.asked(f"SIZE {full}")
        if size is not None:
            return Entry(name, path, seen=Seen(int(size), _time_ns(ftp.asked(f"MDTM {full}"))))
        return Entry(name, path, True) if ftp.asked(f"CWD {full}") is not None else None

    def _listed(self, ftp: "_Ftp", folder: str) -> Iterator[Entry]:
        full, prefix = self._full(folder), f"{folder}/" if folder else ""
        if ftp.machine_lists:
            for line in ftp.lines(f"MLSD {full}"):
                said, _, name = line.partition(" ")
                facts = _facts(said)
                kind = facts.get("type", "file")
                if kind in ("cdir", "pdir") or not _is_name(name):
                    continue
                plain = _entry(name, prefix + name, facts) if kind in _PLAIN else None
                entry = plain or self._entry(ftp, prefix + name)
                if entry is not None:
                    yield entry
            return
        if ftp.asked(f"CWD {full}") is None:
            return
        for line in ftp.lines(f"NLST {full}"):
            name = line.rstrip("/").rpartition("/")[2]
            entry = self._entry(ftp, prefix + name) if _is_name(name) else None
            if entry is not None:
                yield entry

    def _connect(self) -> "_Ftp":
        account = self._account
        ftp = _FtpTls(account, self._guard) if account.tls else _Ftp(account, self._guard)
        try:
            ftp.open()
            return ftp
        except (OSError, EOFError, ftplib.Error, ConfigError, AccessError):
            ftp.close()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Our errors instead of the library's, whose texts may hold what the server said."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise ConfigError(
                f"the server's certificate is not trusted ({error.verify_message})",
                where=self.where,
                hint="Write the name that is in the certificate, or set ca_file",
            ) from None
        except ssl.SSLError as error:
            raise lost(self.where, error) from None
        except ftplib.error_perm as error:
            raise self._refused(str(error)) from None
        except (ftplib.error_temp, ftplib.error_reply, ftplib.error_proto) as error:
            code = str(error)[:3]
            said = f"the server answered {code}" if code.isdecimal() else "what answers is no FTP server"
            raise TransientError(said, where=self.where, hint=REACH) from None
        except socket.gaierror:
            raise unknown_host(self.where) from None
        except (OSError, EOFError) as error:
            raise lost(self.where, error) from None

    def _refused(self, reply: str) -> AccessError | ConfigError:
        code, said = reply[:3], f"the server answered {reply[:3]}"
        if any(word in reply.upper() for word in ("TLS", "SSL")) or code in ("521", "522", "534"):
            return ConfigError(
                f"{said} about TLS", where=self.where, hint="Write ftps:// for a server with TLS, else ftp://"
            )
        if code in ("530", "331", "332", "532"):
            return AccessError(
                f"the login is refused ({code})", where=self.where, hint="Check user, password and rights"
            )
        if code in ("550", "553"):
            return AccessError(
                f"{said}: there is no such folder, or it may not be read",
                where=self.where,
                hint="Check `path` and the account's rights",
            )
        return ConfigError(said, where=self.where, hint="Check the server's address and kind")


class FtpStream:
    """A transfer that runs. `expected` bytes are to come; fewer than 0 if that is not known."""

    def __init__(self, server: FtpServer, ftp: "_Ftp", data: socket.socket, expected: int) -> None:
        self._server = server
        self._ftp = ftp
        self._data = data
        self._left = expected

    def read(self, size: int) -> bytes:
        with self._server._told():
            part = self._data.recv(size)
        self._left -= len(part)
        return part

    def close(self) -> None:
        usable = False
        if self._left == 0:
            with contextlib.suppress(*ftplib.all_errors):
                if self._data.recv(1) == b"":
                    if isinstance(self._data, ssl.SSLSocket):
                        self._data.unwrap()
                    self._data.close()
                    self._ftp.voidresp()
                    usable = True
        self._data.close()
        self._server._connections.give(self._ftp, usable=usable)


class _Ftp(ftplib.FTP):
    """A control connection to an address that was judged. Data connections go to the same address."""

    machine_lists = False

    def __init__(self, account: FtpAccount, guard: Guard) -> None:
        super().__init__()
        self._account = account
        self._guard = guard

    def open(self) -> None:
        """Connects and logs in."""
        account = self._account
        self.host, self.port, self.timeout = account.host, account.port, account.connect_timeout_s
        self.sock = self._guard.connect(account.host, account.port, account.connect_timeout_s)
        self.af = self.sock.family
        self._read_lines()
        self.welcome = self.getresp()
        self.secure()
        self.login(account.user, account.password)
        self.timeout = account.read_timeout_s
        assert self.sock is not None
        self.sock.settimeout(account.read_timeout_s)
        features = self.asked("FEAT") or ""
        if "UTF8" in features.upper():
            self.asked("OPTS UTF8 ON")
        self.machine_lists = "MLST" in features.upper()
        self.after_login()
        self.voidcmd("TYPE I")

    def secure(self) -> None:
        """Nothing: this is plain FTP."""

    def after_login(self) -> None:
        """Nothing: this is plain FTP."""

    def putline(self, line: str) -> None:
        if "\r" in line or "\n" in line:
            raise ConfigError("a name holds a line break", where=self._account.host, hint="Rename the file")
        assert self.sock is not None
        self.sock.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")

    def asked(self, command: str) -> str | None:
        """What a command answers, without its code; None if it is refused."""
        try:
            reply = self.sendcmd(command)
        except ftplib.error_perm as error:
            if str(error)[:3] in ("421", "530"):
                raise
            return None
        return reply[4:].strip() if reply[:1] == "2" else None

    def facts(self, path: str) -> dict[str, str] | None:
        """What MLST says of a file or folder; None if it is not there."""
        reply = self.asked(f"MLST {path}")
        line = next((line for line in (reply or "").splitlines() if line.startswith(" ")), None)
        return None if line is None else _facts(line.strip().partition(" ")[0])

    def lines(self, command: str) -> list[str]:
        """A listing. Empty if the server answers that there are no files."""
        try:
            data = self.transfercmd(command)
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if command.startswith("NLST") and str(error)[:3] in ("450", "550"):
                return []
            raise
        parts, size_bytes = [], 0
        with data:
            while part := data.recv(1 << 16):
                parts.append(part)
                size_bytes += len(part)
                if size_bytes > _MAX_LISTING_BYTES:
                    raise DataError("a folder's listing is too long", where=self._account.host)
            if isinstance(data, ssl.SSLSocket):
                with contextlib.suppress(OSError):
                    data.unwrap()
        self.voidresp()
        text = b"".join(parts).decode("utf-8", "surrogateescape")
        return [line for line in text.replace("\r\n", "\n").split("\n") if line]

    def _read_lines(self) -> None:
        assert self.sock is not None
        self.file = self.sock.makefile("r", encoding="utf-8", errors="surrogateescape")


class _FtpTls(_Ftp, ftplib.FTP_TLS):
    """The same over TLS, both connections. Data connections continue the session, as many servers demand."""

    def __init__(self, account: FtpAccount, guard: Guard) -> None:
        super().__init__(account, guard)
        try:
            self.context = ssl.create_default_context(cafile=account.ca_file)
        except OSError as error:
            raise ConfigError(
                f"ca_file cannot be read ({type(error).__name__})", where="connection"
            ) from None

    def secure(self) -> None:
        reply = self.asked("AUTH TLS")
        if reply is None:
            raise ConfigError(
                "the server offers no TLS", where=f"ftps://{self.host}:{self.port}", hint="Write ftp://"
            )
        assert self.sock is not None
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)
        self._read_lines()

    def login(self, user: str = "", passwd: str = "", acct: str = "", secure: bool = True) -> str:
        return ftplib.FTP.login(self, user, passwd, acct)

    def after_login(self) -> None:
        self.prot_p()

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        data, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            return self.context.wrap_socket(data, server_hostname=self.host, session=self.sock.session), size
        except OSError:
            data.close()
            raise


def _close(ftp: _Ftp) -> None:
    with contextlib.suppress(*ftplib.all_errors):
        if ftp.sock is not None:
            ftp.sock.settimeout(2)
            ftp.quit()
    ftp.close()


def _alive(ftp: _Ftp) -> bool:
    try:
        return ftp.voidcmd("NOOP")[:1] == "2"
    except ftplib.all_errors:
        return False


def _facts(text: str) -> dict[str, str]:
    pairs = (fact.partition("=") for fact in text.split(";") if fact)
    return {key.lower(): value if key.lower() == "perm" else value.lower() for key, _, value in pairs}


def _entry(name: str, path: str, facts: dict[str, str]) -> Entry:
    if facts.get("type", "file") != "file":
        return Entry(name, path, True)
    size = facts.get("size", "")
    known = int(size) if size.isdecimal() else UNKNOWN
    return Entry(name, path, seen=Seen(known, _time_ns(facts.get("modify"))))


def _time_ns(text: str | None) -> int:
    """`20260131235959.123` (RFC 3659, 2.3), UTC, as nanoseconds."""
    try:
        at = datetime.strptime((text or "")[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return UNKNOWN
    fraction = (text or "")[15:24]
    return int(at.timestamp()) * 10**9 + int(fraction.ljust(9, "0") if fraction.isdecimal() else 0)


def _is_name(name: str) -> bool:
    """Whether a server's word for a file stays in its folder."""
    return name not in ("", ".", "..") and not any(c in "/\0\r\n" for c in name)

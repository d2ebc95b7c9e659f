"""`smtp`: an e-mail to the owners of what the alert is about."""

import base64
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.core.settings import Settings
from superinsight_sync.monitoring.alerts import Alert
from superinsight_sync.security.secrets import resolve

_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_MOST_TITLE = 200


class Config(PluginConfig):
    """The mail server, and who gets what has no owner with an address."""

    url: str
    """``smtp://user:password@host:587`` (STARTTLS), ``smtps://…`` (TLS), ``smtp+plain://…`` (neither, no password).
    A reference keeps the password out of what is written down."""
    sender: str = Field(min_length=3)
    """The address that the mails come from."""
    to: str = ""
    """Addresses with commas between, for alerts whose owners have none; ``team:data=data@example.com`` gives a team
    one."""
    timeout_s: float = Field(default=10.0, gt=0)
    """For each of connecting, sending and waiting for the answer."""
    retries: int = Field(default=2, ge=0, le=10)

    @field_validator("sender", "to")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if "\n" in value or "\r" in value:
            raise ValueError("an address has no line breaks")
        return value


class SmtpChannel:
    """Sends one mail for an alert, to all who own what it is about."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        try:
            parts = urlsplit(resolve(config.url))
            self._host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ConfigError("the mail server's URL cannot be read", hint=_WRITE) from None
        if parts.scheme not in _PORTS or not self._host:
            raise ConfigError("that is no URL of a mail server", hint=_WRITE)
        self._scheme, self._port = parts.scheme, port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        if self._user and self._scheme == "smtp+plain":
            raise ConfigError("a password is not sent without TLS", hint="Use smtp:// or smtps://")
        self._where = f"mail server {self._host}:{self._port}"
        self._retry = RetryPolicy(retries=config.retries, base_s=0.2, max_s=5.0)

    def send(self, alert: Alert) -> None:
        """Sends it. Raises TransientError after the retries, AccessError for a wrong password, else ConfigError."""
        recipients = self._recipients(alert)
        message = _message(alert, self._config.sender, recipients)
        with_retry(lambda: self._deliver(message, recipients), self._retry)

    def _recipients(self, alert: Alert) -> list[str]:
        teams, others = {}, []
        for entry in (e.strip() for e in self._config.to.split(",")):
            team, equals, address = entry.rpartition("=")
            if equals:
                teams[team.strip()] = address.strip()
            elif entry:
                others.append(entry)
        addresses = [teams.get(owner, owner) for owner in alert.owners]
        found = list(dict.fromkeys(a for a in addresses if "@" in a)) or others
        if not found:
            raise ConfigError(
                "nobody to write to: no owner has an address",
                hint="Declare an owner with one, or set SIS_ALERT_MAIL_TO",
            )
        return found

    def _deliver(self, message: EmailMessage, recipients: list[str]) -> None:
        try:
            with self._connected() as server:
                if self._user:
                    self._log_in(server)
                refused = server.send_message(message, self._config.sender, recipients)
        except (smtplib.SMTPException, OSError) as error:
            raise self._named(error) from None
        if refused:
            raise ConfigError(
                f"{len(refused)} of {len(recipients)} addresses were refused", where=self._where
            )

    def _connected(self) -> smtplib.SMTP:
        timeout_s = self._config.timeout_s
        if self._scheme == "smtps":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, timeout=timeout_s, context=context)
        server = smtplib.SMTP(self._host, self._port, timeout=timeout_s)
        if self._scheme == "smtp":
            try:
                server.starttls(context=ssl.create_default_context())
            except (smtplib.SMTPException, OSError):
                server.close()
                raise
        return server

    def _log_in(self, server: smtplib.SMTP) -> None:
        if f"{self._user}{self._password}".isascii():
            server.login(self._user, self._password)
            return
        # The library encodes as ASCII; RFC 4616 says UTF-8.
        plain = base64.b64encode(f"\0{self._user}\0{self._password}".encode()).decode()
        code, text = server.docmd("AUTH", f"PLAIN {plain}")
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, text)

    def _named(self, error: Exception) -> SisError:
        """Our error for the library's. Its own text may repeat what was sent."""
        match error:
            case smtplib.SMTPAuthenticationError():
                return AccessError(
                    "it refuses the user or the password", where=self._where, hint="Check SIS_ALERT_SMTP_URL"
                )
            case ssl.SSLCertVerificationError():
                return ConfigError("its certificate is not trusted", where=self._where)
            case smtplib.SMTPNotSupportedError():
                return ConfigError(
                    "it offers no STARTTLS or no login",
                    where=self._where,
                    hint="Use smtps:// or smtp+plain://",
                )
            case smtplib.SMTPRecipientsRefused():
                codes = {code for code, _ in error.recipients.values()}
                text = f"it refuses all {len(error.recipients)} addresses"
                if all(400 <= code < 500 for code in codes):
                    return TransientError(text, where=self._where)
                return ConfigError(text, where=self._where, hint="Check the owners and SIS_ALERT_MAIL_TO")
            case smtplib.SMTPResponseException() if error.smtp_code >= 500:
                return ConfigError(f"it answered {error.smtp_code}", where=self._where)
            case smtplib.SMTPResponseException():
                return TransientError(f"it answered {error.smtp_code}", where=self._where)
        return TransientError(f"no answer ({type(error).__name__})", where=self._where)


_WRITE = "Write smtp://user:password@host:587"


def _message(alert: Alert, sender: str, recipients: list[str]) -> EmailMessage:
    payload = alert.payload()
    message = EmailMessage()
    message["Subject"] = " ".join(f"[{alert.severity}] {payload['title']}".split())[:_MOST_TITLE]
    message["From"], message["To"] = sender, ", ".join(recipients)
    message["Date"], message["Message-ID"] = format_datetime(alert.at), make_msgid(domain="superinsight-sync")
    facts = [f"{name}: {payload[key]}" for name, key in _FACTS.items() if payload[key]]
    message.set_content("\n".join([*facts, "", str(payload["text"])]))
    return message


_FACTS = {
    "Source": "source",
    "Stream": "stream",
    "Error": "error_class",
    "Run": "run_id",
    "At": "at",
    "See": "url",
}

PLUGIN = SmtpChannel

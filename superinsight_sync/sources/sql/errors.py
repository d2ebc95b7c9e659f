"""Drivers' errors → ours, by SQLSTATE or by words, with texts that hold neither secrets nor values."""

import re

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.security.secrets import redact

_QUOTED = re.compile(r"'[^']*'|\"[^\"]{64,}\"")
_DETAIL = re.compile(r"\b(DETAIL|CONTEXT|LINE \d+|QUERY|STATEMENT)\b:?.*", re.DOTALL)

_ACCESS = (
    "password authentication failed",
    "access denied",
    "permission denied",
    "authentication",
    "no pg_hba.conf entry",
    "not authorized",
    "is not permitted to log in",
    "role ",
    "unable to open database file",
)
_TRANSIENT = (
    "connection refused",
    "could not connect",
    "can't connect",
    "connection to server",
    "timeout",
    "timed out",
    "terminating connection",
    "closed the connection",
    "connection closed",
    "gone away",
    "lost connection",
    "connection reset",
    "broken pipe",
    "too many connections",
    "too many clients",
    "deadlock",
    "database is locked",
    "starting up",
    "shutting down",
    "network",
    "server closed",
    "no route",
    "name or service not known",
    "could not translate host",
    "failed to lookup address",
    "connection pool",
)
_STATES: tuple[tuple[tuple[str, ...], type[SisError]], ...] = (
    (("28", "42501"), AccessError),
    (("08", "40", "53", "57", "55P03", "58"), TransientError),
    (("22",), DataError),
    (("25006", "42", "3D", "3F", "26"), ConfigError),
)


def mapped(error: BaseException, where: str = "") -> SisError:
    """The error as one of ours."""
    if isinstance(error, SisError):
        return error
    text = _safe_text(error)
    cls = _by_state(str(getattr(error, "sqlstate", "") or "")) or _by_words(text.lower())
    hints = {
        AccessError: "Check user, password and rights",
        TransientError: "Check that the server runs and can be reached",
        ConfigError: "Check the declaration",
        DataError: "Check the values, or select them with a query that converts them",
    }
    return cls(text, where=where, hint=hints.get(cls, ""))


def _safe_text(error: BaseException) -> str:
    text = _DETAIL.sub("", str(error)).strip() or type(error).__name__
    text = redact(" ".join(text.split()))
    return _shorten(text)


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + "…"


def _by_state(state: str) -> type[SisError] | None:
    for prefixes, cls in _STATES:
        if state and state.startswith(prefixes):
            return cls
    return None


def _by_words(text: str) -> type[SisError]:
    if any(w in text for w in _ACCESS):
        return AccessError
    if any(w in text for w in _TRANSIENT):
        return TransientError
    return ConfigError

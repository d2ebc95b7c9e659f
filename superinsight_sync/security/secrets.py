"""Secrets by reference: a declaration holds ``{{ env.NAME }}``, the value exists only while it is used."""

import os
import re
from collections.abc import Mapping

from superinsight_sync.core.errors import ConfigError

_REFERENCE = re.compile(r"\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@]*:)(?P<secret>[^\s@]+)@", re.IGNORECASE)
_KEY_VALUE = re.compile(
    r"(?P<head>\b(?:password|passwd|pwd|secret|token|api[_-]?key|authorization)\b\s*[=:]\s*)"
    r"(?P<secret>'[^']*'|\"[^\"]*\"|[^\s,;&]+)",
    re.IGNORECASE,
)
_OUR_TOKENS = re.compile(
    r"(?P<head>\bsis_(?:live|refresh)_(?:[0-9a-f]{8}_)?)[A-Za-z0-9_-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"
)

MAX_REDACTED = 8_000


def references(text: str) -> tuple[str, ...]:
    """Names of the environment variables that `text` refers to."""
    return tuple(_REFERENCE.findall(text))


def resolve(text: str, env: Mapping[str, str] | None = None) -> str:
    """`text` with its references replaced. Raises ConfigError naming the variable that is not set."""
    source = os.environ if env is None else env

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in source:
            raise ConfigError(
                f"environment variable {name} is not set", hint=f"export {name}=… and try again"
            )
        return source[name]

    return _REFERENCE.sub(value, text)


def holds_literal_secret(dsn: str) -> bool:
    """Whether a URL or key-value DSN carries a password that is not a reference."""
    bare = _REFERENCE.sub("", dsn)
    found = _URL_PASSWORD.search(bare) or _KEY_VALUE.search(bare)
    return bool(found and found.group("secret").strip("'\""))


def redact(text: str) -> str:
    """`text` with passwords in URLs and ``key=value`` pairs, our API keys and tokens replaced by ``***``, cut to
    `MAX_REDACTED` characters."""
    if len(text) > MAX_REDACTED:
        text = text[:MAX_REDACTED] + "…"
    text = _URL_PASSWORD.sub(r"\g<head>***@", text)
    text = _OUR_TOKENS.sub(lambda found: f"{found['head'] or ''}***", text)
    return _KEY_VALUE.sub(r"\g<head>***", text)

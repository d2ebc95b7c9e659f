"""Secrets by reference: a declaration holds ``{{ env.NAME }}``, the value exists only while it is used.

The value is the variable NAME, what is in the file that NAME_FILE names, or what the command NAME_COMMAND prints.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
_COMMAND_S = 30
_REMEMBERED_S = 60.0
_printed_before: dict[str, tuple[str, float]] = {}
_SECRET_KEY = re.compile(
    r"(?:^|[_-])(?:password|passwd|secret|token|api[_-]?key|private[_-]?key)s?$", re.IGNORECASE
)
_CONNECTION_KEYS = ("dsn", "url", "uri")


def references(text: str) -> tuple[str, ...]:
    """Names of the environment variables that `text` refers to."""
    return tuple(_REFERENCE.findall(text))


def is_reference(text: str) -> bool:
    """Whether `text` is one reference and nothing else."""
    return _REFERENCE.fullmatch(text) is not None


def resolve(text: str, env: Mapping[str, str] | None = None) -> str:
    """`text` with its references replaced. Raises ConfigError naming the variable that is not set."""
    source = os.environ if env is None else env

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        found = secret_of(name, source)
        if found is None:
            raise ConfigError(
                f"environment variable {name} is not set",
                hint=f"export {name}=… (or {name}_FILE, {name}_COMMAND) and try again",
            )
        return found

    return _REFERENCE.sub(value, text)


def secret_of(name: str, env: Mapping[str, str]) -> str | None:
    """A secret's value from the environment, a file or a command, without line ends behind it; None if none is set.

    What a command printed is used again for a minute. Raises ConfigError if several are set, or the file or command
    fails; what it printed is not told.
    """
    given = [n for n in (name, f"{name}_FILE", f"{name}_COMMAND") if n in env]
    if not given:
        return None
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are set", hint="Set one of them")
    if given[0] == name:
        return env[name]
    try:
        if given[0] == f"{name}_FILE":
            return Path(env[given[0]]).read_text().rstrip("\r\n")
        return _printed(env[given[0]])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"{given[0]} gives no secret: {type(error).__name__}",
            hint="Check that this user can read the file, or that the command ends with 0 within 30 s",
        ) from None


def _printed(command: str) -> str:
    found = _printed_before.get(command)
    if found is not None and time.monotonic() < found[1]:
        return found[0]
    done = subprocess.run(
        shlex.split(command), capture_output=True, text=True, timeout=_COMMAND_S, check=True
    )
    text = done.stdout.rstrip("\r\n")
    _printed_before[command] = (text, time.monotonic() + _REMEMBERED_S)
    return text


def holds_literal_secret(dsn: str) -> bool:
    """Whether a URL or key-value DSN carries a password that is not a reference."""
    bare = _REFERENCE.sub("", dsn)
    found = _URL_PASSWORD.search(bare) or _KEY_VALUE.search(bare)
    return bool(found and found.group("secret").strip("'\""))


def plain_secrets(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Places in a document of mappings, lists and texts where a secret is written out, not referred to."""
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from plain_secrets(inner, (*path, key))
        case list() | tuple():
            for n, inner in enumerate(value):
                yield from plain_secrets(inner, (*path, n))
        case str() if value.strip():
            named = next((str(p).lower() for p in reversed(path) if isinstance(p, str)), "")
            is_connection = named in _CONNECTION_KEYS or "://" in value
            is_named = _SECRET_KEY.search(named) and not _REFERENCE.search(value)
            if is_named or (is_connection and holds_literal_secret(value)):
                yield path


def redact(text: str) -> str:
    """`text` with passwords in URLs and ``key=value`` pairs, our API keys and tokens replaced by ``***``, cut to
    `MAX_REDACTED` characters."""
    if len(text) > MAX_REDACTED:
        text = text[:MAX_REDACTED] + "…"
    text = _URL_PASSWORD.sub(r"\g<head>***@", text)
    text = _OUR_TOKENS.sub(lambda found: f"{found['head'] or ''}***", text)
    return _KEY_VALUE.sub(r"\g<head>***", text)

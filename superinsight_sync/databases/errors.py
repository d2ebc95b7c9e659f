"""Drivers' errors → ours, by number, SQLSTATE or words, with texts that hold neither secrets nor values."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.security.secrets import redact

_DETAIL = re.compile(r"\b(DETAIL|CONTEXT|LINE \d+|QUERY|STATEMENT)\b:.*|\bLINE \d+:.*", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|`[^`]*`")
_NUMBER_OF_PLACE = r"\b(?:rows?|lines?|columns?|positions?|precision|scale|type|code|error) "
_NUMBER_OF_VALUE = re.compile(rf"({_NUMBER_OF_PLACE}\d+)|(?<![\w(])[-+]?\d[\d.,:eE+-]*", re.IGNORECASE)
_VALUE = re.compile(
    r"(invalid input syntax|invalid input value|out of range|parse (?:string|value)|truncated"
    r"|incorrect \w+ value"
    r"|not in range|does not fit|doesn't fit"
    r"|malformed|duplicate entry|failed to parse|could not convert|cannot cast|data too long"
    r"|invalid value|division by zero|integer overflow)",
    re.IGNORECASE,
)
_STATE = re.compile(r"(?:SQLSTATE:?\s*|ERROR \d+ \()([0-9A-Z]{5})")
_NUMBER = re.compile(r"\bERROR (\d{4}) \(")
_SHOWN_CHARS = 300

_ACCESS = (
    "password authentication failed",
    "access denied",
    "permission denied",
    "authentication",
    "no pg_hba.conf entry",
    "not authorized",
    "is not permitted to log in",
    "no password supplied",
    'role "',
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
    "bytes remaining on stream",
    "disk i/o error",
)
_STATES: tuple[tuple[tuple[str, ...], type[SisError]], ...] = (
    (("28", "42501"), AccessError),
    (("08", "40", "53", "57", "55P03", "58"), TransientError),
    (("22",), DataError),
    (("25006", "42", "3D", "3F", "26"), ConfigError),
)
_NUMBERS: dict[type[SisError], frozenset[int]] = {
    AccessError: frozenset({1044, 1045, 1130, 1131, 1142, 1143, 1227, 1370, 1410, 1698, 1820, 3118}),
    TransientError: frozenset(
        {1040, 1042, 1043, 1053, 1077, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1317, 1927, 1969, 3024}
        | {2002, 2003, 2005, 2006, 2013, 2055, 4031}
    ),
    DataError: frozenset({1264, 1265, 1292, 1366, 1367, 1411, 1525, 1690}),
    ConfigError: frozenset({1046, 1049, 1054, 1060, 1064, 1102, 1146, 1356, 1792}),
}
_HINTS: dict[type[SisError], str] = {
    AccessError: "Check user, password and rights",
    TransientError: "Check that the server runs and can be reached",
    ConfigError: "Check the declaration",
    DataError: "Check the values, or select them with a query that converts them",
}
_CLEAR: tuple[tuple[re.Pattern[str], type[SisError], str], ...] = tuple(
    (re.compile(words, re.IGNORECASE), cls, hint)
    for words, cls, hint in (
        (
            r'database "[^"]*" does not exist|unknown database',
            ConfigError,
            "Check the name of the database in the DSN",
        ),
        (
            r"does not support ssl|ssl was required|ssl connection is required|certificate verify failed",
            ConfigError,
            "Server and connection do not agree about TLS: check the DSN's TLS options and the certificate",
        ),
        (
            r"could not translate host|failed to resolve host|name or service not known|failed to lookup addr",
            TransientError,
            "Check the name of the host in the DSN, and that this machine can resolve it",
        ),
        (
            r"permission denied for (?:table|view|materialized|schema|sequence)|command denied to user",
            AccessError,
            "Have the owner GRANT SELECT on it (and USAGE on its schema) to the account",
        ),
        (
            r"statement timeout|max_statement_time exceeded|maximum statement execution time",
            TransientError,
            "Raise `statement_timeout` on the connection, or read smaller windows",
        ),
    )
)
"""Failures whose words say more than their number, and what a person can do about them."""


def mapped(error: BaseException, where: str = "") -> SisError:
    """The error as one of ours: by the server's number or SQLSTATE if it tells one, else by its words."""
    if isinstance(error, SisError):
        return error
    text = str(error)
    clear = None if _VALUE.search(text) else next((c for c in _CLEAR if c[0].search(text)), None)
    if clear is not None:
        return error_as(clear[1], error, where, clear[2])
    cls = _by_number(error, text) or _by_state(error, text) or _by_words(error, text)
    return error_as(cls, error, where)


def error_as(cls: type[SisError], error: BaseException, where: str = "", hint: str = "") -> SisError:
    """The driver's error as one of this class, its text without secrets and values."""
    return cls(_safe_text(error, cls), where=where, hint=hint or _HINTS[cls])


@contextmanager
def from_panic(where: str = "") -> Iterator[None]:
    """Maps what connectorx raises: RuntimeError, and Rust panics, which are no `Exception`."""
    try:
        yield
    except RuntimeError as error:
        raise mapped(error, where) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise mapped(error, where) from None


def _safe_text(error: BaseException, cls: type[SisError]) -> str:
    text = str(error)
    if len(error.args) == 2 and isinstance(error.args[0], int):
        text = str(error.args[1])
    text = " ".join(redact(_DETAIL.sub("", text)).split()) or type(error).__name__
    if cls is DataError or _VALUE.search(text):
        text = _NUMBER_OF_VALUE.sub(lambda found: found[1] or "…", _QUOTED.sub("'…'", text))
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _by_number(error: BaseException, text: str) -> type[SisError] | None:
    found = _NUMBER.search(text)
    number = int(found.group(1)) if found else error.args[0] if error.args else None
    return next((cls for cls, numbers in _NUMBERS.items() if number in numbers), None)


def _by_state(error: BaseException, text: str) -> type[SisError] | None:
    found = _STATE.search(text)
    state = str(getattr(error, "sqlstate", None) or (found.group(1) if found else ""))
    return next((cls for prefixes, cls in _STATES if state and state.startswith(prefixes)), None)


def _by_words(error: BaseException, text: str) -> type[SisError]:
    lower = text.lower()
    if _VALUE.search(text):
        return DataError
    if any(w in lower for w in _ACCESS):
        return AccessError
    if any(w in lower for w in _TRANSIENT):
        return TransientError
    conversion = type(error).__name__ == "ArrowInvalid" and "[libpq]" not in text
    return DataError if conversion else ConfigError

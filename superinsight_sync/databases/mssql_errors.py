"""mssql-python's errors → ours, by the number of the server's message.

The driver gives the message's text but not its number, so each number is known by the words that
`sys.messages` has for it in English; what the driver itself finds is known by its own words.
"""

import re

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.databases.errors import error_as, mapped

_REACH = "Check host and port of `dsn`, the firewall, and that the server listens on TCP"
_RIGHTS = "Grant the account SELECT (db_datareader) and VIEW DEFINITION"
_BUSY = "The server is busy or changing over; it is tried again"
_MESSAGES: tuple[tuple[str, type[SisError], str, str], ...] = (
    ("4060", ConfigError, r"cannot open database", "Check the database's name, or give the account a user in it"),
    ("40613", TransientError, r"is not currently available", _BUSY),
    ("40615", AccessError, r"client with ip address .* is not allowed", "Open the server's firewall for us"),
    ("18456", AccessError, r"login failed for user", "Check user and password of `dsn`"),
    ("18452", AccessError, r"login is from an untrusted domain", "Use a SQL Server login"),
    ("18488", AccessError, r"password .*(?:must be changed|has expired)", "Set a new password"),
    ("916", AccessError, r"is not able to access the database", _RIGHTS),
    ("229", AccessError, r"permission was denied", _RIGHTS),
    ("300", AccessError, r"permission (?:was )?denied|does not have permission", _RIGHTS),
    ("208", ConfigError, r"invalid object name", "There is no such table or view, or it is in another schema"),
    ("207", ConfigError, r"invalid column name", "There is no such column"),
    ("1033", ConfigError, r"order by clause is invalid in views", "Leave ORDER BY out of the query"),
    ("8155", ConfigError, r"no column name was specified", "Give every expression of the query a name with AS"),
    ("8156", ConfigError, r"was specified multiple times", "Give each column of the query a name of its own"),
    ("102", ConfigError, r"incorrect syntax near", "Check the query"),
    ("195", ConfigError, r"is not a recognized", "The server is older than 2016, or check the query"),
    ("3952", ConfigError, r"snapshot isolation transaction failed accessing database", "Allow it, or read one "
     "database"),
    ("1205", TransientError, r"was deadlocked on", _BUSY),
    ("1222", TransientError, r"lock request time out", _BUSY),
    ("3960", TransientError, r"snapshot isolation transaction (?:aborted|failed)", _BUSY),
    ("40197", TransientError, r"service has encountered an error processing your request", _BUSY),
    ("40501", TransientError, r"service is currently (?:busy|too busy)", _BUSY),
    ("10928", TransientError, r"resource id ?:|limit for the database is", _BUSY),
    ("49918", TransientError, r"not enough resources to process", _BUSY),
    ("701", TransientError, r"insufficient system memory", _BUSY),
    ("6005", TransientError, r"shutdown is in progress", _BUSY),
    ("976", TransientError, r"participating in an availability group", _BUSY),
    ("8134", DataError, r"divide by zero", ""),
    ("245", DataError, r"conversion failed|error converting data type", ""),
    ("8115", DataError, r"arithmetic overflow", ""),
    ("535", DataError, r"datediff function resulted in an overflow", ""),
    ("TLS", ConfigError, r"ssl provider|certificate|tls", "Give the server a certificate that this machine "
     "trusts, or set `trust_certificate: true` inside a network that nobody else listens in"),
    ("driver", ConfigError, r"failed to load the driver", "Install the system libraries the driver needs: "
     "libltdl7 and libkrb5 (Debian: apt install libltdl7 libgssapi-krb5-2)"),
    ("HYT00", TransientError, r"timeout|timed out|query timeout expired", _REACH),
    ("08001", TransientError, r"tcp provider|unable to establish connection|named pipes provider", _REACH),
    ("08S01", TransientError, r"communication link failure|connection is broken|server rejected", _REACH),
)  # fmt: skip
_KNOWN = [(number, cls, re.compile(words, re.IGNORECASE), hint) for number, cls, words, hint in _MESSAGES]


def number_of(text: str) -> str | None:
    """The number of the server's message, or a word for what the driver found; None if neither is known."""
    return next((number for number, _, words, _ in _KNOWN if words.search(text)), None)


def mapped_mssql(error: BaseException, where: str = "connection") -> SisError:
    """The error as one of ours."""
    if isinstance(error, SisError):
        return error
    text = str(error)
    for _, cls, words, hint in _KNOWN:
        if words.search(text):
            return error_as(cls, error, where, hint)
    return mapped(error, where)

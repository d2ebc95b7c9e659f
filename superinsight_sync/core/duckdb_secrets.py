"""Keys for SQL: in a table of the database that only compiled expressions read, never in the text of a statement."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_INNER, _OUTER = 0x36, 0x5C
_BLOCK_BYTES = 64


def add_secrets(connection: "duckdb.DuckDBPyConnection", keys: Mapping[str, bytes]) -> None:
    """Keeps keys of at most 64 bytes under their names, for `keyed_digest`."""
    connection.execute("CREATE TABLE IF NOT EXISTS _sis_secret (name VARCHAR, i BLOB, o BLOB)")
    for name, key in keys.items():
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        pads = [bytes(byte ^ pad for byte in padded) for pad in (_INNER, _OUTER)]
        connection.execute("INSERT INTO _sis_secret VALUES (?, ?, ?)", [name, *pads])


def keyed_digest(text: str, name: str) -> str:
    """SQL of HMAC-SHA-256 (RFC 2104) of a text with the key `name`: 64 hexadecimal digits."""
    inner, outer = (f"(SELECT any_value({pad}) FROM _sis_secret WHERE name = '{name}')" for pad in "io")  # noqa: S608 - names of ours
    return f"sha256({outer} || unhex(sha256({inner} || encode({text}))))"

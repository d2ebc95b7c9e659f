"""Seals bytes for who has the key: AES-256-GCM, in chunks, so that big ones are opened in the memory of one chunk.

A sealed text is a header (magic, key id, salt) and chunks. Each text has a key of its own, HMAC-SHA-256 of the data key
over the salt, so that no nonce comes twice however many texts a key seals. The nonce counts chunks and marks the last
one: none can be taken away, added or moved. That is STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from superinsight_sync.core.errors import DataError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"SIS\x01"
ID_BYTES = 8
_SALT_BYTES = 16
HEADER_BYTES = len(MAGIC) + ID_BYTES + _SALT_BYTES
CHUNK_BYTES = 1 << 20
_TAG_BYTES = 16


@dataclass(frozen=True)
class DataKey:
    """A key with its id (16 hex digits). Its repr shows no secret."""

    id: str
    secret: bytes = field(repr=False)

    def seal(self, body: bytes, context: str) -> bytes:
        """The body, readable only with this key and the same context."""
        header = MAGIC + bytes.fromhex(self.id) + os.urandom(_SALT_BYTES)
        cipher, said = self._cipher(header), header + context.encode()
        last = max(0, len(body) - 1) // CHUNK_BYTES
        parts = [header]
        for n in range(last + 1):
            chunk = body[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES]
            parts.append(cipher.encrypt(_nonce(n, is_last=n == last), chunk, said))
        return b"".join(parts)

    def open_parts(self, sealed: IO[bytes], context: str) -> Iterator[bytes]:
        """What was sealed, chunk by chunk, from where the file stands: at the header.

        Raises DataError where it is not what was sealed, with this key and for this context.
        """
        from cryptography.exceptions import InvalidTag

        header = sealed.read(HEADER_BYTES)
        cipher, said = self._cipher(header), header + context.encode()
        n, chunk = 0, sealed.read(CHUNK_BYTES + _TAG_BYTES)
        while True:
            following = sealed.read(CHUNK_BYTES + _TAG_BYTES)
            try:
                yield cipher.decrypt(_nonce(n, is_last=not following), chunk, said)
            except (InvalidTag, ValueError) as error:
                raise DataError("what was sealed is damaged, or was sealed for something else") from error
            if not following:
                return
            n, chunk = n + 1, following

    def _cipher(self, header: bytes) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(hmac.digest(self.secret, header, hashlib.sha256))


def key_id_of(sealed: bytes) -> str | None:
    """The id of the key that the text says it is sealed with; None if it does not look sealed."""
    is_sealed = sealed.startswith(MAGIC) and len(sealed) >= HEADER_BYTES + _TAG_BYTES
    return sealed[len(MAGIC) : len(MAGIC) + ID_BYTES].hex() if is_sealed else None


def _nonce(n: int, *, is_last: bool) -> bytes:
    return n.to_bytes(11, "big") + bytes([is_last])

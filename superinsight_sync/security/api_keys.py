"""API keys: ``sis_live_<id>_<secret>``. The id finds the key, the secret proves it, only its hash is kept."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from superinsight_sync.security.roles import Role

_KEY = re.compile(r"sis_live_(?P<id>[0-9a-f]{8})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Credential:
    """A key as its owner holds it. Its secret is in no repr."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The whole key, to be shown once."""
        return f"sis_live_{self.id}_{self.secret}"

    @property
    def hash(self) -> str:
        """SHA-256 of the whole key, hex. The secret has 256 random bits, so no slow hash is needed."""
        return digest(self.text)


@dataclass(frozen=True)
class ApiKey:
    """A key as we keep it.

    Attributes:
        id: eight hex digits.
        hash: SHA-256 of the whole key, hex.
        sources: the only sources it reaches; empty means all of its tenant.
        networks: the only networks it is taken from; empty means all.
        not_after: from then on it does not hold.
    """

    id: str
    tenant: str
    role: Role
    name: str
    hash: str = field(repr=False)
    sources: tuple[str, ...]
    networks: tuple[str, ...]
    created_at: datetime
    not_after: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def holds(self, at: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.not_after is None or at < self.not_after)


def make() -> Credential:
    """A new random key."""
    return Credential(secrets.token_hex(4), secrets.token_urlsafe(32))


def parse(text: str) -> Credential | None:
    """The key that `text` spells exactly; None for anything else."""
    found = _KEY.fullmatch(text)
    return Credential(found["id"], found["secret"]) if found else None


def digest(text: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def proves(credential: Credential, key: ApiKey | None) -> bool:
    """Whether the credential is that key, in a time that does not depend on where they differ."""
    expected = key.hash if key is not None and key.id == credential.id else _NO_HASH
    return hmac.compare_digest(credential.hash, expected) and key is not None

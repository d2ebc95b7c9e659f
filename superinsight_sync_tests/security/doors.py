"""A door with keys in memory, for tests of what is in front of the database."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from superinsight_sync.security import api_keys
from superinsight_sync.security.access import Access, AccessRules
from superinsight_sync.security.api_keys import ApiKey, Credential
from superinsight_sync.security.jwt_tokens import SigningKey, TokenSigner

HERE = "198.51.100.7"


class Book:
    """Keys in a dictionary."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.last: dict[str, datetime] = {}
        self.looked_up = 0

    def add(self, role: Any = "admin", tenant: str = "acme", **over: Any) -> Credential:
        made = api_keys.make()
        at = datetime(2026, 1, 1, tzinfo=UTC)
        key = ApiKey(made.id, tenant, role, "n", made.hash, (), (), at, None, None, None)
        self.keys[made.id] = replace(key, **over)
        return made

    def change(self, key_id: str, **over: Any) -> None:
        self.keys[key_id] = replace(self.keys[key_id], **over)

    def find(self, key_id: str) -> ApiKey | None:
        self.looked_up += 1
        return self.keys.get(key_id)

    def used(self, at: Mapping[str, datetime]) -> None:
        self.last.update(at)


class Watch:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def signer(env: Any, algorithm: Any = "HS256", names: Sequence[str] = ("k1",), **over: Any) -> TokenSigner:
    """A signer whose secrets are in the environment that the patch `env` sets."""
    for name in names:
        env.setenv(f"SIS_TEST_{name}", _pem() if algorithm == "EdDSA" else secrets.token_hex(32))
    return TokenSigner([SigningKey(n, f"{{{{ env.SIS_TEST_{n} }}}}", algorithm) for n in names], **over)


def _pem() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def door(
    book: Book, token_signer: TokenSigner | None = None, watch: Watch | None = None, **rules: Any
) -> Access:
    return Access(book, token_signer, AccessRules(**rules), clock_s=watch or Watch())


def bearer(credential: Credential | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential if isinstance(credential, str) else credential.text}"}

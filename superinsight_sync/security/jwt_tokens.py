"""Access tokens: JSON Web Tokens (RFC 7519) that live 15 minutes."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.secrets import references, resolve

ACCESS_TOKEN_LIFE = timedelta(minutes=15)
_LEEWAY = timedelta(seconds=30)
_LONGEST = 4_096
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)

TOKEN_SECRET = "SIS_TOKEN_SECRET"
"""The variable with the secret that signs tokens: 32 random bytes or more, or a private Ed25519 key in PEM."""
OLD_TOKEN_SECRET = "SIS_TOKEN_SECRET_OLD"
"""The one before, believed still while it is set."""

Algorithm = Literal["HS256", "EdDSA"]


@dataclass(frozen=True)
class SigningKey:
    """A key that signs tokens, by reference.

    Attributes:
        kid: its name in a token's header.
        secret: a reference such as ``{{ env.TOKEN_SECRET }}`` to at least 32 random bytes (HS256) or to a
            private Ed25519 key in PEM (EdDSA).
    """

    kid: str
    secret: str = field(repr=False)
    algorithm: Algorithm = "HS256"


@dataclass(frozen=True)
class Claims:
    """What a token says of its holder."""

    key_id: str
    tenant: str
    role: str
    expires_at: datetime


class TokenSigner:
    """Makes and reads access tokens.

    Args:
        keys: the first one signs; all are believed, so that a key can be replaced without a break.
        issuer, audience: who makes the tokens, and for whom.
        env: where the references are looked up; None means this process's variables.

    Raises:
        ConfigError: a secret is no reference, not set, too short, or no Ed25519 key; no key, or two of one name.
    """

    def __init__(
        self,
        keys: Sequence[SigningKey],
        *,
        issuer: str = "superinsight-sync",
        audience: str = "superinsight-sync",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys = {key.kid: (key.algorithm, *_material(key, env)) for key in keys}
        if not keys or len(self._keys) != len(keys):
            raise ConfigError("tokens need at least one key to sign, each with its own name")
        self._kid = keys[0].kid

    def make(self, key_id: str, tenant: str, role: str, *, now: datetime | None = None) -> str:
        """A token for the holder of an API key, good for `ACCESS_TOKEN_LIFE`."""
        import jwt

        now = now or utc_now()
        algorithm, private, _ = self._keys[self._kid]
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": key_id,
            "iat": now,
            "exp": now + ACCESS_TOKEN_LIFE,
            "jti": secrets.token_hex(8),
            "tenant": tenant,
            "role": role,
        }
        return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": self._kid})

    def read(self, token: str) -> Claims | None:
        """What a token says; None unless it is ours, for us, and in its time."""
        import jwt

        if len(token) > _LONGEST or not _COMPACT.fullmatch(token) or not _is_canonical(token):
            return None
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if not isinstance(kid, str) or kid not in self._keys:
                return None
            # The key says which algorithm is meant, never the token.
            algorithm, _, public = self._keys[kid]
            claims = jwt.decode(
                token,
                public,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
            return _claims(claims)
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
            return None


def signer_from(env: Mapping[str, str]) -> TokenSigner | None:
    """The signer that a process's variables name; None if `TOKEN_SECRET` is not among them.

    Raises ConfigError: a secret cannot be used.
    """
    keys = [_named(env[name], name) for name in (TOKEN_SECRET, OLD_TOKEN_SECRET) if env.get(name)]
    return TokenSigner(keys, env=env) if env.get(TOKEN_SECRET) else None


def _named(secret: str, variable: str) -> SigningKey:
    # Named by its content: it keeps its name when the next secret takes its variable.
    kid = hashlib.sha256(b"sis token key:" + secret.encode()).hexdigest()[:8]
    is_pem = secret.lstrip().startswith("-----BEGIN")
    return SigningKey(kid, f"{{{{ env.{variable} }}}}", "EdDSA" if is_pem else "HS256")


def _is_canonical(token: str) -> bool:
    """Whether the signature has the one spelling of its bytes: its last character has bits that mean nothing."""
    signature = token.rpartition(".")[2]
    if len(signature) % 4 == 1:
        return False
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == signature


def _claims(claims: dict[str, Any]) -> Claims | None:
    words = [claims.get(name) for name in ("sub", "tenant", "role")]
    if not all(isinstance(word, str) for word in words):
        return None
    key_id, tenant, role = (str(word) for word in words)
    return Claims(key_id, tenant, role, datetime.fromtimestamp(claims["exp"], UTC))


def _material(key: SigningKey, env: Mapping[str, str] | None) -> tuple[Any, Any]:
    """What signs, and what verifies."""
    where = f"token key '{key.kid}'"
    if not references(key.secret):
        raise ConfigError(
            "its secret is written out", where=where, hint="Refer to a variable: {{ env.TOKEN_SECRET }}"
        )
    secret = resolve(key.secret, env).encode()
    if key.algorithm == "HS256":
        if len(secret) < 32:
            raise ConfigError("its secret is too short", where=where, hint="Use at least 32 random bytes")
        return secret, secret
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError("its secret is no private key in PEM", where=where) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError("its secret is no Ed25519 key", where=where)
    return private, private.public_key()

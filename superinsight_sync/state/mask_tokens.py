"""The vault: random tokens that stand for values. Who reads the database alone learns nothing of them."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.extras import need
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.state.database import Database, insert_into
from superinsight_sync.state.tables import mask_tokens

_CHUNK = 400
"""Values in one statement: SQLite takes 999 parameters."""
_NONCE_BYTES = 12


class MaskTokens:
    """Every method may raise TransientError, AccessError and ConfigError, this also for a missing key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tokens(self, masking: Masking, texts: Sequence[str]) -> list[str]:
        """The tokens of texts, in their order. Those without one get one; of two writers at once one wins."""
        need("masking", "the token vault")
        self._take_over(masking)
        digests = _digests(masking, texts)
        known = self._known(masking.tenant, digests)
        new = {d: t for d, t in zip(digests, texts, strict=True) if d not in known}
        if new:
            self._add(masking, new)
            known |= self._known(masking.tenant, list(new))
        return [known[digest] for digest in digests]

    def reveal(self, masking: Masking, token: str) -> str | None:
        """The value that a token stands for; None for an unknown one."""
        c = mask_tokens.c
        with self._database.read() as connection:
            found = select(mask_tokens).where(c.tenant == masking.tenant, c.token == token)
            row = connection.execute(found).mappings().one_or_none()
        return None if row is None else _opened(masking, row)

    def _known(self, tenant: str, digests: Sequence[str]) -> dict[str, str]:
        c, known = mask_tokens.c, {}
        with self._database.read() as connection:
            for at in range(0, len(digests), _CHUNK):
                some = select(c.lookup, c.token).where(
                    c.tenant == tenant, c.lookup.in_(digests[at : at + _CHUNK])
                )
                known.update({row.lookup: row.token for row in connection.execute(some)})
        return known

    def _add(self, masking: Masking, texts: Mapping[str, str]) -> None:
        now = utc_now()
        rows = [
            {
                "tenant": masking.tenant,
                "lookup": digest,
                "token": f"tok_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}",
                "sealed": _sealed(masking, text),
                "key_version": masking.version,
                "at": now,
            }
            for digest, text in texts.items()
        ]
        with self._database.write() as connection:
            statement = insert_into(connection, mask_tokens).on_conflict_do_nothing()
            connection.execute(statement, rows)

    def _take_over(self, masking: Masking) -> None:
        """Puts what older keys have sealed under the newest one. Tokens stay what they are."""
        c = mask_tokens.c
        old = select(mask_tokens).where(c.tenant == masking.tenant, c.key_version < masking.version)
        while True:
            with self._database.write() as connection:
                rows = connection.execute(old.limit(_CHUNK)).mappings().all()
                for row in rows:
                    text = _opened(masking, row)
                    changed = {
                        "lookup": _digests(masking, [text])[0],
                        "sealed": _sealed(masking, text),
                        "key_version": masking.version,
                    }
                    ours = (c.tenant == masking.tenant, c.token == row["token"])
                    connection.execute(update(mask_tokens).where(*ours).values(changed))
            if not rows:
                return


def _digests(masking: Masking, texts: Sequence[str]) -> list[str]:
    key = masking.key("vault")
    return [hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for text in texts]


def _sealed(masking: Masking, text: str) -> bytes:
    """AES-256-GCM, the nonce before it, bound to the tenant."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(masking.key("seal")).encrypt(nonce, text.encode(), masking.tenant.encode())


def _opened(masking: Masking, row: RowMapping) -> str:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce, sealed = row["sealed"][:_NONCE_BYTES], row["sealed"][_NONCE_BYTES:]
    try:
        key = masking.key("seal", version=row["key_version"])
        return AESGCM(key).decrypt(nonce, sealed, masking.tenant.encode()).decode()
    except InvalidTag:
        raise ConfigError(
            f"mask key {row['key_version']} is not the one that the token vault was sealed with",
            hint="Give the old key under its version, and the new one under a greater version",
        ) from None

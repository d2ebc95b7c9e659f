"""What is given for an API key: access tokens, and refresh tokens that renew them (RFC 6749, 6.)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from superinsight_sync.core.clock import utc_now
from superinsight_sync.security import api_keys
from superinsight_sync.security.access import Access
from superinsight_sync.security.api_keys import ApiKey, Credential
from superinsight_sync.security.jwt_tokens import ACCESS_TOKEN_LIFE, TokenSigner
from superinsight_sync.security.networks import Address

_REFRESH = re.compile(r"sis_refresh_[A-Za-z0-9_-]{43}", re.ASCII)
SESSION_LIFE = timedelta(days=14)


class RefreshBook(Protocol):
    """Where refresh tokens are kept."""

    def begin(self, key_id: str, not_after: datetime) -> str:
        """The first token of a new family."""

    def rotate(self, token: str) -> tuple[str, str] | None:
        """Uses a token up: its API key's id and the next token; None if it does not hold."""

    def end(self, token: str) -> bool:
        """Ends a token's family; False if it is not one of ours."""


@dataclass(frozen=True)
class Granted:
    """A token endpoint's answer (RFC 6749, 5.1). Its repr shows no token."""

    access_token: str = field(repr=False)
    expires_in_s: int
    refresh_token: str = field(repr=False)

    @property
    def document(self) -> dict[str, str | int]:
        """The answer's JSON; to be sent with ``Cache-Control: no-store``."""
        return {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in_s,
            "refresh_token": self.refresh_token,
        }


class Grants:
    """Exchanges credentials for tokens. Every method may raise UnauthenticatedError (wrong credentials, whichever
    part was wrong), ForbiddenError (the network), TooManyRequestsError and TransientError.

    Each takes the request's headers and the other end of its connection, as `Access.check` does.
    """

    def __init__(self, access: Access, signer: TokenSigner, refresh_tokens: RefreshBook) -> None:
        self._access, self._signer, self._refresh_tokens = access, signer, refresh_tokens

    def session(self, client_id: str, client_secret: str, headers: Mapping[str, str], ip: str) -> Granted:
        """OAuth 2.0 client credentials: the key's id (eight hex digits) and the secret part after it.

        The tokens can be renewed for `SESSION_LIFE` at most.
        """
        key = self._key_of(client_id, client_secret, headers, ip)
        return self._granted(key, self._refresh_tokens.begin(key.id, utc_now() + SESSION_LIFE))

    def refresh(self, refresh_token: str, headers: Mapping[str, str], ip: str) -> Granted:
        """New tokens for a refresh token, which is used up. Using it again ends the session."""
        address = self._access.entering(headers, ip)
        self._access.bear(address)
        if not _REFRESH.fullmatch(refresh_token):
            raise self._refused(address)
        rotated = self._refresh_tokens.rotate(refresh_token)
        key = self._access.key(rotated[0], address) if rotated else None
        if rotated is None or key is None:
            raise self._refused(address)
        return self._granted(key, rotated[1])

    def end(self, refresh_token: str, headers: Mapping[str, str], ip: str) -> None:
        """Logs out: the session can be renewed no longer. The access token still lives its minutes.

        A token that is none is told from no other, and counts as a wrong credential.
        """
        address = self._access.entering(headers, ip)
        self._access.bear(address)
        if not (_REFRESH.fullmatch(refresh_token) and self._refresh_tokens.end(refresh_token)):
            self._refused(address)

    def _key_of(self, client_id: str, client_secret: str, headers: Mapping[str, str], ip: str) -> ApiKey:
        address = self._access.entering(headers, ip)
        given = api_keys.parse(Credential(client_id, client_secret).text)
        if given is None:
            raise self._refused(address)
        key = self._access.holder(given.text, address)
        self._access.spend(key)
        return key

    def _granted(self, key: ApiKey, refresh_token: str) -> Granted:
        token = self._signer.make(key.id, key.tenant, key.role)
        return Granted(token, int(ACCESS_TOKEN_LIFE.total_seconds()), refresh_token)

    def _refused(self, address: Address) -> Exception:
        return self._access.refuse(address, "a grant that does not hold")

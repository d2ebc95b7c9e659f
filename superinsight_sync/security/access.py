"""Lets a request in or turns it away: network, country, credentials, rights, rate, in this order."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Address, ip_network
from typing import Protocol, runtime_checkable

from superinsight_sync.core import clock
from superinsight_sync.security import api_keys
from superinsight_sync.security.api_keys import ApiKey
from superinsight_sync.security.jwt_tokens import TokenSigner
from superinsight_sync.security.networks import Address, Countries, Networks, client_address
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync.security.refusals import ForbiddenError, TooManyRequestsError, UnauthenticatedError
from superinsight_sync.security.roles import Principal

_log = logging.getLogger(__name__)
_MOST_REMEMBERED = 10_000


class KeyBook(Protocol):
    """Where keys are kept."""

    def find(self, key_id: str) -> ApiKey | None:
        """The key with that id, also one that holds no longer."""

    def used(self, at: Mapping[str, datetime]) -> None:
        """Notes when keys were used last."""


@runtime_checkable
class KnowsIds(Protocol):
    """A book that tells at once which keys there are."""

    def ids(self) -> Collection[str]:
        """Of all keys."""
        ...


@dataclass(frozen=True)
class AccessRules:
    """What the operator decides.

    Attributes:
        networks: the only ones let in; empty means all.
        proxies: those whose ``X-Forwarded-For`` is believed.
        countries: the country rule, if there is one.
        per_key: requests of one key. per_tenant: of all keys of a tenant.
        failures: wrong credentials from one address (IPv6: from one /64). Over it wrong ones are told to come later,
            before they are looked up; right ones are taken.
        remembered_s: for so long a key is not looked up again, so a revoked one may hold.
    """

    networks: Networks = field(default_factory=Networks)
    proxies: Networks = field(default_factory=Networks)
    countries: Countries | None = None
    per_key: RateLimit = field(default_factory=lambda: RateLimit(1_000, 2_000))
    per_tenant: RateLimit = field(default_factory=lambda: RateLimit(5_000, 10_000))
    failures: RateLimit = field(default_factory=lambda: RateLimit(0.5, 30))
    remembered_s: float = 5.0


class Access:
    """The one door. Threads may share it.

    Args:
        keys: where keys are kept.
        signer: reads access tokens; None means that none are taken.
        rules: what the operator decides.
        clock_s: seconds that never go back.
    """

    def __init__(
        self,
        keys: KeyBook,
        signer: TokenSigner | None = None,
        rules: AccessRules | None = None,
        *,
        clock_s: Callable[[], float] | None = None,
    ) -> None:
        from time import monotonic

        self._keys, self._signer, self._rules = keys, signer, rules or AccessRules()
        self._clock_s = clock_s or monotonic
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, tuple[ApiKey, float]] = OrderedDict()
        self._used: dict[str, datetime] = {}
        self._ids: tuple[frozenset[str], float] = (frozenset(), float("-inf"))

    def check(
        self,
        headers: Mapping[str, str],
        ip: str,
        *,
        tenant: str | None,
        action: str,
        source: str | None = None,
    ) -> Principal:
        """Who asks, if it may.

        Args:
            headers: the request's; one that comes several times must come several times in ``items()``.
            ip: the other end of the connection.
            tenant: whose things it is about; None means the one who asks.
            action: one of `roles.ACTIONS`.
            source: which source it is about; None is denied to keys that are bound to sources.

        Raises:
            UnauthenticatedError: 401. ForbiddenError: 403. TooManyRequestsError: 429 with `retry_after_s`.
            TransientError: the keys cannot be looked up now; nobody is let in on a guess.
        """
        key = self.holder(_credential(headers), self.entering(headers, ip))
        principal = _principal(key)
        if not principal.may(action, tenant, source):
            _log.info("refused: key %s has no right to %s", key.id, action)
            raise ForbiddenError()
        self.spend(key)
        return principal

    def identify(self, headers: Mapping[str, str], ip: str) -> Principal:
        """Who asks, if that is certain. What it may do has to be judged afterwards, by `Principal`.

        Raises as `check`; ForbiddenError only for where it comes from.
        """
        key = self.holder(_credential(headers), self.entering(headers, ip))
        self.spend(key)
        return _principal(key)

    def entering(self, headers: Mapping[str, str], ip: str) -> Address:
        """The address a request really comes from. Raises ForbiddenError where none may come from."""
        rules = self._rules
        forwarded = _values(headers, "x-forwarded-for") if rules.proxies else ()
        address = client_address(ip, forwarded, rules.proxies)
        if (
            address is None
            or (rules.networks and address not in rules.networks)
            or (rules.countries is not None and address not in rules.countries)
        ):
            _log.info("refused: address %s", address)
            raise ForbiddenError()
        return address

    def holder(self, text: str, address: Address) -> ApiKey:
        """The key that holds behind a credential (an API key or an access token).

        Raises: UnauthenticatedError, TooManyRequestsError, TransientError.
        """
        if not text:
            raise self.refuse(address, "no credential, or several")
        given = api_keys.parse(text)
        claims = self._signer.read(text) if given is None and self._signer is not None else None
        key_id = given.id if given else claims.key_id if claims else ""
        with self._lock:
            is_known = key_id in self._remembered
        if not is_known and not self._is_there(key_id):
            self.bear(address)
        key = self.key(key_id, address) if key_id else None
        if claims is not None:
            holds = key is not None and (key.tenant, key.role) == (claims.tenant, claims.role)
        else:
            holds = given is not None and api_keys.proves(given, key)
        if key is None or not holds:
            self.bear(address)
            raise self.refuse(address, "a credential that does not hold")
        with self._lock:
            self._used[key.id] = clock.utc_now()
        return key

    def key(self, key_id: str, address: Address) -> ApiKey | None:
        """The key with that id, if it holds and may be used from there. Raises TransientError."""
        found = self._find(key_id)
        if found is None or not found.holds(clock.utc_now()):
            return None
        # A stolen key does not tell from elsewhere that it is real: this is a 401 as well.
        return found if not found.networks or address in Networks(found.networks) else None

    def forget(self, key_id: str) -> None:
        """Looks a key up anew at its next use, such as after it was revoked here."""
        with self._lock:
            self._remembered.pop(key_id, None)

    def write_used(self) -> None:
        """Writes when keys were used last; to be called now and then, off the request's path. What could not be
        written is kept for the next time. Raises TransientError."""
        with self._lock:
            used = dict(self._used)
        self._keys.used(used)
        with self._lock:
            self._used = {k: at for k, at in self._used.items() if used.get(k) != at}

    def bear(self, address: Address) -> None:
        """Raises TooManyRequestsError for an address that has brought too many wrong credentials."""
        wait_s = self._rules.failures.wait_s(_neighbourhood(address))
        if wait_s > 0:
            raise TooManyRequestsError(wait_s)

    def refuse(self, address: Address, why: str) -> UnauthenticatedError:
        """The refusal of wrong credentials, counted. `why` is for the log alone and holds no secret."""
        self._rules.failures.take(_neighbourhood(address))
        _log.info("refused: %s from %s", why, address)
        return UnauthenticatedError()

    def _is_there(self, key_id: str) -> bool:
        """Whether there is such a key: it is looked up also for an address that has brought too many wrong ones."""
        if not isinstance(self._keys, KnowsIds):
            return False
        now_s = self._clock_s()
        with self._lock:
            ids, until_s = self._ids
        if now_s >= until_s:
            ids = frozenset(self._keys.ids())
            with self._lock:
                self._ids = (ids, now_s + self._rules.remembered_s)
        return key_id in ids

    def _find(self, key_id: str) -> ApiKey | None:
        now_s = self._clock_s()
        with self._lock:
            found = self._remembered.get(key_id)
            if found is not None and now_s < found[1]:
                return found[0]
        key = self._keys.find(key_id)
        with self._lock:
            self._remembered.pop(key_id, None)
            if key is not None:
                self._remembered[key_id] = (key, now_s + self._rules.remembered_s)
                if len(self._remembered) > _MOST_REMEMBERED:
                    self._remembered.popitem(last=False)
        return key

    def spend(self, key: ApiKey) -> None:
        """Counts a request of the key. Raises TooManyRequestsError for one too many."""
        wait_s = self._rules.per_key.take((key.tenant, key.id)) or self._rules.per_tenant.take(key.tenant)
        if wait_s > 0:
            raise TooManyRequestsError(wait_s)


def _principal(key: ApiKey) -> Principal:
    return Principal(key.id, key.tenant, key.role, key.sources)


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    return [value for key, value in headers.items() if key.lower() == name]


def _credential(headers: Mapping[str, str]) -> str:
    """The one credential, from ``Authorization: Bearer`` or ``X-API-Key``; empty if there is none, or several."""
    given = _values(headers, "x-api-key")
    for value in _values(headers, "authorization"):
        scheme, _, credential = value.strip().partition(" ")
        given.append(credential if scheme.lower() == "bearer" else "")
    return given[0].strip() if len(given) == 1 else ""


def _neighbourhood(address: Address) -> str:
    """What one customer of a provider can use freely counts as one."""
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)

"""What the operator of a gateway decides by environment variables: who comes in from where, and how often."""

import math
from collections.abc import Mapping
from pathlib import Path

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.access import AccessRules
from superinsight_sync.security.networks import Countries, Networks
from superinsight_sync.security.rate_limits import RateLimit

NETWORKS = "SIS_GATEWAY_NETWORKS"
PROXIES = "SIS_GATEWAY_PROXIES"
COUNTRY_DATABASE = "SIS_GATEWAY_COUNTRY_DATABASE"
ALLOWED_COUNTRIES = "SIS_GATEWAY_ALLOWED_COUNTRIES"
DENIED_COUNTRIES = "SIS_GATEWAY_DENIED_COUNTRIES"
ANY_COUNTRY_NETWORKS = "SIS_GATEWAY_ANY_COUNTRY_NETWORKS"
KEY_RATE = "SIS_GATEWAY_KEY_RATE_PER_S"
TENANT_RATE = "SIS_GATEWAY_TENANT_RATE_PER_S"


def access_rules(env: Mapping[str, str]) -> AccessRules:
    """The rules. Raises ConfigError naming the variable that cannot be read, or a country rule that is half there."""
    return AccessRules(
        networks=_networks(env, NETWORKS),
        countries=_countries(env),
        per_key=_rate(env, KEY_RATE, 1_000),
        per_tenant=_rate(env, TENANT_RATE, 5_000),
    )


def proxies(env: Mapping[str, str]) -> list[str]:
    """Those whose ``X-Forwarded-For`` is believed: none unless they are named. Raises ConfigError."""
    _networks(env, PROXIES)
    return _words(env, PROXIES)


def _countries(env: Mapping[str, str]) -> Countries | None:
    allow, deny = _words(env, ALLOWED_COUNTRIES), _words(env, DENIED_COUNTRIES)
    path = env.get(COUNTRY_DATABASE, "")
    if not path and not allow and not deny:
        return None
    if not path:
        raise ConfigError(
            "countries are named, but no database that knows them",
            where=COUNTRY_DATABASE,
            hint="Give the path of a MaxMind country database",
        )
    return Countries(Path(path), allow=allow, deny=deny, exempt=_networks(env, ANY_COUNTRY_NETWORKS))


def _networks(env: Mapping[str, str], name: str) -> Networks:
    try:
        return Networks(_words(env, name))
    except ConfigError as error:
        raise error.at(name) from None


def _rate(env: Mapping[str, str], name: str, default: float) -> RateLimit:
    text = env.get(name) or str(default)
    try:
        per_s = float(text)
        # Who was silent may send two seconds' worth at once.
        return RateLimit(per_s, max(1, math.ceil(2 * per_s)))
    except (ValueError, OverflowError):
        raise ConfigError(
            f"'{text}' is no rate", where=name, hint="Write requests a second, such as 50"
        ) from None


def _words(env: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in env.get(name, "").split(",") if word.strip()]

"""Where a request comes from: allow-lists, proxies that are believed, countries."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from superinsight_sync.core.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_WITH_PORT = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](?::\d+)?|(?P<v4>[0-9.]+):\d+", re.ASCII)
_MOST_HOPS = 50


class Networks:
    """A set of networks, such as ``10.0.0.0/8`` or ``2001:db8::1``. Raises ConfigError for what is none."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(_network(text) for text in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def __repr__(self) -> str:
        return f"Networks({[str(n) for n in self._networks]})"


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is no network: {error}", hint="Write an address or a network, such as 192.0.2.0/24"
        ) from error


@lru_cache(maxsize=4_096)
def address_of(text: str) -> Address | None:
    """The address that `text` spells, also with a port; an IPv4 one wrapped in IPv6 comes out unwrapped."""
    found = _WITH_PORT.fullmatch(text.strip())
    bare = (found["v6"] or found["v4"]) if found else text.strip()
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_address(peer: str, forwarded: Iterable[str], proxies: Networks) -> Address | None:
    """The address a request came from.

    Args:
        peer: the other end of the connection.
        forwarded: values of ``X-Forwarded-For`` in the order they came. They are read from the right, and only
            as far as the one who wrote them is a trusted proxy: what a client writes itself is never believed.
        proxies: the trusted ones.

    Returns:
        None if it cannot be known: `peer`, or what a trusted proxy wrote, is no address.
    """
    address = address_of(peer)
    if not proxies:
        return address
    hops = ",".join(forwarded).rsplit(",", _MOST_HOPS)
    while address is not None and address in proxies and hops:
        hop = hops.pop().strip()
        if hop:
            address = address_of(hop)
    return address


class Countries:
    """Lets addresses in by country. An address whose country is not known is kept out.

    Args:
        database: a MaxMind database file (``.mmdb``) with ``country.iso_code``, given by the operator.
        allow: ISO 3166 codes let in; empty means all but those denied.
        deny: ISO 3166 codes kept out.
        exempt: networks that are let in whatever their country, such as the company's own.

    Raises:
        ConfigError: the file is missing or is no such database, or neither `allow` nor `deny` names a country.
    """

    def __init__(
        self,
        database: Path,
        *,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
        exempt: Networks | None = None,
    ) -> None:
        import maxminddb

        self._allow = frozenset(c.strip().upper() for c in allow)
        self._deny = frozenset(c.strip().upper() for c in deny)
        self._exempt = exempt or Networks()
        if not self._allow | self._deny:
            raise ConfigError("the country rule names no country", hint="Allow or deny some")
        try:
            self._reader = maxminddb.open_database(database)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError(
                f"the country database cannot be read ({type(error).__name__})",
                where=str(database),
                hint="Put a MaxMind country database there, or take the country rule away",
            ) from error

    def __contains__(self, address: Address) -> bool:
        if address in self._exempt:
            return True
        code = self._code(address)
        return code is not None and code not in self._deny and (not self._allow or code in self._allow)

    def _code(self, address: Address) -> str | None:
        import maxminddb

        try:
            found = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        country = found.get("country") if isinstance(found, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code.upper() if isinstance(code, str) else None

"""The declared push sources, made ready to receive."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.model.push import PushSourceSpec, PushStreamSpec, SecretSpec, SignatureSpec
from superinsight_sync.receive.parsing import ParseRules
from superinsight_sync.receive.refusals import SignatureError, UnprocessableError, UnsupportedError
from superinsight_sync.receive.signatures import Verified, Verifier

_log = logging.getLogger(__name__)


class Receiver:
    """One push source. `waiting` is set from outside: how many of its deliveries are not landed yet.

    Raises ConfigError for a secret that is not set.
    """

    def __init__(self, spec: PushSourceSpec, env: Mapping[str, str] | None = None) -> None:
        self.spec = spec
        self.tenant, self.name, self.limits = spec.tenant, spec.name, spec.limits
        self.verifier = Verifier(spec.signature, env) if spec.signature else None
        self.waiting = 0
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(n, strict=False) for n in spec.allow_ips
        )
        self._rules = {
            s.name: ParseRules(
                records=spec.limits.records,
                nesting=spec.limits.nesting,
                record_bytes=spec.limits.record,
                element=s.record if "xml" in s.formats else None,
            )
            for s in spec.streams
        }
        self.json_rules = ParseRules(records=spec.limits.records, nesting=spec.limits.nesting)
        self.stream_of = lru_cache(maxsize=1_024)(spec.stream_of)
        self.only = spec.streams[0] if len(spec.streams) == 1 else None

    def rules(self, stream: PushStreamSpec) -> ParseRules:
        """How bodies of the stream are read."""
        return self._rules[stream.name]

    def admit(self, client: tuple[str, int] | None) -> None:
        """Raises RequestError: from an address it takes nothing from (403), or too much waits already (429)."""
        self.check_address(client)
        if self.waiting >= self.limits.waiting:
            raise RequestError(429, "too much of this source waits to be landed", retry_after_s=10)

    def check_address(self, client: tuple[str, int] | None) -> None:
        """Raises RequestError (403) for an address it takes nothing from."""
        if self._networks and not self._is_allowed(client):
            raise RequestError(403, "not allowed")

    def stream(self, name: str | None) -> PushStreamSpec:
        """The stream that a push names, or the only one. Raises UnprocessableError."""
        if name is None and self.only is not None:
            return self.only
        try:
            return self.spec.stream(name or "")
        except KeyError:
            raise UnprocessableError("the push names no stream of this source") from None

    def _is_allowed(self, client: tuple[str, int] | None) -> bool:
        try:
            address = ip_address(client[0] if client else "")
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def check_format(stream: PushStreamSpec, form: str) -> None:
    """Raises UnsupportedError for a format that the stream does not take."""
    if form not in stream.formats:
        raise UnsupportedError(
            f"this stream takes no {form}", hint=f"Send one of {', '.join(stream.formats)}"
        )


class Receivers:
    """All push sources by name. One that cannot be made ready is left out, and said so in the log."""

    def __init__(self, specs: Iterable[PushSourceSpec], env: Mapping[str, str] | None = None) -> None:
        self._by_name: dict[str, Receiver] = {}
        self.broken: dict[str, str] = {}
        for spec in specs:
            try:
                self._by_name[spec.name] = Receiver(spec, env)
            except ConfigError as error:
                self.broken[spec.name] = str(error)
                _log.error("push source '%s' takes nothing: %s", spec.name, error)
        decoy = SignatureSpec(scheme="standard", secrets=(SecretSpec(value="{{ env.DECOY }}"),))
        self._decoy = Verifier(decoy, {"DECOY": "whsec_bm9ib2R5IGtub3dzIHRoaXMgc2VjcmV0"})

    def __iter__(self) -> Iterator[Receiver]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Receiver | None:
        """The source of that name, if it can receive."""
        return self._by_name.get(name)

    def unknown(self, headers: Mapping[str, str], body: bytes) -> RequestError:
        """The refusal for a webhook of no known source; it takes as long as that of a wrong signature."""
        with suppress(SignatureError):
            self._decoy.verify(headers, body, datetime.now(UTC))
        return RequestError(404, "there is no such webhook")


def verify(
    receiver: Receiver | None, receivers: Receivers, headers: Mapping[str, str], body: bytes, now: datetime
) -> tuple[Receiver, Verified]:
    """The source and what its signature says. Raises SignatureError, and RequestError (404)."""
    if receiver is None or receiver.verifier is None:
        raise receivers.unknown(headers, body)
    return receiver, receiver.verifier.verify(headers, body, now)

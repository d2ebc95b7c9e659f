"""Signatures of deliveries: HMAC-SHA256 over the bytes as they came, in the forms that providers use.

Follows Standard Webhooks 1.0 (headers, signed string, several signatures, five-minute window) and what
GitHub, Stripe and Svix document of theirs.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.push import SignatureSpec
from superinsight_sync.receive.refusals import SignatureError
from superinsight_sync.security.secrets import resolve

MAX_SIGNATURES = 8
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIME = re.compile(r"[0-9]{1,12}")
_DIGEST_BYTES = 32
_MAX_HEADER_CHARS = 4_096


@dataclass(frozen=True)
class Scheme:
    """How a provider signs.

    Attributes:
        signature: the header that holds the signatures. time, id: those of the time and the delivery's id.
        template: what is signed, of ``{id}``, ``{timestamp}`` and ``{body}``.
        prefix: what stands before a signature.
        separator: what stands between several signatures; empty if there can be one only.
        time_field: the time is in the signature's header, as the field of that name.
        base64_secret: a secret is base64, perhaps after ``whsec_``.
    """

    signature: str
    time: str | None = None
    id: str | None = None
    template: str = "{body}"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    separator: str = ""
    time_field: str = ""
    base64_secret: bool = False


SCHEMES: Mapping[str, Scheme] = {
    "standard": Scheme(
        signature="webhook-signature",
        time="webhook-timestamp",
        id="webhook-id",
        template="{id}.{timestamp}.{body}",
        encoding="base64",
        prefix="v1,",
        separator=" ",
        base64_secret=True,
    ),
    "svix": Scheme(
        signature="svix-signature",
        time="svix-timestamp",
        id="svix-id",
        template="{id}.{timestamp}.{body}",
        encoding="base64",
        prefix="v1,",
        separator=" ",
        base64_secret=True,
    ),
    # GitHub signs neither time nor id: a repeated delivery is known by its id alone.
    "github": Scheme(signature="x-hub-signature-256", id="x-github-delivery", prefix="sha256="),
    "stripe": Scheme(
        signature="stripe-signature",
        template="{timestamp}.{body}",
        prefix="v1=",
        separator=",",
        time_field="t",
    ),
}


class Secret:
    """A secret made ready to sign, and until when it holds. `number` is its place in the declaration, from 0."""

    def __init__(self, number: int, key: bytes, not_after: datetime | None) -> None:
        self.number, self.not_after = number, not_after
        self._mac = hmac.new(key, digestmod="sha256")

    def digest(self, signed: bytes) -> bytes:
        """Its HMAC-SHA256. A copy is begun already: it costs less than one from the key."""
        mac = self._mac.copy()
        mac.update(signed)
        return mac.digest()


class Verified(NamedTuple):
    """A delivery whose signature holds. `id` is what its provider calls it; `secret` says by which it held."""

    id: str | None
    secret: int


class Verifier:
    """Checks the deliveries of one source. Cheap to call, safe in threads.

    Raises ConfigError for a secret that is not set, empty, or no base64 where the scheme needs it.
    """

    def __init__(self, spec: SignatureSpec, env: Mapping[str, str] | None = None) -> None:
        self._scheme = scheme_of(spec)
        self._tolerance_s = spec.tolerance.total_seconds()
        self._secrets = tuple(
            Secret(n, _key(resolve(s.value, env), self._scheme, n), s.not_after)
            for n, s in enumerate(spec.secrets)
        )
        self.over = spec.over
        """What the body of `verify` is to be."""
        before, after = self._scheme.template.split("{body}")
        self._before, self._after = before, after
        self._is_timed = bool(self._scheme.time or self._scheme.time_field)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Verified:
        """Checks one delivery.

        Args:
            headers: names in lower case.
            body: what `over` says: by default the bytes as they came, before anything was unpacked.

        Raises:
            SignatureError: for whatever is wrong with it, told alike.
        """
        scheme = self._scheme
        text = headers.get(scheme.signature, "")
        if not text or len(text) > _MAX_HEADER_CHARS:
            raise SignatureError()
        timestamp, given = _split(scheme, headers, text)
        delivery_id = headers.get(scheme.id, "") if scheme.id else ""
        if scheme.id and not _ID.fullmatch(delivery_id):
            raise SignatureError()
        if self._is_timed:
            self._check_time(timestamp, now)
        signed = body
        if self._before:
            signed = self._before.format(id=delivery_id, timestamp=timestamp).encode() + signed
        if self._after:
            signed += self._after.format(id=delivery_id, timestamp=timestamp).encode()
        return Verified(delivery_id or None, self._holding(signed, given, now))

    def _check_time(self, timestamp: str, now: datetime) -> None:
        if not _TIME.fullmatch(timestamp) or abs(now.timestamp() - int(timestamp)) > self._tolerance_s:
            raise SignatureError()

    def _holding(self, signed: bytes, given: Sequence[bytes], now: datetime) -> int:
        """The number of the secret by which one of the signatures holds. All pairs are compared, so that the
        time it takes does not tell which."""
        found = -1
        for secret in self._secrets:
            digest = secret.digest(signed)
            holds = secret.not_after is None or now < secret.not_after
            for signature in given:
                if hmac.compare_digest(digest, signature) and holds and found < 0:
                    found = secret.number
        if found < 0:
            raise SignatureError()
        return found


def scheme_of(spec: SignatureSpec) -> Scheme:
    """How deliveries of that declaration are signed."""
    if spec.scheme != "hmac":
        return SCHEMES[spec.scheme]
    return Scheme(
        signature=spec.signature_header or "",
        time=spec.timestamp_header,
        id=spec.id_header,
        template=spec.template,
        encoding=spec.encoding,
        prefix=spec.prefix,
    )


def _key(secret: str, scheme: Scheme, number: int) -> bytes:
    where = f"signature secret {number + 1}"
    if not secret.strip():
        raise ConfigError("is empty", where=where, hint="Set the environment variable it refers to")
    if not scheme.base64_secret:
        return secret.encode()
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigError("is no base64", where=where, hint="It looks like whsec_MfKQ9r8GKYqrTwjU…")
    return key


def _split(scheme: Scheme, headers: Mapping[str, str], text: str) -> tuple[str, list[bytes]]:
    """The signed time as it was written, and the signatures that have the right form."""
    timestamp = headers.get(scheme.time, "") if scheme.time else ""
    parts = text.split(scheme.separator) if scheme.separator else [text]
    if len(parts) > 2 * MAX_SIGNATURES:
        raise SignatureError()
    if scheme.time_field:
        times = [p.partition("=")[2] for p in parts if p.strip().partition("=")[0] == scheme.time_field]
        timestamp = times[0] if len(times) == 1 else ""
    given = [d for p in parts if (d := _digest(scheme, p.strip()))]
    if not given or len(given) > MAX_SIGNATURES:
        raise SignatureError()
    return timestamp, given


def _digest(scheme: Scheme, text: str) -> bytes | None:
    if not text.startswith(scheme.prefix):
        return None
    try:
        raw = text[len(scheme.prefix) :]
        digest = bytes.fromhex(raw) if scheme.encoding == "hex" else base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == _DIGEST_BYTES else None

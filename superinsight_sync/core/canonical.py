"""Canonical form and fingerprints: the same content gives the same bytes on every machine."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

_TAG = "$sis"


def _default(value: Any) -> Any:
    match value:
        case datetime():
            if value.tzinfo is None:
                return {_TAG: "naive", "v": value.isoformat()}
            return {_TAG: "timestamp", "v": value.astimezone(UTC).isoformat()}
        case date():
            return {_TAG: "date", "v": value.isoformat()}
        case Decimal():
            return {_TAG: "decimal", "v": str(value)}
        case bytes():
            return {_TAG: "bytes", "v": value.hex()}
        case set() | frozenset():
            return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


_DECODERS: Mapping[str, Any] = {
    "timestamp": datetime.fromisoformat,
    "naive": datetime.fromisoformat,
    "date": date.fromisoformat,
    "decimal": Decimal,
    "bytes": bytes.fromhex,
}


def _hook(obj: dict[str, Any]) -> Any:
    tag = obj.get(_TAG)
    return _DECODERS[tag](obj["v"]) if isinstance(tag, str) and tag in _DECODERS else obj


def encode(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces; datetimes, dates, decimals and bytes keep their type."""
    return json.dumps(
        value, default=_default, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def decode(text: str) -> Any:
    """The value that `encode` was given (tuples and sets come back as lists)."""
    return json.loads(text, object_hook=_hook)


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical form, 64 hex digits."""
    return hashlib.sha256(encode(value).encode()).hexdigest()

"""A response's JSON, cut into records without parsing them."""

from dataclasses import dataclass
from typing import Any

import msgspec

from superinsight_sync.core.errors import ConfigError, TransientError

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Document:
    """The body of a response.

    Attributes:
        where: what was asked, for messages; without parameters, which may be secret.
    """

    body: bytes
    where: str
    next_link: str | None = None
    """The address of `rel="next"` in the Link header."""

    def check(self) -> None:
        """Raises ConfigError for HTML, TransientError for what is no JSON (it may have been cut off)."""
        if self.body.lstrip()[:1] == b"<":
            raise ConfigError(
                "the server answered with HTML instead of JSON",
                where=self.where,
                hint="Check base_url, the endpoint and whether a login page stands before it",
            )
        try:
            msgspec.json.decode(self.body, type=msgspec.Raw)
        except _BROKEN:
            raise TransientError("the response is no JSON", where=self.where) from None

    def part(self, path: str) -> bytes | None:
        """The JSON text at a path like `$.data.items` or `data.0`; None if it is not there."""
        raw: Any = self.body
        for name in parts(path):
            try:
                found: Any = (_LIST if name.isdigit() and _is_list(raw) else _OBJECT).decode(raw)
                raw = found[int(name)] if isinstance(found, list) else found[name]
            except (*_BROKEN, KeyError, IndexError):
                return None
        return bytes(raw)

    def value(self, path: str) -> Any:
        """The value at a path; None if it is not there."""
        raw = self.part(path)
        return None if raw is None else msgspec.json.decode(raw)

    def records(self, path: str) -> list[bytes]:
        """The texts of the records. Raises ConfigError if there is no list of records."""
        raw = self.part(path)
        if raw is not None and _is_list(raw):
            try:
                return [bytes(r) for r in _LIST.decode(raw)]
            except _BROKEN:
                raise TransientError("the response is no JSON", where=self.where) from None
        if raw is not None and raw.lstrip()[:1] == b"{" and path == "$":
            keys = ", ".join(sorted(_OBJECT.decode(raw))[:10])
            hint = f"Name the list in options: {{records: …}}; the response has: {keys}"
        else:
            hint = "Correct options: {records: …}, or see whether the response tells of an error"
        raise ConfigError(f"the response has no list of records at '{path}'", where=self.where, hint=hint)


def parts(path: str) -> list[str]:
    """The names in a path: `$.data[0].items` → data, 0, items."""
    plain = path.removeprefix("$").replace("[", ".").replace("]", "")
    return [p.strip("'\"") for p in plain.split(".") if p]


def _is_list(raw: Any) -> bool:
    return bytes(raw).lstrip()[:1] == b"["

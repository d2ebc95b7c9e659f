"""A response's JSON, cut into records without parsing them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from superinsight_sync.core.errors import ConfigError, TransientError

if TYPE_CHECKING:
    import pyarrow as pa

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_HALF = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
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
    _opened: dict[tuple[str, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The objects and lists on the ways to the parts asked for, so that each is taken apart once."""

    @cached_property
    def _whole(self) -> bytes:
        """The body with halves of surrogate pairs, which the parser refuses, replaced by as many bytes."""
        return (
            _HALF.sub(lambda m: m[1] or rb"\u003f", self.body) if b"\\ud" in self.body.lower() else self.body
        )

    def check(self) -> None:
        """Raises ConfigError for HTML, TransientError for what is no JSON (it may have been cut off)."""
        if self.body.lstrip()[:1] == b"<":
            raise ConfigError(
                "the server answered with HTML instead of JSON",
                where=self.where,
                hint="Check base_url, the endpoint and whether a login page stands before it",
            )
        try:
            msgspec.json.decode(self._whole, type=msgspec.Raw)
        except _BROKEN:
            raise TransientError("the response is no JSON", where=self.where) from None

    def part(self, path: str) -> bytes | None:
        """The JSON text at a path like `$.data.items` or `data.0`; None if it is not there."""
        raw: Any = self._whole
        at: tuple[str, ...] = ()
        for name in parts(path):
            try:
                if at not in self._opened:
                    self._opened[at] = (_LIST if name.isdigit() and _is_list(raw) else _OBJECT).decode(raw)
                found = self._opened[at]
                raw = found[int(name)] if isinstance(found, list) else found[name]
            except (*_BROKEN, KeyError, IndexError, ValueError):
                return None
            at = (*at, name)
        return bytes(raw)

    def value(self, path: str) -> Any:
        """The value at a path; None if it is not there."""
        raw = self.part(path)
        return None if raw is None else msgspec.json.decode(raw)

    def records(self, path: str, *, one: bool = False) -> list[bytes]:
        """The texts of the records; none for a null. Raises ConfigError if there is no list of records.

        Args:
            one: an object in the place of the list is one record.
        """
        raw = self.part(path)
        if raw is not None and raw.strip() == b"null":
            return []
        if one and raw is not None and raw.lstrip()[:1] == b"{":
            return self._as_sent([raw.strip()], self._whole.find(raw))
        if raw is not None and _is_list(raw):
            try:
                return self._as_sent([bytes(r) for r in _LIST.decode(raw)], self._whole.find(raw))
            except _BROKEN:
                raise TransientError("the response is no JSON", where=self.where) from None
        if raw is not None and raw.lstrip()[:1] == b"{" and path == "$":
            keys = ", ".join(sorted(_OBJECT.decode(raw))[:10])
            hint = (
                f"Name the list in options: {{records: …}}; the response has: {keys}. "
                "If it is the record itself, write options: {one_object: true}"
            )
        elif raw is not None and raw.lstrip()[:1] == b"{":
            hint = "If the object there is the record, write options: {one_object: true}"
        else:
            hint = "Correct options: {records: …}, or see whether the response tells of an error"
        raise ConfigError(f"the response has no list of records at '{path}'", where=self.where, hint=hint)

    def _as_sent(self, records: list[bytes], at: int) -> list[bytes]:
        if self._whole is self.body:
            return records
        found = []
        for record in records:
            at = self._whole.index(record, at)
            found.append(self.body[at : at + len(record)])
            at += len(record)
        return found


@dataclass(frozen=True)
class Page:
    """Records of one response as JSON texts.

    Attributes:
        number: which page it is, from 1.
        extra: what every record gets besides, from its parent.
        parsed: the records as objects, where they came as such.
        columns: the records as rows, where they came as such.
        originals: the records as they are kept where they cannot be rows, where that is not `records`.
    """

    number: int
    where: str
    records: Sequence[bytes]
    document: Document
    extra: dict[str, Any] = field(default_factory=dict)
    parsed: list[dict[str, Any]] | None = None
    columns: "pa.RecordBatch | None" = None
    originals: Sequence[bytes] | None = None


def parts(path: str) -> list[str]:
    """The names in a path: `$.data[0].items` → data, 0, items."""
    plain = path.removeprefix("$").replace("[", ".").replace("]", "")
    return [p.strip("'\"") for p in plain.split(".") if p]


def _is_list(raw: Any) -> bool:
    return bytes(raw).lstrip()[:1] == b"["
